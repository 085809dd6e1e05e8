//! How images are prepared.

use clap::ValueEnum;
use topk_image::{CropMode, Interpolation, Normalization, Pillow, parse_channels};

use crate::recipe::{Crops, Preset, Wishes};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Preprocessing [default: what the model says]")]
pub(super) struct PreprocessingArgs {
    /// Settings of a library, for models that say nothing
    #[arg(long, value_enum)]
    preset: Option<PresetName>,

    /// Shorter side of the resized images in pixels, or 0 for no resizing
    #[arg(long, value_name = "PIXELS", conflicts_with_all = ["crop_pct", "crop_mode"])]
    resize: Option<u32>,

    /// How pixels of the resized images are made: nearest takes them as they are, the others are
    /// antialiased filters
    #[arg(long, value_enum)]
    interpolation: Option<InterpolationName>,

    /// Side of a crop in pixels, for models that take any
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..))]
    crop: Option<u32>,

    /// Crops of an image: the centre; with the corners, five; with their mirror images, ten
    #[arg(long, value_enum, default_value = "center")]
    crops: CropsName,

    /// Part of the resized image that is cropped, as timm counts: the input's side / this is resized to
    #[arg(long, value_name = "PART")]
    crop_pct: Option<f64>,

    /// timm's crop mode
    #[arg(long, value_enum)]
    crop_mode: Option<CropModeName>,

    /// Mean of red, green, blue in units of pixels / 255
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "std")]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green, blue, likewise
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "mean")]
    std: Option<[f32; 3]>,

    /// Version of Pillow whose pixels are computed
    #[arg(long, value_enum, default_value = "13")]
    pillow: PillowName,

    /// Decode JPEGs of at least twice the size that is needed at a fraction of theirs: faster, but other
    /// pixels
    #[arg(long)]
    fast: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetName {
    /// Shorter side 8/7 of the input's, bilinear, mean and deviation of ImageNet
    Torchvision,
    /// crop_pct 0.875, bicubic, mean and deviation of ImageNet
    Timm,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InterpolationName {
    Nearest,
    Box,
    Bilinear,
    Hamming,
    Bicubic,
    Lanczos,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CropsName {
    Center,
    Five,
    Ten,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CropModeName {
    /// The image covers the crop
    Center,
    /// Its sides are resized each to its own
    Squash,
    /// It fits into the crop, with a border around it
    Border,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PillowName {
    #[value(name = "12")]
    V12,
    #[value(name = "13")]
    V13,
}

impl PreprocessingArgs {
    pub(super) fn wishes(&self) -> Wishes {
        Wishes {
            preset: self.preset.map(|preset| match preset {
                PresetName::Torchvision => Preset::Torchvision,
                PresetName::Timm => Preset::Timm,
            }),
            resize: self.resize,
            crop_pct: self.crop_pct,
            crop_mode: self.crop_mode.map(|mode| match mode {
                CropModeName::Center => CropMode::Center,
                CropModeName::Squash => CropMode::Squash,
                CropModeName::Border => CropMode::Border,
            }),
            interpolation: self.interpolation.map(|interpolation| match interpolation {
                InterpolationName::Nearest => Interpolation::Nearest,
                InterpolationName::Box => Interpolation::Box,
                InterpolationName::Bilinear => Interpolation::Bilinear,
                InterpolationName::Hamming => Interpolation::Hamming,
                InterpolationName::Bicubic => Interpolation::Bicubic,
                InterpolationName::Lanczos => Interpolation::Lanczos,
            }),
            crop: self.crop,
            crops: match self.crops {
                CropsName::Center => Crops::Center,
                CropsName::Five => Crops::Five,
                CropsName::Ten => Crops::Ten,
            },
            normalization: self
                .mean
                .zip(self.std)
                .map(|(mean, std)| Normalization { mean, std }),
            pillow: match self.pillow {
                PillowName::V12 => Pillow::V12,
                PillowName::V13 => Pillow::V13,
            },
            fast: self.fast,
        }
    }
}
