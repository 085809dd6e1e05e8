use thiserror::Error;
use topk_preprocessing::{
    ChannelOrder, Crop, CropMode, Crops, Geometry, Halves, ImageMode, Interpolation, Normalization,
    NormalizationError, Pillow, PixelRange, Preprocessing, PreprocessingError, Preset, Resize,
};

use crate::input::{Element, InputKind};
use crate::model::Model;
use crate::preset::{NamedPreset, PresetError};

/// How images become the input of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputTransform {
    /// Decoding, resizing and cropping.
    pub preprocessing: Preprocessing,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Normalisation of the pixels; none if the model takes raw pixels.
    pub normalization: Option<Normalization>,
    /// Range of the pixels; from 0 to 1 if the model takes raw pixels.
    pub pixel_range: PixelRange,
    /// Order of the channels.
    pub channel_order: ChannelOrder,
    /// Layout and type of the input.
    pub kind: InputKind,
}

/// The transform of a model, and the preset that it is made with.
pub(crate) struct ResolvedTransform {
    pub(crate) transform: InputTransform,
    pub(crate) preset: Option<NamedPreset>,
    /// Whether the preset was found beside the model.
    pub(crate) is_beside: bool,
}

/// Preprocessing settings of the user. Unset values are taken from the preset, or from the metadata of the
/// model.
#[derive(Clone, Debug, Default)]
pub struct PreprocessOverrides {
    /// Settings that replace the metadata of the model. By default, a model without metadata has those of the
    /// configuration file beside it, unless the normalization is set.
    pub preset: Option<NamedPreset>,
    /// Number of pixels to remove from each side of an image before resizing.
    pub trim: u32,
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
    /// Range of the pixels. From 0 to 255 without a known normalization, pixels are passed as they are.
    pub pixel_range: Option<PixelRange>,
    /// Order of the channels.
    pub channel_order: Option<ChannelOrder>,
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
        "{model} has no metadata on normalisation: pass --mean and --std (three numbers each, or one for grey images, in \
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
    /// The preset is for inputs of another size.
    #[error(
        "{model} takes images of {}x{} pixels (height x width), but {preset} is for {}x{}: choose another --preset, or \
         pass --resize or --crop-pct",
        expected[0], expected[1], found[0], found[1]
    )]
    PresetSize {
        /// The model file.
        model: String,
        /// Height and width of the input.
        expected: [usize; 2],
        /// The preset.
        preset: String,
        /// Height and width that it is for.
        found: [usize; 2],
    },
    /// The model takes grey images.
    #[error(
        "{model} takes grey images, but the normalisation has three channels: pass one number each for --mean and --std, \
         such as the averages that timm uses, {} and {}",
        grey.mean[0], grey.std[0]
    )]
    Grey {
        /// The model file.
        model: String,
        /// The averages over the channels.
        grey: Normalization,
    },
    /// The order of the channels is that of colours.
    #[error("{model} takes grey images: omit --bgr, and use a --preset for red, green and blue")]
    GreyOrder {
        /// The model file.
        model: String,
    },
    /// The preset cannot be used.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// The model takes bytes.
    #[error("{model} takes pixels as bytes, from 0 to 255: omit --pixel-range 1")]
    Bytes {
        /// The model file.
        model: String,
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
        ResolvedTransform::new(model, overrides).map(|resolved| resolved.transform)
    }

    /// Number of crops per image.
    pub fn crops(&self) -> usize {
        self.preprocessing.crop.count()
    }
}

impl ResolvedTransform {
    /// The transform of a model; see [`InputTransform::new`].
    pub(crate) fn new(
        model: &Model,
        overrides: &PreprocessOverrides,
    ) -> Result<Self, TransformError> {
        let name = || model.path().display().to_string();
        let is_known = model.card().is_some() || overrides.normalization.is_some();
        let beside = match overrides.preset.is_none() && !is_known {
            true => NamedPreset::beside(model.path())?,
            false => None,
        };
        let is_beside = beside.is_some();
        let named = overrides.preset.clone().or(beside);
        let preset = named.as_ref().map(|named| &named.preset);

        let size = input_size(model, overrides, preset)?;
        let range = overrides.pixel_range;
        let pixel_range = range.or(preset.map(|preset| preset.pixel_range));
        let (normalization, pixel_range) = match model.kind().element {
            Element::U8 if range == Some(PixelRange::One) => {
                return Err(TransformError::Bytes { model: name() });
            }
            Element::U8 => (None, PixelRange::One),
            _ => (
                Some(normalization(model, overrides, preset)?),
                pixel_range.unwrap_or_default(),
            ),
        };
        if let Some(named) = &named
            && let Some([width, height]) = named.preset.input_size
            && !geometry(overrides, preset).is_none_or(|geometry| geometry.is_scalable())
        {
            let found = [height, width].map(|side| side as usize);
            if found != size {
                return Err(TransformError::PresetSize {
                    model: name(),
                    expected: size,
                    preset: named.name.clone(),
                    found,
                });
            }
        }
        let preprocessing = preprocessing(model, overrides, preset, size, normalization);
        let preprocessing = preprocessing
            .and_then(Preprocessing::check)
            .map_err(|error| TransformError::Preprocessing {
                model: name(),
                error,
            })?;
        let channel_order = overrides
            .channel_order
            .or(preset.map(|preset| preset.channel_order))
            .unwrap_or_default();
        if model.kind().mode == ImageMode::L && !channel_order.is_rgb() {
            return Err(TransformError::GreyOrder { model: name() });
        }
        Ok(Self {
            transform: InputTransform {
                preprocessing,
                size,
                normalization,
                pixel_range,
                channel_order,
                kind: model.kind(),
            },
            preset: named,
            is_beside,
        })
    }

    /// What is to be said about the model: the file beside it that the settings are from.
    pub(crate) fn note(&self) -> Option<String> {
        let named = self.preset.as_ref().filter(|_| self.is_beside)?;
        Some(format!(
            "preprocessing of {}, as the model has no metadata (--preset)",
            named.name
        ))
    }
}

/// Height and width of the input of a model.
///
/// # Errors
/// If it is dynamic and not specified, or another is specified.
pub(crate) fn input_size(
    model: &Model,
    overrides: &PreprocessOverrides,
    preset: Option<&Preset>,
) -> Result<[usize; 2], TransformError> {
    let name = || model.path().display().to_string();
    let card = model
        .card()
        .map(|card| [card.input_size[1], card.input_size[2]]);
    let fixed = model.input_size();
    let wanted = match (overrides.input_size, card, preset) {
        (Some(requested), ..) => requested,
        (None, Some(size), _) => size,
        (None, None, Some(preset)) => match preset.input_size {
            Some([width, height]) => [height, width].map(|side| side as usize),
            // Images are square.
            None => [fixed[0].or(fixed[1]).unwrap_or(224); 2],
        },
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
    preset: Option<&Preset>,
) -> Result<Normalization, TransformError> {
    let name = || model.path().display().to_string();
    let card = model.card().map(|card| Normalization {
        mean: card.mean.rgb(),
        std: card.std.rgb(),
    });
    let raw = overrides.pixel_range == Some(PixelRange::Byte);
    let known = overrides
        .normalization
        .or(preset.map(|preset| preset.normalization))
        .or(card)
        .or(raw.then_some(Normalization::NONE));
    let normalization = known
        .ok_or_else(|| TransformError::NoNormalization { model: name() })?
        .check()
        .map_err(|error| TransformError::Normalization {
            model: name(),
            error,
        })?;
    match model.kind().mode {
        ImageMode::L if !normalization.is_grey() => Err(TransformError::Grey {
            model: name(),
            grey: normalization.grey(),
        }),
        _ => Ok(normalization),
    }
}

/// Resizing and cropping according to the user's flags and the preset; none without them.
fn geometry(overrides: &PreprocessOverrides, preset: Option<&Preset>) -> Option<Geometry> {
    let preset = preset.map(|preset| preset.geometry);
    if overrides.resize.is_some() {
        return None;
    }
    if overrides.crop_pct.is_none() && overrides.crop_mode.is_none() {
        return preset;
    }
    let (crop_pct, crop_mode, at) = match preset {
        Some(Geometry::Timm {
            crop_pct,
            crop_mode,
            at,
        }) => (crop_pct, crop_mode, at),
        // timm's defaults.
        _ => (0.875, CropMode::Center, None),
    };
    Some(Geometry::Timm {
        crop_pct: overrides.crop_pct.unwrap_or(crop_pct),
        crop_mode: overrides.crop_mode.unwrap_or(crop_mode),
        at: at.filter(|_| overrides.crop_pct.is_none()),
    })
}

fn preprocessing(
    model: &Model,
    overrides: &PreprocessOverrides,
    preset: Option<&Preset>,
    [height, width]: [usize; 2],
    normalization: Option<Normalization>,
) -> Result<Preprocessing, PreprocessingError> {
    // Sides that do not fit are over the limit, which is checked later.
    let size = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    let card = model.card().and_then(|card| card.resize);
    let interpolation = overrides
        .interpolation
        .or(preset.map(|preset| preset.interpolation))
        .or(card.map(|resize| resize.interpolation))
        .unwrap_or(Interpolation::Bilinear);
    let centre = Crop::Center {
        size,
        fill: [0; 3],
        halves: Halves::Even,
    };
    let (resize, crop) = match (overrides.resize, geometry(overrides, preset)) {
        (Some(0), _) => (Resize::None, centre),
        (Some(side), _) => (Resize::ShorterSide(side), centre),
        (None, Some(geometry)) => {
            let mean = normalization.unwrap_or(Normalization::IMAGENET).mean;
            geometry.at(size, interpolation, mean)?
        }
        (None, None) => match card {
            Some(resize) => {
                let resize = match resize.cover {
                    Some(size) => Resize::Cover(size.map(|side| side as u32)),
                    None => Resize::ShorterSide(resize.shorter_side as u32),
                };
                (resize, centre)
            }
            // Images of another size are errors.
            None => (Resize::None, Crop::None),
        },
    };
    Ok(Preprocessing {
        mode: model.kind().mode,
        trim: overrides.trim,
        resize,
        interpolation,
        crop: match overrides.crops {
            Crops::Center => crop,
            Crops::Five => Crop::Five { size },
            Crops::Ten => Crop::Ten { size },
        },
        pillow: overrides.pillow,
        fast: overrides.fast,
    })
}
