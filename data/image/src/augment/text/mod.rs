//! The text form of augmentations on the command line: steps separated by commas, options after colons.

pub(super) mod options;

use std::fmt;
use std::str::FromStr;

use super::jitter::{around_0, around_1};
use super::{
    Augmentation, AugmentationError, ColorJitter, ErasingValue, KeepRatioCrop, Place, RandAugment,
    RandomCrop, RandomErasing, RandomGaussianBlur, RandomGrey, RandomHorizontalFlip,
    RandomResizedCrop, RandomVerticalFlip, Step, TimmAugment, TrivialAugmentWide,
};
use options::{Range, Syntax};
use topk_preprocessing::Interpolation;

static CROP: Syntax<2> = Syntax {
    step: "crop",
    options: ["padding", "size"],
    example: "crop:4",
};
static FLIP: Syntax<1> = Syntax {
    step: "flip",
    options: ["p"],
    example: "flip:0.5",
};
static RESIZED_CROP: Syntax<4> = Syntax {
    step: "resized-crop",
    options: ["size", "scale", "ratio", "interpolation"],
    example: "resized-crop:224:scale=0.08..1",
};
static KEEP_RATIO_CROP: Syntax<5> = Syntax {
    step: "keep-ratio-crop",
    options: ["size", "scale", "ratio", "interpolation", "place"],
    example: "keep-ratio-crop:224:place=center",
};
static COLOR_JITTER: Syntax<5> = Syntax {
    step: "color-jitter",
    options: ["brightness", "contrast", "saturation", "hue", "p"],
    example: "color-jitter:0.4:0.4:0.4:0.1",
};
static VFLIP: Syntax<1> = Syntax {
    step: "vflip",
    options: ["p"],
    example: "vflip:0.5",
};
static GREY: Syntax<1> = Syntax {
    step: "grey",
    options: ["p"],
    example: "grey:0.1",
};
static GAUSSIAN_BLUR: Syntax<3> = Syntax {
    step: "gaussian-blur",
    options: ["p", "kernel", "sigma"],
    example: "gaussian-blur:0.1",
};
static AA: Syntax<3> = Syntax {
    step: "aa",
    options: ["policy", "fill", "interpolation"],
    example: "aa:rand-m9-mstd0.5-inc1",
};
static RAND_AUGMENT: Syntax<3> = Syntax {
    step: "rand-augment",
    options: ["ops", "magnitude", "bins"],
    example: "rand-augment:2:9",
};
static TRIVIAL_AUGMENT: Syntax<1> = Syntax {
    step: "trivial-augment",
    options: ["bins"],
    example: "trivial-augment",
};
static RANDOM_ERASING: Syntax<5> = Syntax {
    step: "random-erasing",
    options: ["p", "scale", "ratio", "value", "count"],
    example: "random-erasing:0.25",
};

impl FromStr for Augmentation {
    type Err = AugmentationError;

    fn from_str(text: &str) -> Result<Self, AugmentationError> {
        let mut augmentation = Self::default();
        if text.trim() == NONE {
            return Ok(augmentation);
        }
        for step in text.split(',').map(str::trim) {
            if augmentation.erasing.is_some() {
                return Err(AugmentationError::ErasingIsLast);
            }
            let (name, options) = match step.split_once(':') {
                Some((name, options)) => (name, Some(options)),
                None => (step, None),
            };
            if name == RANDOM_ERASING.step {
                augmentation.erasing = Some(erasing(options)?);
            } else {
                augmentation.steps.push(Step::read(name, options)?);
            }
        }
        augmentation.check()
    }
}

/// The text form of no augmentation.
const NONE: &str = "none";

impl Step {
    fn read(name: &str, options: Option<&str>) -> Result<Self, AugmentationError> {
        Ok(match name {
            "crop" => {
                let options = CROP.read(options)?;
                Self::Crop(RandomCrop {
                    padding: options.integer(0)?.unwrap_or(0),
                    size: options.get(1, SIZE, options::size)?,
                })
            }
            "flip" => {
                let p = FLIP.read(options)?.number(0)?;
                Self::Flip(p.map_or_else(Default::default, |p| RandomHorizontalFlip { p }))
            }
            "resized-crop" => {
                let options = RESIZED_CROP.read(options)?;
                let default = RandomResizedCrop::new(options.require(0, SIZE, options::size)?);
                let interpolation = options.get(3, INTERPOLATIONS, interpolations)?;
                let (interpolation, other) =
                    interpolation.unwrap_or((default.interpolation, default.other));
                Self::ResizedCrop(RandomResizedCrop {
                    scale: options.range(1)?.unwrap_or(default.scale),
                    ratio: options.range(2)?.unwrap_or(default.ratio),
                    interpolation,
                    other,
                    ..default
                })
            }
            "keep-ratio-crop" => {
                let options = KEEP_RATIO_CROP.read(options)?;
                let place = options.get(4, "center or random", |text| match text {
                    "center" => Some(Place::Center),
                    RANDOM => Some(Place::Random),
                    _ => None,
                })?;
                let size = options.require(0, SIZE, options::size)?;
                let default = KeepRatioCrop::new(size, place.unwrap_or(Place::Random));
                let interpolation = options.get(3, INTERPOLATIONS, interpolations)?;
                let (interpolation, other) =
                    interpolation.unwrap_or((default.interpolation, default.other));
                Self::KeepRatioCrop(KeepRatioCrop {
                    scale: options.range(1)?.unwrap_or(default.scale),
                    ratio: options.range(2)?.unwrap_or(default.ratio),
                    interpolation,
                    other,
                    ..default
                })
            }
            "color-jitter" => {
                let options = COLOR_JITTER.read(options)?;
                let read = |index, around: fn(f64) -> [f64; 2]| {
                    let expected = "a distance, or a range such as 0.5..1";
                    let either =
                        |text: &str| options::range(text).or_else(|| text.parse().ok().map(around));
                    let range = options.get(index, expected, either)?;
                    Ok::<_, AugmentationError>(range.unwrap_or_else(|| around(0.0)))
                };
                Self::ColorJitter(ColorJitter {
                    brightness: read(0, around_1)?,
                    contrast: read(1, around_1)?,
                    saturation: read(2, around_1)?,
                    hue: read(3, around_0)?,
                    p: options.number(4)?.unwrap_or(1.0),
                })
            }
            "vflip" => {
                let p = VFLIP.read(options)?.number(0)?;
                Self::VerticalFlip(p.map_or_else(Default::default, |p| RandomVerticalFlip { p }))
            }
            "grey" => {
                let p = GREY.read(options)?.number(0)?;
                Self::Grey(p.map_or_else(Default::default, |p| RandomGrey { p }))
            }
            "gaussian-blur" => {
                let options = GAUSSIAN_BLUR.read(options)?;
                let default = RandomGaussianBlur::default();
                Self::GaussianBlur(RandomGaussianBlur {
                    p: options.number(0)?.unwrap_or(default.p),
                    kernel: options.integer(1)?.unwrap_or(default.kernel),
                    sigma: options.range(2)?.unwrap_or(default.sigma),
                })
            }
            "aa" => Self::Timm(timm(options)?),
            "rand-augment" => {
                let options = RAND_AUGMENT.read(options)?;
                let default = RandAugment::default();
                Self::RandAugment(RandAugment {
                    num_ops: options.integer(0)?.unwrap_or(default.num_ops),
                    magnitude: options.integer(1)?.unwrap_or(default.magnitude),
                    num_magnitude_bins: options.integer(2)?.unwrap_or(default.num_magnitude_bins),
                })
            }
            "trivial-augment" => {
                let bins = TRIVIAL_AUGMENT.read(options)?.integer(0)?;
                Self::TrivialAugment(bins.map_or_else(Default::default, |bins| {
                    TrivialAugmentWide {
                        num_magnitude_bins: bins,
                    }
                }))
            }
            _ => {
                let known = [
                    CROP.step,
                    FLIP.step,
                    VFLIP.step,
                    RESIZED_CROP.step,
                    KEEP_RATIO_CROP.step,
                    COLOR_JITTER.step,
                    GREY.step,
                    GAUSSIAN_BLUR.step,
                    AA.step,
                    RAND_AUGMENT.step,
                    TRIVIAL_AUGMENT.step,
                    RANDOM_ERASING.step,
                    NONE,
                ];
                return Err(AugmentationError::Name {
                    name: name.to_owned(),
                    known: known.join(", "),
                });
            }
        })
    }
}

const INTERPOLATIONS: &str = "box, bilinear, hamming, bicubic, lanczos or random";

const SIZE: &str = "a size, such as 224 or 320x240";

/// The interpolation with this name, or two at random.
fn interpolations(name: &str) -> Option<(Interpolation, Option<Interpolation>)> {
    match name {
        RANDOM => Some((Interpolation::Bilinear, Some(Interpolation::Bicubic))),
        name => Some((Interpolation::from_name(name)?, None)),
    }
}

/// The text of two filters, of which the second is used for half of the images.
fn interpolation_name(one: Interpolation, other: Option<Interpolation>) -> &'static str {
    match (one, other) {
        (Interpolation::Bilinear, Some(Interpolation::Bicubic)) => RANDOM,
        (interpolation, _) => interpolation.name(),
    }
}

/// The name of an interpolation that is bilinear or bicubic at random, and of a random place.
const RANDOM: &str = "random";

fn timm(options: Option<&str>) -> Result<TimmAugment, AugmentationError> {
    let options = AA.read(options)?;
    let policy = options.require(0, "a policy such as rand-m9-mstd0.5-inc1", |text| {
        Some(text.parse())
    })??;
    let default = TimmAugment::new(policy);
    let fill = options.get(1, "red, green and blue such as 124-116-104", |text| {
        let values: Option<Vec<u8>> = text.split('-').map(|value| value.parse().ok()).collect();
        values?.try_into().ok()
    })?;
    let interpolation = options.get(2, "bilinear, bicubic or random", |text| match text {
        RANDOM => Some(None),
        text => Interpolation::from_name(text).map(Some),
    })?;
    Ok(TimmAugment {
        fill: fill.unwrap_or(default.fill),
        interpolation: interpolation.unwrap_or(default.interpolation),
        ..default
    })
}

fn erasing(options: Option<&str>) -> Result<RandomErasing, AugmentationError> {
    let options = RANDOM_ERASING.read(options)?;
    let default = RandomErasing::default();
    let value = options.get(3, "zero, random or color", |text| match text {
        "zero" => Some(ErasingValue::Zero),
        "random" => Some(ErasingValue::Random),
        "color" => Some(ErasingValue::Color),
        _ => None,
    })?;
    Ok(RandomErasing {
        p: options.number(0)?.unwrap_or(default.p),
        scale: options.range(1)?.unwrap_or(default.scale),
        ratio: options.range(2)?.unwrap_or(default.ratio),
        value: value.unwrap_or(default.value),
        count: options.integer(4)?.unwrap_or(default.count),
    })
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() && self.erasing.is_none() {
            return f.write_str(NONE);
        }
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{step}")?;
        }
        let Some(erasing) = &self.erasing else {
            return Ok(());
        };
        if !self.steps.is_empty() {
            f.write_str(",")?;
        }
        let [scale, ratio] = [erasing.scale, erasing.ratio].map(Range);
        let value = match erasing.value {
            ErasingValue::Zero => "zero",
            ErasingValue::Random => "random",
            ErasingValue::Color => "color",
        };
        let p = erasing.p;
        write!(
            f,
            "random-erasing:p={p}:scale={scale}:ratio={ratio}:value={value}"
        )?;
        match erasing.count {
            1 => Ok(()),
            count => write!(f, ":count={count}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crop(RandomCrop { padding, size }) => {
                write!(f, "crop:padding={padding}")?;
                match size {
                    None => Ok(()),
                    Some([width, height]) => write!(f, ":size={width}x{height}"),
                }
            }
            Self::Flip(RandomHorizontalFlip { p }) => write!(f, "flip:p={p}"),
            Self::ResizedCrop(crop) => {
                let [width, height] = crop.size;
                let [scale, ratio] = [crop.scale, crop.ratio].map(Range);
                let interpolation = interpolation_name(crop.interpolation, crop.other);
                write!(
                    f,
                    "resized-crop:size={width}x{height}:scale={scale}:ratio={ratio}:\
                     interpolation={interpolation}"
                )
            }
            Self::KeepRatioCrop(crop) => {
                let [width, height] = crop.size;
                let [scale, ratio] = [crop.scale, crop.ratio].map(Range);
                let interpolation = interpolation_name(crop.interpolation, crop.other);
                let place = match crop.place {
                    Place::Center => "center",
                    Place::Random => RANDOM,
                };
                write!(
                    f,
                    "keep-ratio-crop:size={width}x{height}:scale={scale}:ratio={ratio}:\
                     interpolation={interpolation}:place={place}"
                )
            }
            Self::GaussianBlur(RandomGaussianBlur { p, kernel, sigma }) => {
                let sigma = Range(*sigma);
                write!(f, "gaussian-blur:p={p}:kernel={kernel}:sigma={sigma}")
            }
            Self::ColorJitter(jitter) => {
                let brightness = Range(jitter.brightness);
                let contrast = Range(jitter.contrast);
                let saturation = Range(jitter.saturation);
                let hue = Range(jitter.hue);
                write!(
                    f,
                    "color-jitter:brightness={brightness}:contrast={contrast}:\
                     saturation={saturation}:hue={hue}"
                )?;
                match jitter.p {
                    1.0 => Ok(()),
                    p => write!(f, ":p={p}"),
                }
            }
            Self::VerticalFlip(RandomVerticalFlip { p }) => write!(f, "vflip:p={p}"),
            Self::Grey(RandomGrey { p }) => write!(f, "grey:p={p}"),
            Self::Timm(TimmAugment {
                policy,
                fill: [red, green, blue],
                interpolation,
            }) => {
                let interpolation = interpolation.map_or(RANDOM, Interpolation::name);
                write!(
                    f,
                    "aa:policy={policy}:fill={red}-{green}-{blue}:interpolation={interpolation}"
                )
            }
            Self::RandAugment(augment) => {
                let RandAugment {
                    num_ops,
                    magnitude,
                    num_magnitude_bins: bins,
                } = augment;
                write!(
                    f,
                    "rand-augment:ops={num_ops}:magnitude={magnitude}:bins={bins}"
                )
            }
            Self::TrivialAugment(TrivialAugmentWide {
                num_magnitude_bins: bins,
            }) => write!(f, "trivial-augment:bins={bins}"),
        }
    }
}
