//! The preprocessing of torchvision's weights for ImageNet, as in the `transforms` of torchvision 0.29.

use crate::Interpolation::{self, Bicubic, Bilinear};
use crate::{Normalization, Preset};

/// Shorter side after resizing, side of the crop, filter, and names of the weights.
type Group = (u32, u32, Interpolation, &'static [&'static str]);

/// The only weights that do not have ImageNet's mean and standard deviation.
const HALF: &str = "EfficientNet_V2_L_Weights.IMAGENET1K_V1";

/// The preset of weights with this name in torchvision, such as `ResNet50_Weights.IMAGENET1K_V2`.
pub(crate) fn torchvision_weights(name: &str) -> Option<Preset> {
    let mut groups = GROUPS.iter();
    let &(resize, crop, interpolation, _) = groups.find(|group| group.3.contains(&name))?;
    let preset = Preset::fixed(resize, crop, interpolation);
    Some(match name {
        HALF => Preset {
            normalization: Normalization {
                mean: [0.5; 3],
                std: [0.5; 3],
            },
            ..preset
        },
        _ => preset,
    })
}

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    (256, 224, Bilinear, &[
        "AlexNet_Weights.IMAGENET1K_V1",
        "DenseNet121_Weights.IMAGENET1K_V1",
        "DenseNet161_Weights.IMAGENET1K_V1",
        "DenseNet169_Weights.IMAGENET1K_V1",
        "DenseNet201_Weights.IMAGENET1K_V1",
        "GoogLeNet_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "GoogLeNet_Weights.IMAGENET1K_V1",
        "MNASNet0_5_Weights.IMAGENET1K_V1",
        "MNASNet1_0_Weights.IMAGENET1K_V1",
        "MobileNet_V2_QuantizedWeights.IMAGENET1K_QNNPACK_V1",
        "MobileNet_V2_Weights.IMAGENET1K_V1",
        "MobileNet_V3_Large_QuantizedWeights.IMAGENET1K_QNNPACK_V1",
        "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
        "MobileNet_V3_Small_Weights.IMAGENET1K_V1",
        "RegNet_X_16GF_Weights.IMAGENET1K_V1",
        "RegNet_X_1_6GF_Weights.IMAGENET1K_V1",
        "RegNet_X_32GF_Weights.IMAGENET1K_V1",
        "RegNet_X_3_2GF_Weights.IMAGENET1K_V1",
        "RegNet_X_400MF_Weights.IMAGENET1K_V1",
        "RegNet_X_800MF_Weights.IMAGENET1K_V1",
        "RegNet_X_8GF_Weights.IMAGENET1K_V1",
        "RegNet_Y_16GF_Weights.IMAGENET1K_V1",
        "RegNet_Y_1_6GF_Weights.IMAGENET1K_V1",
        "RegNet_Y_32GF_Weights.IMAGENET1K_V1",
        "RegNet_Y_3_2GF_Weights.IMAGENET1K_V1",
        "RegNet_Y_400MF_Weights.IMAGENET1K_V1",
        "RegNet_Y_800MF_Weights.IMAGENET1K_V1",
        "RegNet_Y_8GF_Weights.IMAGENET1K_V1",
        "ResNeXt101_32X8D_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "ResNeXt101_32X8D_Weights.IMAGENET1K_V1",
        "ResNeXt50_32X4D_Weights.IMAGENET1K_V1",
        "ResNet101_Weights.IMAGENET1K_V1",
        "ResNet152_Weights.IMAGENET1K_V1",
        "ResNet18_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "ResNet18_Weights.IMAGENET1K_V1",
        "ResNet34_Weights.IMAGENET1K_V1",
        "ResNet50_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "ResNet50_Weights.IMAGENET1K_V1",
        "ShuffleNet_V2_X0_5_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1",
        "ShuffleNet_V2_X1_0_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1",
        "SqueezeNet1_0_Weights.IMAGENET1K_V1",
        "SqueezeNet1_1_Weights.IMAGENET1K_V1",
        "VGG11_BN_Weights.IMAGENET1K_V1",
        "VGG11_Weights.IMAGENET1K_V1",
        "VGG13_BN_Weights.IMAGENET1K_V1",
        "VGG13_Weights.IMAGENET1K_V1",
        "VGG16_BN_Weights.IMAGENET1K_V1",
        "VGG16_Weights.IMAGENET1K_V1",
        "VGG19_BN_Weights.IMAGENET1K_V1",
        "VGG19_Weights.IMAGENET1K_V1",
        "ViT_B_16_Weights.IMAGENET1K_V1",
        "ViT_B_32_Weights.IMAGENET1K_V1",
        "ViT_L_32_Weights.IMAGENET1K_V1",
        "Wide_ResNet101_2_Weights.IMAGENET1K_V1",
        "Wide_ResNet50_2_Weights.IMAGENET1K_V1",
    ]),
    (232, 224, Bilinear, &[
        "ConvNeXt_Base_Weights.IMAGENET1K_V1",
        "ConvNeXt_Large_Weights.IMAGENET1K_V1",
        "MNASNet0_75_Weights.IMAGENET1K_V1",
        "MNASNet1_3_Weights.IMAGENET1K_V1",
        "MobileNet_V2_Weights.IMAGENET1K_V2",
        "MobileNet_V3_Large_Weights.IMAGENET1K_V2",
        "RegNet_X_16GF_Weights.IMAGENET1K_V2",
        "RegNet_X_1_6GF_Weights.IMAGENET1K_V2",
        "RegNet_X_32GF_Weights.IMAGENET1K_V2",
        "RegNet_X_3_2GF_Weights.IMAGENET1K_V2",
        "RegNet_X_400MF_Weights.IMAGENET1K_V2",
        "RegNet_X_800MF_Weights.IMAGENET1K_V2",
        "RegNet_X_8GF_Weights.IMAGENET1K_V2",
        "RegNet_Y_16GF_Weights.IMAGENET1K_V2",
        "RegNet_Y_1_6GF_Weights.IMAGENET1K_V2",
        "RegNet_Y_32GF_Weights.IMAGENET1K_V2",
        "RegNet_Y_3_2GF_Weights.IMAGENET1K_V2",
        "RegNet_Y_400MF_Weights.IMAGENET1K_V2",
        "RegNet_Y_800MF_Weights.IMAGENET1K_V2",
        "RegNet_Y_8GF_Weights.IMAGENET1K_V2",
        "ResNeXt101_32X8D_QuantizedWeights.IMAGENET1K_FBGEMM_V2",
        "ResNeXt101_32X8D_Weights.IMAGENET1K_V2",
        "ResNeXt101_64X4D_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "ResNeXt101_64X4D_Weights.IMAGENET1K_V1",
        "ResNeXt50_32X4D_Weights.IMAGENET1K_V2",
        "ResNet101_Weights.IMAGENET1K_V2",
        "ResNet152_Weights.IMAGENET1K_V2",
        "ResNet50_QuantizedWeights.IMAGENET1K_FBGEMM_V2",
        "ResNet50_Weights.IMAGENET1K_V2",
        "ShuffleNet_V2_X1_5_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "ShuffleNet_V2_X1_5_Weights.IMAGENET1K_V1",
        "ShuffleNet_V2_X2_0_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "ShuffleNet_V2_X2_0_Weights.IMAGENET1K_V1",
        "Wide_ResNet101_2_Weights.IMAGENET1K_V2",
        "Wide_ResNet50_2_Weights.IMAGENET1K_V2",
    ]),
    (224, 224, Bicubic, &[
        "MaxVit_T_Weights.IMAGENET1K_V1",
        "RegNet_Y_128GF_Weights.IMAGENET1K_SWAG_LINEAR_V1",
        "RegNet_Y_16GF_Weights.IMAGENET1K_SWAG_LINEAR_V1",
        "RegNet_Y_32GF_Weights.IMAGENET1K_SWAG_LINEAR_V1",
        "ViT_B_16_Weights.IMAGENET1K_SWAG_LINEAR_V1",
        "ViT_H_14_Weights.IMAGENET1K_SWAG_LINEAR_V1",
        "ViT_L_16_Weights.IMAGENET1K_SWAG_LINEAR_V1",
    ]),
    (384, 384, Bicubic, &[
        "RegNet_Y_128GF_Weights.IMAGENET1K_SWAG_E2E_V1",
        "RegNet_Y_16GF_Weights.IMAGENET1K_SWAG_E2E_V1",
        "RegNet_Y_32GF_Weights.IMAGENET1K_SWAG_E2E_V1",
        "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
    ]),
    (260, 256, Bicubic, &[
        "Swin_V2_S_Weights.IMAGENET1K_V1",
        "Swin_V2_T_Weights.IMAGENET1K_V1",
    ]),
    (342, 299, Bilinear, &[
        "Inception_V3_QuantizedWeights.IMAGENET1K_FBGEMM_V1",
        "Inception_V3_Weights.IMAGENET1K_V1",
    ]),
    (230, 224, Bilinear, &[
        "ConvNeXt_Small_Weights.IMAGENET1K_V1",
    ]),
    (232, 224, Bicubic, &[
        "Swin_T_Weights.IMAGENET1K_V1",
    ]),
    (236, 224, Bilinear, &[
        "ConvNeXt_Tiny_Weights.IMAGENET1K_V1",
    ]),
    (238, 224, Bicubic, &[
        "Swin_B_Weights.IMAGENET1K_V1",
    ]),
    (242, 224, Bilinear, &[
        "ViT_L_16_Weights.IMAGENET1K_V1",
    ]),
    (246, 224, Bicubic, &[
        "Swin_S_Weights.IMAGENET1K_V1",
    ]),
    (255, 240, Bilinear, &[
        "EfficientNet_B1_Weights.IMAGENET1K_V2",
    ]),
    (256, 224, Bicubic, &[
        "EfficientNet_B0_Weights.IMAGENET1K_V1",
    ]),
    (256, 240, Bicubic, &[
        "EfficientNet_B1_Weights.IMAGENET1K_V1",
    ]),
    (272, 256, Bicubic, &[
        "Swin_V2_B_Weights.IMAGENET1K_V1",
    ]),
    (288, 288, Bicubic, &[
        "EfficientNet_B2_Weights.IMAGENET1K_V1",
    ]),
    (320, 300, Bicubic, &[
        "EfficientNet_B3_Weights.IMAGENET1K_V1",
    ]),
    (384, 380, Bicubic, &[
        "EfficientNet_B4_Weights.IMAGENET1K_V1",
    ]),
    (384, 384, Bilinear, &[
        "EfficientNet_V2_S_Weights.IMAGENET1K_V1",
    ]),
    (456, 456, Bicubic, &[
        "EfficientNet_B5_Weights.IMAGENET1K_V1",
    ]),
    (480, 480, Bicubic, &[
        "EfficientNet_V2_L_Weights.IMAGENET1K_V1",
    ]),
    (480, 480, Bilinear, &[
        "EfficientNet_V2_M_Weights.IMAGENET1K_V1",
    ]),
    (512, 512, Bicubic, &[
        "ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1",
    ]),
    (518, 518, Bicubic, &[
        "ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1",
    ]),
    (528, 528, Bicubic, &[
        "EfficientNet_B6_Weights.IMAGENET1K_V1",
    ]),
    (600, 600, Bicubic, &[
        "EfficientNet_B7_Weights.IMAGENET1K_V1",
    ]),
];
