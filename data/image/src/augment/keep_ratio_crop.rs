use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::error::{check_interpolation, check_range, check_size};
use super::resized_crop::check_ratio;
use super::{AugmentationError, Operation, Rect};
use topk_preprocessing::Interpolation;

/// timm's `ResizeKeepRatio` and `CenterCropOrPad` or `RandomCropOrPad`, its crop modes `rkrc` and `rkrr`: the image is
/// resized to cover the crop, for half of the images smaller or larger, and for half of them stretched, and cropped. Pixels
/// beyond its edges are reflected.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeepRatioCrop {
    /// Width and height of the crop.
    pub size: [u32; 2],
    /// Range of the area of the crop as a fraction of the covered image's; above 1 it extends beyond its edges.
    pub scale: [f64; 2],
    /// Range of the factor of width / height.
    pub ratio: [f64; 2],
    /// Resampling filter.
    pub interpolation: Interpolation,
    /// Filter that is used for half of the images in place of the other, as in timm's random interpolation.
    #[serde(default)]
    pub other: Option<Interpolation>,
    /// Where the crop is taken.
    pub place: Place,
}

/// The place of a crop.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the middle: `rkrc`.
    Center,
    /// Anywhere: `rkrr`.
    Random,
}

impl KeepRatioCrop {
    /// timm's defaults: 80 to 100 % of the area, ratios from 0.9 to 1/0.9, bilinear.
    pub fn new(size: [u32; 2], place: Place) -> Self {
        Self {
            size,
            scale: [0.8, 1.0],
            ratio: [0.9, 1.0 / 0.9],
            interpolation: Interpolation::Bilinear,
            other: None,
            place,
        }
    }

    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_size("the size of keep-ratio-crop", self.size)?;
        for interpolation in std::iter::once(self.interpolation).chain(self.other) {
            check_interpolation("the interpolation of keep-ratio-crop", interpolation)?;
        }
        let scale = "a range from 0.01 to 100";
        check_range("the scale of keep-ratio-crop", self.scale, scale, |scale| {
            (0.01..=100.0).contains(&scale)
        })?;
        check_ratio("the ratio of keep-ratio-crop", self.ratio)
    }

    /// Draws the resizing of the whole image, and the crop.
    pub(super) fn draw(
        &self,
        image: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
    ) -> [Operation; 2] {
        let mut half = |range: [f64; 2]| {
            let [low, high] = range;
            let drawn = generator.random_bool(0.5);
            drawn.then(|| generator.random_range(low..=high))
        };
        let scale = half(self.scale);
        let ratio = half(self.ratio.map(f64::ln)).map(f64::exp);
        let resized = self.resized(image, scale, ratio);
        let interpolation = match self.other {
            Some(other) if generator.random_bool(0.5) => other,
            _ => self.interpolation,
        };
        let [width, height] = image;
        let all = Rect {
            x: 0,
            y: 0,
            width,
            height,
        };
        let [y, x] = [1, 0].map(|axis| {
            let room = i64::from(resized[axis]) - i64::from(self.size[axis]);
            match self.place {
                Place::Center => centered(room),
                Place::Random => generator.random_range(room.min(0)..=room.max(0)),
            }
        });
        [
            Operation::ResizedCrop {
                part: all,
                size: resized,
                interpolation,
            },
            Operation::CropReflected {
                x,
                y,
                size: self.size,
            },
        ]
    }

    /// Width and height to which an image is resized, given the drawn area and ratio, if they are.
    fn resized(&self, image: [u32; 2], scale: Option<f64>, ratio: Option<f64>) -> [u32; 2] {
        let [width, height] =
            [0, 1].map(|axis| f64::from(image[axis]) / f64::from(self.size[axis]));
        let covering = width.min(height);
        let zoom = scale.map_or(1.0, |scale| 1.0 / scale.sqrt());
        let stretch = ratio.map_or(1.0, f64::sqrt);
        let [width, height] = [zoom * stretch, zoom / stretch];
        let side = |side: u32, factor: f64| {
            let side = (f64::from(side) * factor / covering).round_ties_even();
            side.max(1.0) as u32
        };
        [side(image[0], width), side(image[1], height)]
    }
}

/// The first pixel of a crop in the middle of an axis with this many pixels more than the crop.
fn centered(room: i64) -> i64 {
    match room {
        // The smaller half of what is missing is before the image.
        ..0 => -(-room / 2),
        _ => (room as f64 / 2.0).round_ties_even() as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::statistics::generator;

    /// timm's sizes and places for its own draws, from `make_timm.py`.
    #[test]
    fn sizes_and_places_are_those_of_timm() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/timm.json")).unwrap();
        let cases = cases["kept_ratios"].as_array().unwrap();
        assert_eq!(cases.len(), 60);
        for case in cases {
            let read = |key: &str| serde_json::from_value(case[key].clone()).unwrap();
            let crop = KeepRatioCrop::new(read("size"), Place::Center);
            let number = |key: &str| case[key].as_f64();
            let image: [u32; 2] = read("image");
            let resized = crop.resized(image, number("scale"), number("ratio"));
            assert_eq!(resized, read("resized"), "{case}");
            let first = [0, 1].map(|axis| i64::from(resized[axis]) - i64::from(crop.size[axis]));
            let center: [i64; 2] = serde_json::from_value(case["center"].clone()).unwrap();
            assert_eq!(first.map(centered), center, "{case}");
        }
    }

    #[test]
    fn random_crops_are_anywhere_within_or_around_the_image() {
        let crop = KeepRatioCrop {
            scale: [1.0, 1.0],
            ratio: [1.0, 1.0],
            ..KeepRatioCrop::new([10, 10], Place::Random)
        };
        let mut generator = generator();
        let mut seen = [false; 11];
        for _ in 0..500 {
            let [resize, place] = crop.draw([40, 20], &mut generator);
            assert!(matches!(
                resize,
                Operation::ResizedCrop { size: [20, 10], .. }
            ));
            let Operation::CropReflected { x, y: 0, .. } = place else {
                panic!("{place:?}");
            };
            seen[x as usize] = true;
        }
        assert_eq!(seen, [true; 11]);
    }
}
