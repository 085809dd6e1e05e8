//! Settings of augmentation under timm's names, and the augmentation that they make.

use serde::{Serialize, Serializer};
use topk_image::augment::{
    Augmentation, AugmentationError, ColorJitter, ErasingValue, KeepRatioCrop, Place, RandomCrop,
    RandomErasing, RandomGaussianBlur, RandomGrey, RandomHorizontalFlip, RandomResizedCrop,
    RandomVerticalFlip, Step, TimmAugment, TimmPolicy,
};
use topk_preprocessing::{Interpolation, Normalization};

use crate::config::ConfigError;

/// Augmentation, one setting per transform, in place of --augment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct AugmentSettings {
    /// Train without augmentation: --augment none
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true, conflicts_with_all = ["augment", "train_crop_mode", "scale", "ratio", "train_interpolation", "hflip", "vflip", "aa", "color_jitter", "color_jitter_prob", "grayscale_prob", "gaussian_blur_prob", "reprob", "remode", "recount"], help_heading = "Augmentation")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_aug: bool,

    /// How training images are cropped [default: rrc, except for CIFAR]
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        conflicts_with = "augment",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_crop_mode: Option<TrainCropMode>,

    /// Smallest and largest area of a random resized crop, as parts of the image's [default: 0.08 1, except for CIFAR; 0.8 1
    /// with --train-crop-mode rkrc and rkrr]
    #[arg(long, value_name = "PART", num_args = 1..=2, value_delimiter = ',', action = clap::ArgAction::Set, conflicts_with = "augment", help_heading = "Augmentation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Vec<f64>>,

    /// Smallest and largest width / height of a random resized crop [default: 0.75 1.3333, except for CIFAR; with
    /// --train-crop-mode rkrc and rkrr the factor of the image's, 0.9 1.1111]
    #[arg(long, value_name = "RATIO", num_args = 1..=2, value_delimiter = ',', action = clap::ArgAction::Set, conflicts_with = "augment", help_heading = "Augmentation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Vec<f64>>,

    /// Filter of the random resized crop [default: bilinear]
    #[arg(
        long,
        value_name = "FILTER",
        conflicts_with = "augment",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_interpolation: Option<TrainInterpolation>,

    /// Probability of mirroring an image left to right [default: 0.5]
    #[arg(
        long,
        value_name = "P",
        conflicts_with = "augment",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hflip: Option<f64>,

    /// Probability of mirroring an image top to bottom [default: 0]
    #[arg(
        long,
        value_name = "P",
        conflicts_with = "augment",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vflip: Option<f64>,

    /// timm's AutoAugment (original, originalr, v0, v0r), 3-Augment (3a), RandAugment (such as rand-m9-mstd0.5-inc1) or
    /// AugMix (such as augmix-m3-w3)
    #[arg(
        long,
        value_name = "POLICY",
        conflicts_with = "augment",
        help_heading = "Augmentation"
    )]
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_policy"
    )]
    pub aa: Option<TimmPolicy>,

    /// Largest changes of brightness, contrast and saturation (one number for all), and of hue
    #[arg(long, value_name = "PART", num_args = 1..=4, value_delimiter = ',', action = clap::ArgAction::Set, conflicts_with = "augment", help_heading = "Augmentation")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color_jitter: Option<Vec<f64>>,

    /// Probability of --color-jitter [default: 1]
    #[arg(
        long,
        value_name = "P",
        conflicts_with = "augment",
        requires = "color_jitter",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color_jitter_prob: Option<f64>,

    /// Probability of taking the colour from an image [default: 0]
    #[arg(
        long,
        value_name = "P",
        conflicts_with = "augment",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grayscale_prob: Option<f64>,

    /// Probability of blurring an image [default: 0]
    #[arg(
        long,
        value_name = "P",
        conflicts_with = "augment",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gaussian_blur_prob: Option<f64>,

    /// Probability of erasing random rectangles of an image [default: 0]
    #[arg(
        long,
        value_name = "P",
        conflicts_with = "augment",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reprob: Option<f64>,

    /// What --reprob puts into a rectangle [default: pixel]
    #[arg(
        long,
        value_enum,
        conflicts_with = "augment",
        requires = "reprob",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remode: Option<EraseMode>,

    /// Largest number of rectangles of --reprob [default: 1]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "augment",
        requires = "reprob",
        help_heading = "Augmentation"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recount: Option<u32>,
}

/// How training images are cropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TrainCropMode {
    /// A random part, resized
    Rrc,
    /// The image, resized with nearly its proportions, and its centre
    Rkrc,
    /// The image, resized with nearly its proportions, and a random part of it
    Rkrr,
}

/// Filter of random resized crops.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TrainInterpolation {
    /// Bilinear or bicubic, drawn for each image
    Random,
    /// The mean of the pixels of a box
    Box,
    /// Weights that fall linearly with the distance
    Bilinear,
    /// Hamming's window, which is sharper than bilinear
    Hamming,
    /// Cubic convolution over four pixels
    Bicubic,
    /// Lanczos' window over six pixels
    Lanczos,
}

/// What random erasing puts into a rectangle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EraseMode {
    /// The mean of all images
    Const,
    /// A random colour
    Rand,
    /// A random colour for each pixel
    Pixel,
}

fn optional_policy<S: Serializer>(
    policy: &Option<TimmPolicy>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&policy.map(|policy| policy.to_string()).unwrap_or_default())
}

impl TrainCropMode {
    /// Where a crop that keeps the ratio is taken.
    fn place(self) -> Option<Place> {
        match self {
            Self::Rrc => None,
            Self::Rkrc => Some(Place::Center),
            Self::Rkrr => Some(Place::Random),
        }
    }
}

impl TrainInterpolation {
    /// The filter, and the one that replaces it for half of the images.
    fn filters(self) -> (Interpolation, Option<Interpolation>) {
        match self {
            Self::Random => (Interpolation::Bilinear, Some(Interpolation::Bicubic)),
            Self::Box => (Interpolation::Box, None),
            Self::Bilinear => (Interpolation::Bilinear, None),
            Self::Hamming => (Interpolation::Hamming, None),
            Self::Bicubic => (Interpolation::Bicubic, None),
            Self::Lanczos => (Interpolation::Lanczos, None),
        }
    }
}

impl AugmentSettings {
    /// Whether the augmentation is made of these settings.
    pub(crate) fn are_given(&self) -> bool {
        *self != Self::default()
    }

    /// Checks values and what has no effect.
    ///
    /// # Errors
    /// If one is out of range or without effect; the message names the flag.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let fail =
            |flag, expected, found: String| Err(ConfigError::out_of_range(flag, expected, found));
        let text = |values: &[f64]| {
            let values: Vec<String> = values.iter().map(f64::to_string).collect();
            values.join(",")
        };
        for (flag, values) in [("scale", &self.scale), ("ratio", &self.ratio)] {
            if let Some(values) = values
                && values.len() != 2
            {
                return fail(flag, "two numbers, such as 0.5 1", text(values));
            }
        }
        if let Some(values) = &self.color_jitter
            && values.len() == 2
        {
            let expected = "one number for brightness, contrast and saturation, or these three, or four with hue";
            return fail("color-jitter", expected, text(values));
        }
        for (flag, p) in [
            ("hflip", self.hflip),
            ("vflip", self.vflip),
            ("color-jitter-prob", self.color_jitter_prob),
            ("grayscale-prob", self.grayscale_prob),
            ("gaussian-blur-prob", self.gaussian_blur_prob),
            ("reprob", self.reprob),
        ] {
            if let Some(p) = p
                && !(0.0..=1.0).contains(&p)
            {
                return fail(flag, "from 0 to 1", p.to_string());
            }
        }
        if let (Some(policy), Some(filter)) = (&self.aa, self.train_interpolation) {
            let has_filter = matches!(
                filter.filters().0,
                Interpolation::Bilinear | Interpolation::Bicubic
            );
            if !has_filter {
                let found = format!("{} with --aa {policy}", filter.filters().0);
                let expected = "bilinear, bicubic or random, which rotations of --aa have";
                return fail("train-interpolation", expected, found);
            }
        }
        if let (Some(policy), Some(_)) = (&self.aa, &self.color_jitter)
            && policy.replaces_color_jitter()
        {
            return Err(ConfigError::no_effect(
                "color-jitter",
                "with --aa other than 3-Augment, as in timm",
                "use both with --augment, as in resized-crop:224,flip,aa:rand-m9,color-jitter:0.4:0.4:0.4",
            ));
        }
        Ok(())
    }

    /// The augmentation of images of this height and width. Without --scale, --ratio and --train-interpolation, the crop
    /// is that of the default augmentation.
    ///
    /// # Errors
    /// If a value is out of range.
    pub(crate) fn augmentation(
        &self,
        is_cifar_sized: bool,
        [height, width]: [u32; 2],
        normalization: &Normalization,
    ) -> Result<Augmentation, AugmentationError> {
        if self.no_aug {
            return Ok(Augmentation::default());
        }
        let range = |values: &Option<Vec<f64>>, default| match values.as_deref() {
            Some([first, .., last]) => [*first, *last],
            Some([both]) => [*both; 2],
            _ => default,
        };
        let filters = self.train_interpolation.map(TrainInterpolation::filters);
        let mut steps = Vec::new();
        let resizes = self.scale.is_some()
            || self.ratio.is_some()
            || filters.is_some()
            || self.train_crop_mode.is_some();
        let kept = self.train_crop_mode.and_then(TrainCropMode::place);
        steps.push(match (is_cifar_sized && !resizes, kept) {
            (true, _) => Step::Crop(RandomCrop {
                padding: 4,
                size: None,
            }),
            (false, Some(place)) => {
                let mut crop = KeepRatioCrop::new([width, height], place);
                crop.scale = range(&self.scale, crop.scale);
                crop.ratio = range(&self.ratio, crop.ratio);
                (crop.interpolation, crop.other) =
                    filters.unwrap_or((crop.interpolation, crop.other));
                Step::KeepRatioCrop(crop)
            }
            (false, None) => {
                let mut crop = RandomResizedCrop::new([width, height]);
                crop.scale = range(&self.scale, crop.scale);
                crop.ratio = range(&self.ratio, crop.ratio);
                (crop.interpolation, crop.other) =
                    filters.unwrap_or((crop.interpolation, crop.other));
                Step::ResizedCrop(crop)
            }
        });
        match self.hflip {
            None => steps.push(Step::Flip(RandomHorizontalFlip::default())),
            Some(0.0) => {}
            Some(p) => steps.push(Step::Flip(RandomHorizontalFlip { p })),
        }
        let above_0 = |p: Option<f64>| p.filter(|&p| p > 0.0);
        if let Some(p) = above_0(self.vflip) {
            steps.push(Step::VerticalFlip(RandomVerticalFlip { p }));
        }
        if let Some(policy) = self.aa {
            let (filter, other) = filters.unwrap_or((Interpolation::Bilinear, None));
            steps.push(Step::Timm(TimmAugment {
                fill: normalization
                    .mean
                    .map(|mean| (255.0 * f64::from(mean)).round_ties_even().min(255.0) as u8),
                interpolation: match other {
                    Some(_) => None,
                    None => Some(filter),
                },
                ..TimmAugment::new(policy)
            }));
        }
        if let Some(amounts) = &self.color_jitter {
            let [brightness, contrast, saturation, hue] = match amounts[..] {
                [all] => [all, all, all, 0.0],
                [brightness, contrast, saturation] => [brightness, contrast, saturation, 0.0],
                _ => std::array::from_fn(|index| amounts.get(index).copied().unwrap_or_default()),
            };
            steps.push(Step::ColorJitter(ColorJitter {
                p: self.color_jitter_prob.unwrap_or(1.0),
                ..ColorJitter::new(brightness, contrast, saturation, hue)
            }));
        }
        if let Some(p) = above_0(self.grayscale_prob) {
            steps.push(Step::Grey(RandomGrey { p }));
        }
        if let Some(p) = above_0(self.gaussian_blur_prob) {
            let blur = RandomGaussianBlur::default();
            steps.push(Step::GaussianBlur(RandomGaussianBlur { p, ..blur }));
        }
        let erasing = above_0(self.reprob).map(|p| RandomErasing {
            p,
            // timm's.
            scale: [0.02, 1.0 / 3.0],
            ratio: [0.3, 1.0 / 0.3],
            value: match self.remode.unwrap_or(EraseMode::Pixel) {
                EraseMode::Const => ErasingValue::Zero,
                EraseMode::Rand => ErasingValue::Color,
                EraseMode::Pixel => ErasingValue::Random,
            },
            count: self.recount.unwrap_or(1),
        });
        Augmentation {
            steps,
            erasing,
            ..Augmentation::default()
        }
        .check()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Words {
        #[arg(long)]
        augment: Option<String>,
        #[command(flatten)]
        settings: AugmentSettings,
    }

    fn settings(words: &str) -> AugmentSettings {
        Words::try_parse_from(words.split_whitespace())
            .unwrap()
            .settings
    }

    fn text(words: &str, is_cifar_sized: bool, size: [u32; 2]) -> String {
        let settings = settings(words);
        settings.check().unwrap();
        let made = settings.augmentation(is_cifar_sized, size, &Normalization::IMAGENET);
        made.unwrap().to_string()
    }

    /// The transforms that timm's `create_transform` makes of the same flags, from `make_timm_transforms.py`.
    #[test]
    fn flags_make_the_transforms_of_timm() {
        let cases = include_str!("../../tests/data/timm-transforms.json");
        let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() > 15);
        for case in cases {
            let words = case["flags"].as_str().unwrap();
            let size: [u32; 2] = serde_json::from_value(case["size"].clone()).unwrap();
            assert_eq!(text(words, false, size), case["augment"], "{words}");
        }
    }

    #[test]
    fn the_last_of_repeated_flags_counts() {
        #[derive(Debug, Parser)]
        #[command(no_binary_name = true, args_override_self = true)]
        struct Repeated {
            #[arg(long)]
            augment: Option<String>,
            #[command(flatten)]
            settings: AugmentSettings,
        }
        let words = "--scale 0.1 0.2 --scale=0.3,0.4 --color-jitter 1 2 3 --color-jitter 0.4";
        let found = Repeated::parse_from(words.split_whitespace()).settings;
        assert_eq!(found.scale, Some(vec![0.3, 0.4]));
        assert_eq!(found.color_jitter, Some(vec![0.4]));
    }

    #[test]
    fn the_crop_of_the_data_stays_unless_it_is_changed() {
        assert_eq!(
            text("--reprob 0.25", true, [32, 32]),
            "crop:padding=4,flip:p=0.5,random-erasing:p=0.25:scale=0.02..0.3333333333333333:\
             ratio=0.3..3.3333333333333335:value=random"
        );
        let resized = text("--scale 0.2 1", true, [32, 32]);
        assert!(
            resized.starts_with("resized-crop:size=32x32:scale=0.2..1:"),
            "{resized}"
        );
        let oblong = text("--hflip 0", false, [48, 64]);
        assert!(oblong.starts_with("resized-crop:size=64x48:"), "{oblong}");
        assert_eq!(text("--no-aug", false, [224, 224]), "none");
    }

    #[test]
    fn what_has_no_effect_is_an_error() {
        for (words, expected) in [
            (
                "--scale 0.2",
                "--scale must be two numbers, such as 0.5 1, got 0.2",
            ),
            (
                "--color-jitter 0.4 0.4",
                "--color-jitter must be one number for brightness, contrast and saturation",
            ),
            ("--hflip 1.5", "--hflip must be from 0 to 1, got 1.5"),
            (
                "--aa rand-m9 --color-jitter 0.4",
                "--color-jitter has no effect with --aa other than 3-Augment, as in timm: remove it, or use both with",
            ),
            (
                "--aa v0 --train-interpolation lanczos",
                "--train-interpolation must be bilinear, bicubic or random, which rotations of --aa have, got lanczos",
            ),
        ] {
            let error = settings(words).check().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        for words in [
            "--augment none --reprob 0.1",
            "--remode rand",
            "--recount 2",
            "--color-jitter-prob 0.1",
            "--no-aug --hflip 0",
        ] {
            assert!(
                Words::try_parse_from(words.split_whitespace()).is_err(),
                "{words}"
            );
        }
    }
}
