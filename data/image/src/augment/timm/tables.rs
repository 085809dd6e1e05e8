//! Which operations the policies draw.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::SubPolicy;
use super::level::LevelOp::{self, *};

/// A policy of pairs of operations.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AutoPolicy {
    /// That of the paper for ImageNet (arXiv:1805.09501).
    Original,
    /// The same, with posterisation that is stronger for larger magnitudes.
    OriginalR,
    /// That of EfficientNet's implementation for TPUs.
    V0,
    /// The same, with posterisation that is stronger for larger magnitudes.
    V0r,
    /// 3-Augment: solarisation, grey, or blur (arXiv:2204.07118).
    #[serde(rename = "3a")]
    ThreeAugment,
}

const ORIGINAL: [SubPolicy; 25] = [
    [(PosterizeOriginal, 0.4, 8.0), (Rotate, 0.6, 9.0)],
    [(Solarize, 0.6, 5.0), (AutoContrast, 0.6, 5.0)],
    [(Equalize, 0.8, 8.0), (Equalize, 0.6, 3.0)],
    [(PosterizeOriginal, 0.6, 7.0), (PosterizeOriginal, 0.6, 6.0)],
    [(Equalize, 0.4, 7.0), (Solarize, 0.2, 4.0)],
    [(Equalize, 0.4, 4.0), (Rotate, 0.8, 8.0)],
    [(Solarize, 0.6, 3.0), (Equalize, 0.6, 7.0)],
    [(PosterizeOriginal, 0.8, 5.0), (Equalize, 1.0, 2.0)],
    [(Rotate, 0.2, 3.0), (Solarize, 0.6, 8.0)],
    [(Equalize, 0.6, 8.0), (PosterizeOriginal, 0.4, 6.0)],
    [(Rotate, 0.8, 8.0), (Color, 0.4, 0.0)],
    [(Rotate, 0.4, 9.0), (Equalize, 0.6, 2.0)],
    [(Equalize, 0.0, 7.0), (Equalize, 0.8, 8.0)],
    [(Invert, 0.6, 4.0), (Equalize, 1.0, 8.0)],
    [(Color, 0.6, 4.0), (Contrast, 1.0, 8.0)],
    [(Rotate, 0.8, 8.0), (Color, 1.0, 2.0)],
    [(Color, 0.8, 8.0), (Solarize, 0.8, 7.0)],
    [(Sharpness, 0.4, 7.0), (Invert, 0.6, 8.0)],
    [(ShearX, 0.6, 5.0), (Equalize, 1.0, 9.0)],
    [(Color, 0.4, 0.0), (Equalize, 0.6, 3.0)],
    [(Equalize, 0.4, 7.0), (Solarize, 0.2, 4.0)],
    [(Solarize, 0.6, 5.0), (AutoContrast, 0.6, 5.0)],
    [(Invert, 0.6, 4.0), (Equalize, 1.0, 8.0)],
    [(Color, 0.6, 4.0), (Contrast, 1.0, 8.0)],
    [(Equalize, 0.8, 8.0), (Equalize, 0.6, 3.0)],
];

const V0: [SubPolicy; 25] = [
    [(Equalize, 0.8, 1.0), (ShearY, 0.8, 4.0)],
    [(Color, 0.4, 9.0), (Equalize, 0.6, 3.0)],
    [(Color, 0.4, 1.0), (Rotate, 0.6, 8.0)],
    [(Solarize, 0.8, 3.0), (Equalize, 0.4, 7.0)],
    [(Solarize, 0.4, 2.0), (Solarize, 0.6, 2.0)],
    [(Color, 0.2, 0.0), (Equalize, 0.8, 8.0)],
    [(Equalize, 0.4, 8.0), (SolarizeAdd, 0.8, 3.0)],
    [(ShearX, 0.2, 9.0), (Rotate, 0.6, 8.0)],
    [(Color, 0.6, 1.0), (Equalize, 1.0, 2.0)],
    [(Invert, 0.4, 9.0), (Rotate, 0.6, 0.0)],
    [(Equalize, 1.0, 9.0), (ShearY, 0.6, 3.0)],
    [(Color, 0.4, 7.0), (Equalize, 0.6, 0.0)],
    [(Posterize, 0.4, 6.0), (AutoContrast, 0.4, 7.0)],
    [(Solarize, 0.6, 8.0), (Color, 0.6, 9.0)],
    [(Solarize, 0.2, 4.0), (Rotate, 0.8, 9.0)],
    [(Rotate, 1.0, 7.0), (TranslateYRel, 0.8, 9.0)],
    [(ShearX, 0.0, 0.0), (Solarize, 0.8, 4.0)],
    [(ShearY, 0.8, 0.0), (Color, 0.6, 4.0)],
    [(Color, 1.0, 0.0), (Rotate, 0.6, 2.0)],
    [(Equalize, 0.8, 4.0), (Equalize, 0.0, 8.0)],
    [(Equalize, 1.0, 4.0), (AutoContrast, 0.6, 2.0)],
    [(ShearY, 0.4, 7.0), (SolarizeAdd, 0.6, 7.0)],
    [(Posterize, 0.8, 2.0), (Solarize, 0.6, 10.0)],
    [(Solarize, 0.6, 8.0), (Equalize, 0.6, 1.0)],
    [(Color, 0.8, 6.0), (Rotate, 0.4, 5.0)],
];

impl AutoPolicy {
    pub(super) const ALL: [(Self, &str); 5] = [
        (Self::Original, "original"),
        (Self::OriginalR, "originalr"),
        (Self::V0, "v0"),
        (Self::V0r, "v0r"),
        (Self::ThreeAugment, "3a"),
    ];

    /// The sub-policies, one of which is drawn for each image; each has one or two operations.
    pub(super) fn sub_policies(self) -> Vec<[Option<(LevelOp, f64, f64)>; 2]> {
        let increasing = |policies: &[SubPolicy]| {
            let with_increasing = |(op, probability, magnitude)| {
                let op = match op {
                    Posterize | PosterizeOriginal => PosterizeIncreasing,
                    op => op,
                };
                Some((op, probability, magnitude))
            };
            let policies = policies.iter();
            policies.map(|pair| pair.map(with_increasing)).collect()
        };
        let all = |policies: &[SubPolicy]| policies.iter().map(|pair| pair.map(Some)).collect();
        match self {
            Self::Original => all(&ORIGINAL),
            Self::OriginalR => increasing(&ORIGINAL),
            Self::V0 => all(&V0),
            Self::V0r => increasing(&V0),
            Self::ThreeAugment => vec![
                [Some((Solarize, 1.0, 5.0)), None],
                [Some((Desaturate, 1.0, 10.0)), None],
                [Some((GaussianBlurRand, 1.0, 10.0)), None],
            ],
        }
    }
}

/// The operations that timm's RandAugment draws from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RandSet {
    /// All, equally often.
    #[default]
    All,
    /// All, those of geometry more often.
    Weights,
    /// Those of 3-Augment.
    #[serde(rename = "3a")]
    ThreeAugment,
    /// Those of 3-Augment more often than others.
    #[serde(rename = "3aw")]
    ThreeAugmentWeighted,
}

const ALL: [LevelOp; 15] = [
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
];

const INCREASING: [LevelOp; 15] = [
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    PosterizeIncreasing,
    SolarizeIncreasing,
    SolarizeAdd,
    ColorIncreasing,
    ContrastIncreasing,
    BrightnessIncreasing,
    SharpnessIncreasing,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
];

pub(super) const AUGMIX: [LevelOp; 13] = [
    AutoContrast,
    ColorIncreasing,
    ContrastIncreasing,
    BrightnessIncreasing,
    SharpnessIncreasing,
    Equalize,
    Rotate,
    PosterizeIncreasing,
    SolarizeIncreasing,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
];

const THREE_AUGMENT: [LevelOp; 3] = [SolarizeIncreasing, Desaturate, GaussianBlur];

const WEIGHTS: [(LevelOp, f64); 15] = [
    (Rotate, 3.0),
    (ShearX, 2.0),
    (ShearY, 2.0),
    (TranslateXRel, 1.0),
    (TranslateYRel, 1.0),
    (ColorIncreasing, 0.25),
    (SharpnessIncreasing, 0.25),
    (AutoContrast, 0.25),
    (SolarizeIncreasing, 0.05),
    (SolarizeAdd, 0.05),
    (ContrastIncreasing, 0.05),
    (BrightnessIncreasing, 0.05),
    (Equalize, 0.05),
    (PosterizeIncreasing, 0.05),
    (Invert, 0.05),
];

const THREE_AUGMENT_WEIGHTS: [(LevelOp, f64); 14] = [
    (SolarizeIncreasing, 6.0),
    (Desaturate, 6.0),
    (GaussianBlur, 6.0),
    (Rotate, 3.0),
    (ShearX, 2.0),
    (ShearY, 2.0),
    (PosterizeIncreasing, 1.0),
    (AutoContrast, 1.0),
    (ColorIncreasing, 1.0),
    (SharpnessIncreasing, 1.0),
    (ContrastIncreasing, 1.0),
    (BrightnessIncreasing, 1.0),
    (Equalize, 1.0),
    (Invert, 1.0),
];

impl RandSet {
    pub(super) const NAMED: [(Self, &str); 3] = [
        (Self::Weights, "weights"),
        (Self::ThreeAugment, "3a"),
        (Self::ThreeAugmentWeighted, "3aw"),
    ];

    /// The operations and their weights, if they have them.
    pub(super) fn weights(self) -> Option<&'static [(LevelOp, f64)]> {
        match self {
            Self::Weights => Some(&WEIGHTS),
            Self::ThreeAugmentWeighted => Some(&THREE_AUGMENT_WEIGHTS),
            Self::All | Self::ThreeAugment => None,
        }
    }

    /// The operations that are equally likely, if they have no weights.
    pub(super) fn equal(self, increasing: bool) -> &'static [LevelOp] {
        match (self, increasing) {
            (Self::ThreeAugment, _) => &THREE_AUGMENT,
            (_, true) => &INCREASING,
            (_, false) => &ALL,
        }
    }

    /// Draws this many operations: with replacement, or without if they have weights.
    pub(super) fn draw(
        self,
        increasing: bool,
        count: u32,
        generator: &mut (impl Rng + ?Sized),
    ) -> Vec<LevelOp> {
        let Some(weights) = self.weights() else {
            let ops = self.equal(increasing);
            let draw = |_| ops[generator.random_range(0..ops.len())];
            return (0..count).map(draw).collect();
        };
        let mut rest = weights.to_vec();
        let draw = |_| {
            let sum: f64 = rest.iter().map(|(_, weight)| weight).sum();
            let mut at = sum * generator.random::<f64>();
            let index = rest.iter().position(|(_, weight)| {
                at -= weight;
                at < 0.0
            });
            // Rounding may reach the end.
            let (op, _) = rest.remove(index.unwrap_or(rest.len() - 1));
            op
        };
        (0..count).map(draw).collect()
    }
}
