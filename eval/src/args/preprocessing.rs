//! How images are preprocessed.

use topk_preprocessing::{
    CropMode, Crops, Interpolation, Normalization, Pillow, Preset, parse_channels, parse_input_size,
};

use crate::transform::PreprocessOverrides;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Preprocessing [default: from the model's metadata]")]
pub(super) struct PreprocessingArgs {
    /// Preset for models without metadata
    #[arg(long, value_enum)]
    preset: Option<Preset>,

    /// Shorter side of the resized images in pixels, or 0 for no resizing
    #[arg(long, value_name = "PIXELS", conflicts_with_all = ["crop_pct", "crop_mode"])]
    resize: Option<u32>,

    /// Resampling filter (all but nearest are antialiased)
    #[arg(long, value_enum)]
    interpolation: Option<Interpolation>,

    /// Input size in pixels, for models with dynamic height and width: a side such as 224, or height x width
    /// such as 192x256
    #[arg(long, value_name = "SIZE", value_parser = parse_input_size)]
    input_size: Option<[usize; 2]>,

    /// Crops per image
    #[arg(long, value_enum, default_value = "center")]
    crops: Crops,

    /// timm's crop_pct: images are resized to input size / PCT before cropping
    #[arg(long, value_name = "PCT")]
    crop_pct: Option<f64>,

    /// timm's crop_mode
    #[arg(long, value_enum)]
    crop_mode: Option<CropMode>,

    /// Mean of red, green and blue, in units of pixel / 255
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "std")]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green and blue, in units of pixel / 255
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "mean")]
    std: Option<[f32; 3]>,

    /// Pillow version to match bit for bit
    #[arg(long, value_enum, default_value = "13")]
    pillow: Pillow,

    /// Decode JPEGs of at least twice the required size at reduced size: faster, but with different pixels
    #[arg(long)]
    fast: bool,
}

impl PreprocessingArgs {
    pub(super) fn overrides(&self) -> PreprocessOverrides {
        PreprocessOverrides {
            preset: self.preset,
            resize: self.resize,
            crop_pct: self.crop_pct,
            crop_mode: self.crop_mode,
            interpolation: self.interpolation,
            input_size: self.input_size,
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
