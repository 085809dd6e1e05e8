use thiserror::Error;
use topk_preprocessing::{
    Crop, CropMode, Crops, Interpolation, Normalization, NormalizationError, Pillow, Preprocessing,
    PreprocessingError, Preset, Resize, TimmConfig,
};

use crate::input::InputKind;
use crate::model::Model;

/// How images become the input of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// From the file to the crops.
    pub preprocessing: Preprocessing,
    /// Height and width of a crop.
    pub size: [usize; 2],
    /// From pixels to numbers; none if the model takes pixels.
    pub normalization: Option<Normalization>,
    /// What the model takes.
    pub kind: InputKind,
}

/// What the user says of preprocessing. What is not said is what the preset says, or the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Settings for a model that says nothing, or that replace what it says.
    pub preset: Option<Preset>,
    /// Shorter side of the resized image; 0 for no resizing.
    pub resize: Option<u32>,
    /// timm's `crop_pct`, in place of the shorter side.
    pub crop_pct: Option<f64>,
    /// timm's `crop_mode`.
    pub crop_mode: Option<CropMode>,
    /// The filter.
    pub interpolation: Option<Interpolation>,
    /// Height and width of a crop, for models that take any.
    pub crop: Option<u32>,
    /// Which crops are taken.
    pub crops: Crops,
    /// How pixels are normalised.
    pub normalization: Option<Normalization>,
    /// Whose pixels are computed.
    pub pillow: Pillow,
    /// Whether large JPEGs are decoded at a fraction of their size.
    pub fast: bool,
}

/// It cannot be decided how images become the input of a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Neither the model nor the user says how to normalise.
    #[error(
        "{model} does not say how its input is normalised: give --mean and --std, three numbers \
         each in units of pixels / 255, or a --preset"
    )]
    NoNormalization {
        /// The model's file.
        model: String,
    },
    /// The model takes images of any size, and nobody says which.
    #[error("{model} takes images of any size, and does not say which: give --crop")]
    NoSize {
        /// The model's file.
        model: String,
    },
    /// The model takes no crops of this size.
    #[error(
        "{model} takes images of {height}x{width} pixels (height x width), not of --crop {crop}"
    )]
    Crop {
        /// The model's file.
        model: String,
        /// What it takes.
        height: usize,
        /// What it takes.
        width: usize,
        /// What was asked for.
        crop: u32,
    },
    /// What is enough of an image for one model would not be for another.
    #[error(
        "--fast is for models that take the same images: {first} and {second} do not, so run one after the \
         other"
    )]
    Fast {
        /// The file of one.
        first: String,
        /// The file of another.
        second: String,
    },
    /// Numbers that cannot be normalised with.
    #[error("{model}: {error}")]
    Normalization {
        /// The model's file.
        model: String,
        /// What is wrong with them.
        error: NormalizationError,
    },
    /// Numbers that are no sizes.
    #[error("{model}: {error}")]
    Preprocessing {
        /// The model's file.
        model: String,
        /// What is wrong with them.
        error: PreprocessingError,
    },
}

impl Recipe {
    /// Decides for a model.
    ///
    /// # Errors
    /// If something is not known, or does not fit the model.
    pub fn new(model: &Model, wishes: &Wishes) -> Result<Self, RecipeError> {
        let name = || model.path().display().to_string();
        let size = size(model, wishes)?;
        let normalization = match model.kind() {
            InputKind::U8 => None,
            InputKind::F32 | InputKind::F16 => Some(normalization(model, wishes)?),
        };
        let preprocessing = preprocessing(model, wishes, size, normalization);
        let preprocessing = preprocessing
            .and_then(Preprocessing::check)
            .map_err(|error| RecipeError::Preprocessing {
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

    /// Crops of an image.
    pub fn crops(&self) -> usize {
        self.preprocessing.crop.count()
    }
}

fn size(model: &Model, wishes: &Wishes) -> Result<[usize; 2], RecipeError> {
    let name = || model.path().display().to_string();
    let card = model
        .card()
        .map(|card| [card.input_size[1], card.input_size[2]]);
    let size = match (model.input_size(), wishes.crop) {
        ([Some(height), Some(width)], None) => [height, width],
        ([height, width], Some(crop)) => {
            let side = crop as usize;
            if height.is_some_and(|height| height != side) || width.is_some_and(|w| w != side) {
                return Err(RecipeError::Crop {
                    model: name(),
                    height: height.unwrap_or(side),
                    width: width.unwrap_or(side),
                    crop,
                });
            }
            [side; 2]
        }
        (_, None) => match (card, wishes.preset) {
            (Some(size), _) => size,
            (None, Some(_)) => [224; 2],
            (None, None) => return Err(RecipeError::NoSize { model: name() }),
        },
    };
    Ok(size)
}

fn normalization(model: &Model, wishes: &Wishes) -> Result<Normalization, RecipeError> {
    let name = || model.path().display().to_string();
    let card = model.card().map(|card| Normalization {
        mean: card.mean,
        std: card.std,
    });
    let preset = wishes.preset.map(|_| Normalization::IMAGENET);
    let known = wishes.normalization.or(preset).or(card);
    known
        .ok_or_else(|| RecipeError::NoNormalization { model: name() })?
        .check()
        .map_err(|error| RecipeError::Normalization {
            model: name(),
            error,
        })
}

fn preprocessing(
    model: &Model,
    wishes: &Wishes,
    [height, width]: [usize; 2],
    normalization: Option<Normalization>,
) -> Result<Preprocessing, PreprocessingError> {
    let size = [width as u32, height as u32];
    let card = model.card().and_then(|card| card.resize);
    let interpolation = wishes
        .interpolation
        .or(wishes.preset.map(Preset::interpolation))
        .or(card.map(|resize| resize.interpolation))
        .unwrap_or(Interpolation::Bilinear);
    let preset = match wishes.preset {
        Some(Preset::Torchvision) => Some(Resize::ShorterSide(
            (size[0].max(size[1]) * 256).div_ceil(224),
        )),
        _ => None,
    };
    let timm = wishes.preset == Some(Preset::Timm)
        || wishes.crop_pct.is_some()
        || wishes.crop_mode.is_some();
    let (resize, fill) = match wishes.resize {
        Some(0) => (Resize::None, [0; 3]),
        Some(side) => (Resize::ShorterSide(side), [0; 3]),
        None if timm => {
            let mean = normalization.unwrap_or(Normalization::IMAGENET).mean;
            let made = Preprocessing::timm(&TimmConfig {
                input_size: size,
                crop_pct: wishes.crop_pct.unwrap_or(0.875),
                crop_mode: wishes.crop_mode.unwrap_or(CropMode::Center),
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
            let card = card.map(|resize| Resize::ShorterSide(resize.shorter_side as u32));
            (preset.or(card).unwrap_or(Resize::None), [0; 3])
        }
    };
    let crop = match wishes.crops {
        // Nothing is known of images of another size: they are refused.
        Crops::Center if resize == Resize::None && wishes.resize.is_none() => Crop::None,
        Crops::Center => Crop::Center { size, fill },
        Crops::Five => Crop::Five { size },
        Crops::Ten => Crop::Ten { size },
    };
    Ok(Preprocessing {
        resize,
        interpolation,
        crop,
        pillow: wishes.pillow,
        fast: wishes.fast,
    })
}
