//! timm's `tf_efficientnet_lite0`: EfficientNet without squeeze-and-excitation, with TensorFlow's padding.
//!
//! Dropout and stochastic depth have the rates that timm recommends for training.

use super::efficientnet::{STAGES, STOCHASTIC_DEPTH};
use super::{Definition, HALF};
use crate::builder::{Builder, Conv, Initializers};
use crate::op::Activation::Relu6;
use crate::op::{BatchNorm, Init, Value};

pub(super) const NETWORKS: &[Definition] =
    &[
        Definition::imagenet("tf_efficientnet_lite0", |b, _| lite(b))
            .bicubic()
            .normalized(HALF),
    ];

fn lite(b: &mut Builder) -> Value {
    b.initializers = Initializers {
        conv: |fan| Init::Normal {
            std: (2.0 / (fan.output / fan.groups) as f64).sqrt(),
        },
        linear: Init::uniform_out,
        linear_bias: Init::zeros,
        ..Initializers::default()
    };
    b.batch_norm = BatchNorm {
        eps: 1e-3,
        momentum: 0.1,
    };
    let total: usize = STAGES.iter().map(|stage| stage[4]).sum();

    let conv = Conv::new(32, 3).stride(2).same();
    let mut x = b.conv("conv_stem", Value::IMAGES, conv);
    x = b.batch_norm("bn1", x);
    x = b.activation("bn1.act", x, Relu6);
    let mut built = 0;
    for (stage, [expansion, kernel, first_stride, channels, blocks]) in STAGES.iter().enumerate() {
        for block in 0..*blocks {
            let input = x;
            let hidden = expansion * b.channels(input);
            let stride = if block == 0 { *first_stride } else { 1 };
            let depthwise = Conv::new(hidden, *kernel)
                .stride(stride)
                .groups(hidden)
                .same();
            let mut convs = vec![
                ("conv_dw", depthwise),
                ("conv_pwl", Conv::new(*channels, 1)),
            ];
            if *expansion == 1 {
                convs[1].0 = "conv_pw";
            } else {
                convs.insert(0, ("conv_pw", Conv::new(hidden, 1)));
            }
            let name = format!("blocks.{stage}.{block}");
            for (number, (conv_name, conv)) in (1..).zip(convs) {
                if number > 1 {
                    x = b.activation(format!("{name}.act"), x, Relu6);
                }
                x = b.conv(format!("{name}.{conv_name}"), x, conv);
                x = b.batch_norm(format!("{name}.bn{number}"), x);
            }
            if stride == 1 && b.channels(input) == *channels {
                let p = STOCHASTIC_DEPTH * built as f64 / total as f64;
                x = b.stochastic_depth(format!("{name}.drop_path"), x, p);
                x = b.add(format!("{name}.add"), x, input);
            }
            built += 1;
        }
    }
    x = b.conv("conv_head", x, Conv::new(1280, 1));
    x = b.batch_norm("bn2", x);
    x = b.activation("bn2.act", x, Relu6);
    x = b.adaptive_avg_pool("global_pool", x, 1);
    x = b.flatten("flatten", x);
    x = b.dropout("dropout", x, 0.2);
    b.linear("classifier", x, b.classes())
}
