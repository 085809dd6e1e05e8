//! Policies that draw operations from a list.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::error::check;
use super::{AugmentationError, Operation};

/// torchvision's `RandAugment`: operations drawn from a list, all with the same magnitude.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// Number of operations per image, from 1 to 100.
    pub num_ops: u32,
    /// Index of the magnitude, from 0.
    pub magnitude: u32,
    /// Number of magnitudes, from 2 to 65,536.
    pub num_magnitude_bins: u32,
}

/// torchvision's defaults: two operations with magnitude 9 of 31.
impl Default for RandAugment {
    fn default() -> Self {
        Self {
            num_ops: 2,
            magnitude: 9,
            num_magnitude_bins: 31,
        }
    }
}

/// torchvision's `TrivialAugmentWide`: one operation drawn from a list, with a random magnitude.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrivialAugmentWide {
    /// Number of magnitudes, from 2 to 65,536.
    pub num_magnitude_bins: u32,
}

/// torchvision's default: 31 magnitudes.
impl Default for TrivialAugmentWide {
    fn default() -> Self {
        Self {
            num_magnitude_bins: 31,
        }
    }
}

impl RandAugment {
    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        let ops = (1..=100).contains(&self.num_ops);
        check("ops of rand-augment", self.num_ops, "from 1 to 100", ops)?;
        check_bins("bins of rand-augment", self.num_magnitude_bins)?;
        let below = self.magnitude < self.num_magnitude_bins;
        let expected = "less than the number of bins";
        check("magnitude of rand-augment", self.magnitude, expected, below)
    }

    pub(super) fn draw(
        &self,
        image: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
        out: &mut Vec<Operation>,
    ) {
        let magnitudes = Magnitudes::of_rand_augment(image);
        for _ in 0..self.num_ops {
            let bins = [self.magnitude, self.num_magnitude_bins];
            let kind = KINDS[generator.random_range(0..KINDS.len())];
            let negative = kind.is_signed() && generator.random_bool(0.5);
            out.extend(magnitudes.operation(kind, bins, negative));
        }
    }
}

impl TrivialAugmentWide {
    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_bins("bins of trivial-augment", self.num_magnitude_bins)
    }

    pub(super) fn draw(&self, generator: &mut (impl Rng + ?Sized)) -> Option<Operation> {
        let kind = KINDS[generator.random_range(0..KINDS.len())];
        let bin = generator.random_range(0..self.num_magnitude_bins);
        let negative = kind.is_signed() && generator.random_bool(0.5);
        Magnitudes::WIDE.operation(kind, [bin, self.num_magnitude_bins], negative)
    }
}

fn check_bins(what: &'static str, bins: u32) -> Result<(), AugmentationError> {
    check(what, bins, "from 2 to 65536", (2..=1 << 16).contains(&bins))
}

/// An operation of the list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

/// The list of operations.
const KINDS: [Kind; 14] = [
    Kind::Identity,
    Kind::ShearX,
    Kind::ShearY,
    Kind::TranslateX,
    Kind::TranslateY,
    Kind::Rotate,
    Kind::Brightness,
    Kind::Color,
    Kind::Contrast,
    Kind::Sharpness,
    Kind::Posterize,
    Kind::Solarize,
    Kind::AutoContrast,
    Kind::Equalize,
];

impl Kind {
    /// Whether the magnitude has a random sign.
    fn is_signed(self) -> bool {
        !matches!(
            self,
            Self::Identity | Self::Posterize | Self::Solarize | Self::AutoContrast | Self::Equalize
        )
    }
}

/// The largest magnitudes.
#[derive(Clone, Copy, Debug)]
struct Magnitudes {
    shear: f64,
    /// Translation along each axis, in pixels.
    translate: [f64; 2],
    degrees: f64,
    /// Distance of factors from 1.
    enhance: f64,
    /// Number of bits to remove.
    bits: u32,
}

impl Magnitudes {
    /// The magnitudes of [`TrivialAugmentWide`].
    const WIDE: Self = Self {
        shear: 0.99,
        translate: [32.0; 2],
        degrees: 135.0,
        enhance: 0.99,
        bits: 6,
    };

    /// The magnitudes of [`RandAugment`] for an image of this width and height.
    fn of_rand_augment(image: [u32; 2]) -> Self {
        Self {
            shear: 0.3,
            translate: image.map(|side| 150.0 / 331.0 * f64::from(side)),
            degrees: 30.0,
            enhance: 0.9,
            bits: 4,
        }
    }

    /// An operation with the magnitude of a bin, out of `bins`.
    fn operation(&self, kind: Kind, [bin, bins]: [u32; 2], negative: bool) -> Option<Operation> {
        let signed = |largest: f64| {
            let magnitude = linspace(0.0, largest, [bin, bins]);
            if negative { -magnitude } else { magnitude }
        };
        let factor = || 1.0 + signed(self.enhance);
        Some(match kind {
            Kind::Identity => return None,
            Kind::ShearX => Operation::ShearX(signed(self.shear)),
            Kind::ShearY => Operation::ShearY(signed(self.shear)),
            Kind::TranslateX => Operation::TranslateX(signed(self.translate[0]) as i32),
            Kind::TranslateY => Operation::TranslateY(signed(self.translate[1]) as i32),
            Kind::Rotate => Operation::Rotate(signed(self.degrees)),
            Kind::Brightness => Operation::Brightness(factor()),
            Kind::Color => Operation::Saturation(factor()),
            Kind::Contrast => Operation::Contrast(factor()),
            Kind::Sharpness => Operation::Sharpness(factor()),
            Kind::Posterize => {
                // In single precision, like PyTorch.
                let width = f64::from(bins - 1) / f64::from(self.bits);
                let lost = (bin as f32 / width as f32).round_ties_even();
                Operation::Posterize(8 - lost as u32)
            }
            Kind::Solarize => Operation::Solarize(linspace(255.0, 0.0, [bin, bins])),
            Kind::AutoContrast => Operation::AutoContrast,
            Kind::Equalize => Operation::Equalize,
        })
    }
}

/// A value of PyTorch's `linspace` in single precision, on processors with fused multiply-add: counted from
/// the start in the first half, from the end in the second.
fn linspace(start: f64, end: f64, [index, steps]: [u32; 2]) -> f64 {
    let [start, end] = [start, end].map(|bound| bound as f32);
    let step = (end - start) / (steps - 1) as f32;
    f64::from(if index < steps / 2 {
        step.mul_add(index as f32, start)
    } else {
        (-step).mul_add((steps - 1 - index) as f32, end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::statistics::{assert_equally_likely, generator, torchvision};

    /// The parameter of an operation, as in torchvision's tables.
    fn magnitude(operation: Option<Operation>) -> f64 {
        match operation {
            None | Some(Operation::AutoContrast | Operation::Equalize) => 0.0,
            Some(Operation::ShearX(magnitude) | Operation::ShearY(magnitude)) => magnitude,
            Some(Operation::TranslateX(pixels) | Operation::TranslateY(pixels)) => pixels.into(),
            Some(Operation::Rotate(degrees)) => degrees,
            Some(
                Operation::Brightness(factor)
                | Operation::Saturation(factor)
                | Operation::Contrast(factor)
                | Operation::Sharpness(factor),
            ) => factor,
            Some(Operation::Posterize(bits)) => bits.into(),
            Some(Operation::Solarize(threshold)) => threshold,
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn magnitudes_match_torchvision() {
        let mut count = 0;
        for case in torchvision("strengths") {
            let size = serde_json::from_value(case["size"].clone()).unwrap();
            let bins = case["bins"].as_u64().unwrap() as u32;
            let largest = match case["policy"].as_str().unwrap() {
                "rand_augment" => Magnitudes::of_rand_augment(size),
                _ => Magnitudes::WIDE,
            };
            let space = case["space"].as_object().unwrap();
            assert_eq!(space.len(), KINDS.len());
            for kind in KINDS {
                let [magnitudes, signed] = &space[&format!("{kind:?}")].as_array().unwrap()[..]
                else {
                    panic!("{space:?}");
                };
                assert_eq!(kind.is_signed(), signed.as_bool().unwrap(), "{kind:?}");
                for bin in 0..bins {
                    let one = magnitudes.as_f64();
                    let expected =
                        one.unwrap_or_else(|| magnitudes[bin as usize].as_f64().unwrap());
                    for negative in [false, true] {
                        let signed = if negative && kind.is_signed() {
                            -expected
                        } else {
                            expected
                        };
                        let expected = match kind {
                            Kind::TranslateX | Kind::TranslateY => signed.trunc(),
                            Kind::Brightness | Kind::Color | Kind::Contrast | Kind::Sharpness => {
                                1.0 + signed
                            }
                            _ => signed,
                        };
                        let found = largest.operation(kind, [bin, bins], negative);
                        assert_eq!(magnitude(found), expected, "{kind:?} {bin} of {bins}");
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(count, 2 * 14 * (2 * (2 + 5 + 11 + 31) + 2 + 5 + 31));
    }

    /// An index for each operation and sign; operations without a sign count half for each.
    fn number(operation: Option<Operation>) -> [usize; 2] {
        let kind = match operation {
            None => 0,
            Some(Operation::ShearX(_)) => 1,
            Some(Operation::ShearY(_)) => 2,
            Some(Operation::TranslateX(_)) => 3,
            Some(Operation::TranslateY(_)) => 4,
            Some(Operation::Rotate(_)) => 5,
            Some(Operation::Brightness(_)) => 6,
            Some(Operation::Saturation(_)) => 7,
            Some(Operation::Contrast(_)) => 8,
            Some(Operation::Sharpness(_)) => 9,
            Some(Operation::Posterize(_)) => 10,
            Some(Operation::Solarize(_)) => 11,
            Some(Operation::AutoContrast) => 12,
            Some(Operation::Equalize) => 13,
            Some(other) => panic!("{other:?}"),
        };
        let none = if (6..10).contains(&kind) { 1.0 } else { 0.0 };
        [kind, (magnitude(operation) < none) as usize]
    }

    #[test]
    fn operations_and_signs_are_equally_likely() {
        let augment = RandAugment {
            num_ops: 1,
            ..RandAugment::default()
        };
        let mut generator = generator();
        let mut counts = [[0; 2]; 14];
        let mut drawn = Vec::new();
        for _ in 0..28_000 {
            drawn.clear();
            augment.draw([224, 224], &mut generator, &mut drawn);
            let [kind, negative] = number(drawn.first().copied());
            counts[kind][negative] += 1;
        }
        assert_equally_likely(&counts.map(|[positive, negative]| positive + negative));
        counts[1..10]
            .iter()
            .for_each(|signs| assert_equally_likely(signs));
        assert!(counts[10..].iter().all(|[_, negative]| *negative == 0));
    }

    #[test]
    fn magnitudes_are_equally_likely() {
        let mut generator = generator();
        let mut turns = [0; 21];
        let augment = TrivialAugmentWide {
            num_magnitude_bins: 11,
        };
        for _ in 0..60_000 {
            if let Some(Operation::Rotate(degrees)) = augment.draw(&mut generator) {
                turns[(degrees / 13.5 + 10.0).round() as usize] += 1;
            }
        }
        // Both signs of magnitude 0 are the same.
        turns[10] /= 2;
        assert_equally_likely(&turns);
    }

    #[test]
    fn num_ops_operations_are_drawn() {
        let augment = RandAugment {
            num_ops: 100,
            ..RandAugment::default()
        };
        let mut drawn = Vec::new();
        augment.draw([32, 32], &mut generator(), &mut drawn);
        // One of fourteen operations is the identity.
        assert!((80..100).contains(&drawn.len()), "{}", drawn.len());
    }
}
