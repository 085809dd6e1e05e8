//! Preprocessing of model libraries, by name.

use crate::torchvision_weights::torchvision_weights;
use crate::{
    ChannelOrder, Crop, CropMode, Halves, Interpolation, Normalization, PixelRange, Preprocessing,
    PreprocessingError, Resize, TimmConfig,
};

/// How images become the input of a network, as a model library or a configuration file prescribes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// Width and height of the network's input, where prescribed.
    pub input_size: Option<[u32; 2]>,
    /// Resizing and cropping.
    pub geometry: Geometry,
    /// The resampling filter.
    pub interpolation: Interpolation,
    /// Mean and standard deviation of red, green and blue.
    pub normalization: Normalization,
    /// Order of the channels.
    pub channel_order: ChannelOrder,
    /// Range of the pixels.
    pub pixel_range: PixelRange,
}

/// Resizing and cropping for an input size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Geometry {
    /// Resizes the shorter side to (larger side of the input × `resize` / `input`) pixels, rounded up, and crops the
    /// centre, as torchvision.
    Scaled {
        /// The shorter side after resizing, for an input of `input` pixels.
        resize: u32,
        /// A side of the input.
        input: u32,
    },
    /// timm's `crop_pct` and `crop_mode`.
    Timm {
        /// Input size / size after resizing.
        crop_pct: f64,
        /// How the image is resized for the crop.
        crop_mode: CropMode,
        /// Another `crop_pct` for inputs of one width and height.
        at: Option<([u32; 2], f64)>,
    },
    /// For [`Preset::input_size`] alone.
    Fixed {
        /// The resizing.
        resize: Resize,
        /// The crop.
        crop: Crop,
    },
}

/// Names of presets that are not of a single torchvision model.
const NAMES: [&str; 8] = [
    "torchvision",
    "torchvision-v2",
    "timm",
    "inception",
    "clip",
    "keras-tf",
    "keras-caffe",
    "keras-torch",
];

impl Preset {
    /// torchvision's first weights (`IMAGENET1K_V1` of most models): the shorter side is resized to 8/7 of the input.
    pub const TORCHVISION: Self = Self {
        input_size: None,
        geometry: Geometry::Scaled {
            resize: 256,
            input: 224,
        },
        interpolation: Interpolation::Bilinear,
        normalization: Normalization::IMAGENET,
        channel_order: ChannelOrder::Rgb,
        pixel_range: PixelRange::One,
    };

    /// torchvision's newer weights (`IMAGENET1K_V2` of most models): 232 pixels for an input of 224.
    pub const TORCHVISION_V2: Self = Self {
        geometry: Geometry::Scaled {
            resize: 232,
            input: 224,
        },
        ..Self::TORCHVISION
    };

    /// The defaults of timm.
    pub const TIMM: Self = Self {
        geometry: Geometry::Timm {
            crop_pct: 0.875,
            crop_mode: CropMode::Center,
            at: None,
        },
        interpolation: Interpolation::Bicubic,
        ..Self::TORCHVISION
    };

    /// timm's Inception and many of its models from TensorFlow: pixels from −1 to 1.
    pub const INCEPTION: Self = Self {
        normalization: Normalization {
            mean: [0.5; 3],
            std: [0.5; 3],
        },
        ..Self::TIMM
    };

    /// OpenAI's CLIP: the shorter side is resized to the input.
    pub const CLIP: Self = Self {
        geometry: Geometry::Scaled {
            resize: 1,
            input: 1,
        },
        normalization: Normalization::CLIP,
        ..Self::TIMM
    };

    /// Keras' `preprocess_input` with `mode="tf"`. Keras does not prescribe how images are resized; the defaults of
    /// timm are.
    pub const KERAS_TF: Self = Self::INCEPTION;

    /// Keras' `preprocess_input` with `mode="caffe"`: blue, green, red, from 0 to 255, minus the mean.
    pub const KERAS_CAFFE: Self = Self {
        normalization: Normalization {
            mean: [123.68 / 255.0, 116.779 / 255.0, 103.939 / 255.0],
            std: [1.0; 3],
        },
        channel_order: ChannelOrder::Bgr,
        pixel_range: PixelRange::Byte,
        ..Self::TIMM
    };

    /// Keras' `preprocess_input` with `mode="torch"`.
    pub const KERAS_TORCH: Self = Self::TIMM;

    /// The names of presets, without those of torchvision's weights.
    pub const fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// The preset of this name: one of [`names`](Self::names), or the name of weights in torchvision, such as
    /// `ResNet50_Weights.IMAGENET1K_V2`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "torchvision" => Self::TORCHVISION,
            "torchvision-v2" => Self::TORCHVISION_V2,
            "timm" => Self::TIMM,
            "inception" => Self::INCEPTION,
            "clip" => Self::CLIP,
            "keras-tf" => Self::KERAS_TF,
            "keras-caffe" => Self::KERAS_CAFFE,
            "keras-torch" => Self::KERAS_TORCH,
            name => torchvision_weights(name)?,
        })
    }

    /// A preset for square images of this size alone: the shorter side is resized, and the centre cropped.
    pub(crate) fn fixed(resize: u32, crop: u32, interpolation: Interpolation) -> Self {
        Self {
            input_size: Some([crop; 2]),
            geometry: Geometry::Fixed {
                resize: Resize::ShorterSide(resize),
                crop: Crop::Center {
                    size: [crop; 2],
                    fill: [0; 3],
                    halves: Halves::Even,
                },
            },
            interpolation,
            ..Self::TORCHVISION
        }
    }
}

impl Geometry {
    /// Whether it suits any input size.
    pub fn is_scalable(&self) -> bool {
        !matches!(self, Self::Fixed { .. })
    }

    /// Resizing and cropping for an input of this width and height. Borders get the colour `mean`, from 0 to 1.
    ///
    /// # Errors
    /// If `crop_pct` or `mean` is out of range.
    pub fn at(
        &self,
        size: [u32; 2],
        interpolation: Interpolation,
        mean: [f32; 3],
    ) -> Result<(Resize, Crop), PreprocessingError> {
        match *self {
            Self::Scaled { resize, input } => {
                let larger = u64::from(size[0].max(size[1])) * u64::from(resize);
                let side = larger.div_ceil(u64::from(input));
                // A side that does not fit is over the limit, which is checked later.
                let side = u32::try_from(side).unwrap_or(u32::MAX);
                let crop = Crop::Center {
                    size,
                    fill: [0; 3],
                    halves: Halves::Even,
                };
                Ok((Resize::ShorterSide(side), crop))
            }
            Self::Timm {
                crop_pct,
                crop_mode,
                at,
            } => {
                let special = at.filter(|(at, _)| *at == size);
                let made = Preprocessing::timm(&TimmConfig {
                    input_size: size,
                    crop_pct: special.map_or(crop_pct, |(_, crop_pct)| crop_pct),
                    crop_mode,
                    interpolation,
                    mean: mean.map(f64::from),
                })?;
                Ok((made.resize, made.crop))
            }
            Self::Fixed { resize, crop } => Ok((resize, crop)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_a_preset() {
        for name in Preset::names() {
            assert!(Preset::named(name).is_some(), "{name}");
        }
        assert_eq!(Preset::named("Torchvision"), None);
        assert_eq!(Preset::named(""), None);
    }

    #[test]
    fn presets_scale_with_the_input() {
        let resize = |preset: Preset, side: u32| {
            let geometry = preset.geometry;
            geometry
                .at([side; 2], Interpolation::Bicubic, [0.0; 3])
                .unwrap()
                .0
        };
        for (preset, side, expected) in [
            (Preset::TORCHVISION, 224, 256),
            (Preset::TORCHVISION, 299, 342),
            (Preset::TORCHVISION_V2, 224, 232),
            (Preset::TIMM, 299, 341),
            (Preset::CLIP, 336, 336),
        ] {
            assert_eq!(
                resize(preset, side),
                Resize::ShorterSide(expected),
                "{preset:?}"
            );
        }
    }

    #[test]
    fn another_crop_pct_applies_to_its_size() {
        let geometry = Geometry::Timm {
            crop_pct: 1.0,
            crop_mode: CropMode::Center,
            at: Some(([224; 2], 0.875)),
        };
        let resize = |side: u32| {
            geometry
                .at([side; 2], Interpolation::Bicubic, [0.0; 3])
                .unwrap()
                .0
        };
        assert_eq!(resize(288), Resize::ShorterSide(288));
        assert_eq!(resize(224), Resize::ShorterSide(256));
    }
}
