use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::error::{check_probability, check_range};
use super::{AugmentationError, Operation};

/// torchvision's `ColorJitter`: changes brightness, contrast, saturation and hue by random amounts, in random
/// order. Each field is the range of the amount.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ColorJitter {
    /// Range of the brightness factor, at least 0; `[1.0, 1.0]` for no change.
    pub brightness: [f64; 2],
    /// Range of the contrast factor, at least 0; `[1.0, 1.0]` for no change.
    pub contrast: [f64; 2],
    /// Range of the saturation factor, at least 0; `[1.0, 1.0]` for no change.
    pub saturation: [f64; 2],
    /// Range of the rotation of hues, as a fraction of the circle from −½ to ½; `[0.0, 0.0]` for no change.
    pub hue: [f64; 2],
    /// Probability of changing an image, as by torchvision's `RandomApply`.
    #[serde(default = "always")]
    pub p: f64,
}

fn always() -> f64 {
    1.0
}

impl ColorJitter {
    /// Factors up to this distance from 1, but not below 0, and hues up to this distance from 0.
    pub fn new(brightness: f64, contrast: f64, saturation: f64, hue: f64) -> Self {
        Self {
            brightness: around_1(brightness),
            contrast: around_1(contrast),
            saturation: around_1(saturation),
            hue: around_0(hue),
            p: 1.0,
        }
    }

    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        for (what, factors) in [
            ("brightness of color-jitter", self.brightness),
            ("contrast of color-jitter", self.contrast),
            ("saturation of color-jitter", self.saturation),
        ] {
            let expected = "a distance of at least 0, or a range from 0 to at most 1000000";
            check_range(what, factors, expected, |factor| {
                (0.0..=1e6).contains(&factor)
            })?;
        }
        let expected = "a distance from 0 to 0.5, or a range from -0.5 to 0.5";
        let hue = "hue of color-jitter";
        check_range(hue, self.hue, expected, |turn| (-0.5..=0.5).contains(&turn))?;
        check_probability("p of color-jitter", self.p)
    }

    pub(super) fn draw(&self, generator: &mut (impl Rng + ?Sized), out: &mut Vec<Operation>) {
        if self.p < 1.0 && !generator.random_bool(self.p) {
            return;
        }
        type New = fn(f64) -> Operation;
        let mut changes: [([f64; 2], f64, New); 4] = [
            (self.brightness, 1.0, Operation::Brightness),
            (self.contrast, 1.0, Operation::Contrast),
            (self.saturation, 1.0, Operation::Saturation),
            (self.hue, 0.0, Operation::Hue),
        ];
        changes.shuffle(generator);
        for ([low, high], none, new) in changes {
            if [low, high] != [none; 2] {
                out.push(new(generator.random_range(low..=high)));
            }
        }
    }
}

pub(super) fn around_1(distance: f64) -> [f64; 2] {
    // NaN stays NaN, so that the check rejects it.
    let low = 1.0 - distance;
    [if low < 0.0 { 0.0 } else { low }, 1.0 + distance]
}

pub(super) fn around_0(distance: f64) -> [f64; 2] {
    [-distance, distance]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::augment::statistics::{assert_equally_likely, generator};

    #[test]
    fn orders_are_equally_likely_and_factors_uniform() {
        let jitter = ColorJitter::new(0.4, 1.5, 0.25, 0.1);
        jitter.check().unwrap();
        let mut generator = generator();
        let mut orders: HashMap<String, u32> = HashMap::new();
        let mut tenths = [[0; 10]; 4];
        for _ in 0..24_000 {
            let mut drawn = Vec::new();
            jitter.draw(&mut generator, &mut drawn);
            let names = drawn.iter().map(|operation| {
                let (name, kind, value, [low, high]) = match *operation {
                    Operation::Brightness(factor) => ('b', 0, factor, [0.6, 1.4]),
                    Operation::Contrast(factor) => ('c', 1, factor, [0.0, 2.5]),
                    Operation::Saturation(factor) => ('s', 2, factor, [0.75, 1.25]),
                    Operation::Hue(turn) => ('h', 3, turn, [-0.1, 0.1]),
                    other => panic!("{other:?}"),
                };
                assert!((low..=high).contains(&value), "{operation:?}");
                let tenth = (value - low) / (high - low) * 10.0;
                tenths[kind][(tenth as usize).min(9)] += 1;
                name
            });
            *orders.entry(names.collect()).or_default() += 1;
        }
        let orders: Vec<u32> = orders.into_values().collect();
        assert_eq!(orders.len(), 24);
        assert_equally_likely(&orders);
        tenths
            .iter()
            .for_each(|tenths| assert_equally_likely(tenths));
    }

    #[test]
    fn changes_of_nothing_are_omitted() {
        let mut drawn = Vec::new();
        ColorJitter::new(0.0, 0.0, 0.0, 0.2).draw(&mut generator(), &mut drawn);
        assert!(matches!(drawn[..], [Operation::Hue(_)]), "{drawn:?}");
    }

    #[test]
    fn images_are_changed_with_the_probability() {
        let jitter = ColorJitter {
            p: 0.25,
            ..ColorJitter::new(0.1, 0.0, 0.0, 0.0)
        };
        let mut generator = generator();
        let mut drawn = Vec::new();
        (0..10_000).for_each(|_| jitter.draw(&mut generator, &mut drawn));
        assert!(drawn.len().abs_diff(2500) < 300, "{}", drawn.len());
    }

    #[test]
    fn invalid_ranges_are_errors() {
        for (jitter, what) in [
            (ColorJitter::new(-0.1, 0.0, 0.0, 0.0), "brightness"),
            (ColorJitter::new(0.0, f64::NAN, 0.0, 0.0), "contrast"),
            (ColorJitter::new(0.0, 0.0, f64::INFINITY, 0.0), "saturation"),
            (ColorJitter::new(0.0, 0.0, 0.0, 0.6), "hue"),
        ] {
            let error = jitter.check().unwrap_err().to_string();
            assert!(error.starts_with(what), "{error}");
        }
    }
}
