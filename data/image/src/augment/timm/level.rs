//! Operations as timm's policies name them, and what their magnitudes mean.

use topk_preprocessing::Interpolation;

use super::super::Operation;

/// An operation of a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LevelOp {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    PosterizeIncreasing,
    PosterizeOriginal,
    Solarize,
    SolarizeIncreasing,
    SolarizeAdd,
    Color,
    ColorIncreasing,
    Contrast,
    ContrastIncreasing,
    Brightness,
    BrightnessIncreasing,
    Sharpness,
    SharpnessIncreasing,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
    Desaturate,
    GaussianBlur,
    GaussianBlurRand,
}

/// The drawn strength of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// From 0 to 10, or to the largest of the policy.
    pub magnitude: f64,
    pub negative: bool,
    /// Largest translation, as a part of the side.
    pub translate: f64,
    /// From 0 to 1: where a random blur is in its range.
    pub blur: f64,
}

impl LevelOp {
    /// Whether the sign of the magnitude is random.
    pub fn is_signed(self) -> bool {
        use LevelOp::*;
        self.is_affine()
            || matches!(
                self,
                ColorIncreasing | ContrastIncreasing | BrightnessIncreasing | SharpnessIncreasing
            )
    }

    /// Whether pixels move, so that values are interpolated.
    pub fn is_affine(self) -> bool {
        use LevelOp::*;
        matches!(
            self,
            Rotate | ShearX | ShearY | TranslateXRel | TranslateYRel
        )
    }
}

impl Level {
    /// The operation of this strength on an image of this width and height; `None` if it changes nothing.
    pub fn operation(
        &self,
        op: LevelOp,
        image: [u32; 2],
        interpolation: Interpolation,
        fill: [u8; 3],
    ) -> Option<Operation> {
        use LevelOp::*;
        let level = self.magnitude / 10.0;
        let signed = |level: f64| if self.negative { -level } else { level };
        let affine = |matrix| Operation::Affine {
            matrix,
            interpolation,
            fill,
        };
        let moved = |side: usize| signed(level * self.translate) * f64::from(image[side]);
        let factor = level * 1.8 + 0.1;
        let increasing = (1.0 + signed(level * 0.9)).max(0.1);
        let between = |low: f64, high: f64| (low + (high - low) * level).min(high).max(low);
        // Magnitudes above 10 would give negative numbers.
        let bits = (level * 4.0) as i32;
        let threshold = ((level * 256.0) as i32).min(256);
        let posterize = |bits: i32| (bits < 8).then_some(Operation::Posterize(bits.max(0) as u32));
        Some(match op {
            AutoContrast => Operation::AutoContrast,
            Equalize => Operation::Equalize,
            Invert => Operation::Invert,
            Rotate => Operation::RotateFilled {
                degrees: signed(level * 30.0),
                interpolation,
                fill,
            },
            Posterize => return posterize(bits),
            PosterizeIncreasing => return posterize(4 - bits),
            PosterizeOriginal => return posterize(bits + 4),
            Solarize => Operation::Solarize(threshold.into()),
            SolarizeIncreasing => Operation::Solarize((256 - threshold).into()),
            SolarizeAdd => Operation::SolarizeAdd(((level * 110.0) as i32).min(128) as u8),
            Color => Operation::Saturation(factor),
            ColorIncreasing => Operation::Saturation(increasing),
            Contrast => Operation::Contrast(factor),
            ContrastIncreasing => Operation::Contrast(increasing),
            Brightness => Operation::Brightness(factor),
            BrightnessIncreasing => Operation::Brightness(increasing),
            Sharpness => Operation::Sharpness(factor),
            SharpnessIncreasing => Operation::Sharpness(increasing),
            ShearX => affine([1.0, signed(level * 0.3), 0.0, 0.0, 1.0, 0.0]),
            ShearY => affine([1.0, 0.0, 0.0, signed(level * 0.3), 1.0, 0.0]),
            TranslateXRel => affine([1.0, 0.0, moved(0), 0.0, 1.0, 0.0]),
            TranslateYRel => affine([1.0, 0.0, 0.0, 0.0, 1.0, moved(1)]),
            Desaturate => Operation::Saturation((1.0 - between(0.5, 1.0)).clamp(0.0, 1.0)),
            GaussianBlur => Operation::GaussianBlur(between(0.1, 2.0)),
            GaussianBlurRand => {
                let largest = 2.0 * between(0.0, 1.0);
                Operation::GaussianBlur(0.1 + (largest - 0.1) * self.blur)
            }
        })
    }
}
