use thiserror::Error;
use topk_preprocessing::{
    Crop, CropMode, Crops, Interpolation, Normalization, NormalizationError, Pillow, Preprocessing,
    PreprocessingError, Preset, Resize, TimmConfig,
};

use crate::input::{Element, InputKind};
use crate::model::Model;

/// How images become the input of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputTransform {
    /// Decoding, resizing and cropping.
    pub preprocessing: Preprocessing,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Normalisation of the pixels; none if the model takes raw pixels.
    pub normalization: Option<Normalization>,
    /// Layout and type of the input.
    pub kind: InputKind,
}

/// Preprocessing settings of the user. Unset values are taken from the preset, or from the metadata of the
/// model.
#[derive(Clone, Copy, Debug, Default)]
pub struct PreprocessOverrides {
    /// Settings that replace the metadata of the model.
    pub preset: Option<Preset>,
    /// Shorter side after resizing, in pixels; 0 for no resizing.
    pub resize: Option<u32>,
    /// timm's `crop_pct`, as a fraction of the shorter side.
    pub crop_pct: Option<f64>,
    /// timm's `crop_mode`.
    pub crop_mode: Option<CropMode>,
    /// The resampling filter.
    pub interpolation: Option<Interpolation>,
    /// Height and width of the input, for models with dynamic height and width.
    pub input_size: Option<[usize; 2]>,
    /// Crops per image.
    pub crops: Crops,
    /// Mean and standard deviation.
    pub normalization: Option<Normalization>,
    /// The version of Pillow to reproduce.
    pub pillow: Pillow,
    /// Whether to decode large JPEGs at reduced size.
    pub fast: bool,
}

/// Preprocessing that is unknown, or does not fit a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransformError {
    /// Neither the metadata nor the user specify the normalisation.
    #[error(
        "{model} has no metadata on normalisation: pass --mean and --std (three numbers each, in \
         units of pixel / 255) or a --preset"
    )]
    NoNormalization {
        /// The model file.
        model: String,
    },
    /// The input has a dynamic size, and none is specified.
    #[error("{model} has a dynamic input size: pass --input-size")]
    NoSize {
        /// The model file.
        model: String,
    },
    /// The input has another size.
    #[error(
        "{model} takes images of {}x{} pixels (height x width), but --input-size is {}x{}",
        expected[0], expected[1], requested[0], requested[1]
    )]
    InputSize {
        /// The model file.
        model: String,
        /// Height and width of the input.
        expected: [usize; 2],
        /// The requested height and width.
        requested: [usize; 2],
    },
    /// With reduced decoding, models cannot share decoded images.
    #[error(
        "--fast needs models with the same preprocessing: evaluate {first} and {second} separately"
    )]
    Fast {
        /// One model file.
        first: String,
        /// Another model file.
        second: String,
    },
    /// Images of another type are requested.
    #[cfg(feature = "ndarray")]
    #[error("{model} takes images of {expected}, but {requested} is requested")]
    Element {
        /// The model file.
        model: String,
        /// Type of the elements of its input.
        expected: Element,
        /// The requested type.
        requested: Element,
    },
    /// The mean or standard deviation is invalid.
    #[error("{model}: {error}")]
    Normalization {
        /// The model file.
        model: String,
        /// The cause.
        error: NormalizationError,
    },
    /// A preprocessing setting is out of range.
    #[error("{model}: {error}")]
    Preprocessing {
        /// The model file.
        model: String,
        /// The cause.
        error: PreprocessingError,
    },
}

impl InputTransform {
    /// The transform of a model.
    ///
    /// # Errors
    /// If a setting is unknown, invalid, or does not fit the model.
    pub fn new(model: &Model, overrides: &PreprocessOverrides) -> Result<Self, TransformError> {
        let name = || model.path().display().to_string();
        let size = input_size(model, overrides)?;
        let normalization = match model.kind().element {
            Element::U8 => None,
            _ => Some(normalization(model, overrides)?),
        };
        let preprocessing = preprocessing(model, overrides, size, normalization);
        let preprocessing = preprocessing
            .and_then(Preprocessing::check)
            .map_err(|error| TransformError::Preprocessing {
                model: name(),
                error,
            })?;
        Ok(Self {
            preprocessing,
            size,
            normalization,
            kind: model.kind(),
        })
    }

    /// Number of crops per image.
    pub fn crops(&self) -> usize {
        self.preprocessing.crop.count()
    }
}

/// Height and width of the input of a model.
///
/// # Errors
/// If it is dynamic and not specified, or another is specified.
pub(crate) fn input_size(
    model: &Model,
    overrides: &PreprocessOverrides,
) -> Result<[usize; 2], TransformError> {
    let name = || model.path().display().to_string();
    let card = model
        .card()
        .map(|card| [card.input_size[1], card.input_size[2]]);
    let fixed = model.input_size();
    let wanted = match (overrides.input_size, card, overrides.preset) {
        (Some(requested), ..) => requested,
        (None, Some(size), _) => size,
        // A preset has square images.
        (None, None, Some(_)) => [fixed[0].or(fixed[1]).unwrap_or(224); 2],
        (None, None, None) => match fixed {
            [Some(height), Some(width)] => [height, width],
            _ => return Err(TransformError::NoSize { model: name() }),
        },
    };
    let size = [0, 1].map(|side| fixed[side].unwrap_or(wanted[side]));
    match overrides.input_size.filter(|&requested| requested != size) {
        None => Ok(size),
        Some(requested) => Err(TransformError::InputSize {
            model: name(),
            expected: size,
            requested,
        }),
    }
}

fn normalization(
    model: &Model,
    overrides: &PreprocessOverrides,
) -> Result<Normalization, TransformError> {
    let name = || model.path().display().to_string();
    let card = model.card().map(|card| Normalization {
        mean: card.mean,
        std: card.std,
    });
    let preset = overrides.preset.map(|_| Normalization::IMAGENET);
    let known = overrides.normalization.or(preset).or(card);
    known
        .ok_or_else(|| TransformError::NoNormalization { model: name() })?
        .check()
        .map_err(|error| TransformError::Normalization {
            model: name(),
            error,
        })
}

fn preprocessing(
    model: &Model,
    overrides: &PreprocessOverrides,
    [height, width]: [usize; 2],
    normalization: Option<Normalization>,
) -> Result<Preprocessing, PreprocessingError> {
    // Sides that do not fit are over the limit, which is checked later.
    let size = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    let card = model.card().and_then(|card| card.resize);
    let interpolation = overrides
        .interpolation
        .or(overrides.preset.map(Preset::interpolation))
        .or(card.map(|resize| resize.interpolation))
        .unwrap_or(Interpolation::Bilinear);
    let preset = match overrides.preset {
        Some(Preset::Torchvision) => Some(Resize::ShorterSide(
            (size[0].max(size[1]) * 256).div_ceil(224),
        )),
        _ => None,
    };
    let timm = overrides.preset == Some(Preset::Timm)
        || overrides.crop_pct.is_some()
        || overrides.crop_mode.is_some();
    let (resize, fill) = match overrides.resize {
        Some(0) => (Resize::None, [0; 3]),
        Some(side) => (Resize::ShorterSide(side), [0; 3]),
        None if timm => {
            let mean = normalization.unwrap_or(Normalization::IMAGENET).mean;
            let made = Preprocessing::timm(&TimmConfig {
                input_size: size,
                crop_pct: overrides.crop_pct.unwrap_or(0.875),
                crop_mode: overrides.crop_mode.unwrap_or(CropMode::Center),
                interpolation,
                mean: mean.map(f64::from),
            })?;
            let fill = match made.crop {
                Crop::Center { fill, .. } => fill,
                _ => [0; 3],
            };
            (made.resize, fill)
        }
        None => {
            let card = card.map(|resize| match resize.cover {
                Some(size) => Resize::Cover(size.map(|side| side as u32)),
                None => Resize::ShorterSide(resize.shorter_side as u32),
            });
            (preset.or(card).unwrap_or(Resize::None), [0; 3])
        }
    };
    let crop = match overrides.crops {
        // Without a resize setting, images of another size are errors.
        Crops::Center if resize == Resize::None && overrides.resize.is_none() => Crop::None,
        Crops::Center => Crop::Center { size, fill },
        Crops::Five => Crop::Five { size },
        Crops::Ten => Crop::Ten { size },
    };
    Ok(Preprocessing {
        resize,
        interpolation,
        crop,
        pillow: overrides.pillow,
        fast: overrides.fast,
    })
}
