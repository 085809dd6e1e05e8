//! How images are prepared.

use topk_preprocessing::{
    CropMode, Crops, Interpolation, Normalization, Pillow, Preset, parse_channels,
};

use crate::recipe::Wishes;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Preprocessing [default: what the model says]")]
pub(super) struct PreprocessingArgs {
    /// Settings of a library, for models that say nothing
    #[arg(long, value_enum)]
    preset: Option<Preset>,

    /// Shorter side of the resized images in pixels, or 0 for no resizing
    #[arg(long, value_name = "PIXELS", conflicts_with_all = ["crop_pct", "crop_mode"])]
    resize: Option<u32>,

    /// How pixels of the resized images are made: nearest takes them as they are, the others are
    /// antialiased filters
    #[arg(long, value_enum)]
    interpolation: Option<Interpolation>,

    /// Side of a crop in pixels, for models that take any
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..))]
    crop: Option<u32>,

    /// Crops of an image: the centre; with the corners, five; with their mirror images, ten
    #[arg(long, value_enum, default_value = "center")]
    crops: Crops,

    /// Part of the resized image that is cropped, as timm counts: the input's side / this is resized to
    #[arg(long, value_name = "PART")]
    crop_pct: Option<f64>,

    /// timm's crop mode
    #[arg(long, value_enum)]
    crop_mode: Option<CropMode>,

    /// Mean of red, green, blue in units of pixels / 255
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "std")]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green, blue, likewise
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "mean")]
    std: Option<[f32; 3]>,

    /// Version of Pillow whose pixels are computed
    #[arg(long, value_enum, default_value = "13")]
    pillow: Pillow,

    /// Decode JPEGs of at least twice the size that is needed at a fraction of theirs: faster, but other
    /// pixels
    #[arg(long)]
    fast: bool,
}

impl PreprocessingArgs {
    pub(super) fn wishes(&self) -> Wishes {
        Wishes {
            preset: self.preset,
            resize: self.resize,
            crop_pct: self.crop_pct,
            crop_mode: self.crop_mode,
            interpolation: self.interpolation,
            crop: self.crop,
            crops: self.crops,
            normalization: self
                .mean
                .zip(self.std)
                .map(|(mean, std)| Normalization { mean, std }),
            pillow: self.pillow,
            fast: self.fast,
        }
    }
}
