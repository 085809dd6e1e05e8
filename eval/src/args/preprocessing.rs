//! How images are preprocessed.

use std::path::PathBuf;

use anyhow::Result;
use topk_data::remote;
use topk_labels::ImagenetVariant;
use topk_preprocessing::{
    ChannelOrder, CropMode, Crops, Interpolation, Normalization, Pillow, PixelRange, Preset,
    parse_channels, parse_input_size,
};

use crate::preset::NamedPreset;
use crate::transform::PreprocessOverrides;

/// Width of the red frame of ObjectNet's images, as its own evaluation removes it.
const FRAME: u32 = 2;

#[derive(Clone, Debug, clap::Args)]
#[command(
    next_help_heading = "Preprocessing [default: from the model's metadata, else from a configuration file beside it]"
)]
pub(super) struct PreprocessingArgs {
    /// Where the model is from, in place of its metadata: torchvision, torchvision-v2, timm, inception, clip, keras-tf,
    /// keras-caffe, keras-torch, or weights of torchvision such as ResNet50_Weights.IMAGENET1K_V2; or a file: timm's
    /// config.json, or a preprocessor_config.json of Hugging Face
    #[arg(long, value_name = "FILE|NAME")]
    preset: Option<PathBuf>,

    /// Number of pixels to remove from each side of an image before resizing [default: 2 for ObjectNet, else 0]
    #[arg(long, value_name = "PIXELS", conflicts_with = "fast")]
    trim: Option<u32>,

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

    /// timm's crop_pct: images are resized to input size / PCT before cropping [default for ImageNet-C, whose images are
    /// crops: 1]
    #[arg(long, value_name = "PCT")]
    crop_pct: Option<f64>,

    /// timm's crop_mode
    #[arg(long, value_enum)]
    crop_mode: Option<CropMode>,

    /// Mean of red, green and blue, in units of pixel / 255, or one number for all, which grey images need
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "std")]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green and blue, in units of pixel / 255
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "mean")]
    std: Option<[f32; 3]>,

    /// Value of white for the model, 1 or 255: with 255, pixels are multiplied by 255 after --mean is subtracted, and
    /// without --mean and --std they are passed as they are
    #[arg(long, value_name = "WHITE", value_parser = PixelRange::parse)]
    pixel_range: Option<PixelRange>,

    /// Pass channels as blue, green, red; --mean and --std remain those of red, green, blue
    #[arg(long)]
    bgr: bool,

    /// Pillow version to match bit for bit
    #[arg(long, value_enum, default_value = "13")]
    pillow: Pillow,

    /// Decode JPEGs of at least twice the required size at reduced size: faster, but with different pixels
    #[arg(long)]
    fast: bool,
}

impl PreprocessingArgs {
    /// The path or address of the preset's file, unless it has a name.
    pub(super) fn path(&mut self) -> Option<&mut PathBuf> {
        let is_name = |path: &PathBuf| path.to_str().and_then(Preset::named).is_some();
        self.preset.as_mut().filter(|path| !is_name(path))
    }

    /// Whether the flags say what a model's configuration would: its preset, or its normalisation.
    pub(super) fn is_prescribed(&self) -> bool {
        self.preset.is_some() || self.mean.is_some()
    }

    /// The settings, of which some depend on a test set.
    ///
    /// # Errors
    /// If the preset does not exist or cannot be reproduced.
    pub(super) fn overrides(
        &self,
        variant: Option<ImagenetVariant>,
    ) -> Result<PreprocessOverrides> {
        let has_frame = variant.is_some_and(ImagenetVariant::is_objectnet);
        // Its images are crops already.
        let is_cropped = variant == Some(ImagenetVariant::C) && self.resize.is_none();
        let preset = self.preset.as_ref().map(|path| -> Result<NamedPreset> {
            let name = path.to_string_lossy();
            if !remote::is_remote(path) {
                return Ok(NamedPreset::find(&name)?);
            }
            let NamedPreset { preset, .. } = NamedPreset::read(&remote::local(path)?)?;
            Ok(NamedPreset {
                name: name.into_owned(),
                preset,
            })
        });
        Ok(PreprocessOverrides {
            preset: preset.transpose()?,
            trim: self.trim.unwrap_or(if has_frame { FRAME } else { 0 }),
            resize: self.resize,
            crop_pct: self.crop_pct.or(is_cropped.then_some(1.0)),
            crop_mode: self.crop_mode,
            interpolation: self.interpolation,
            input_size: self.input_size,
            crops: self.crops,
            normalization: self
                .mean
                .zip(self.std)
                .map(|(mean, std)| Normalization { mean, std }),
            pixel_range: self.pixel_range,
            channel_order: self.bgr.then_some(ChannelOrder::Bgr),
            pillow: self.pillow,
            fast: self.fast,
        })
    }
}
