use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::error::{check_interpolation, check_range, check_size};
use super::{AugmentationError, Operation, Rect};
use topk_preprocessing::Interpolation;

/// torchvision's `RandomResizedCrop`: a part of random area and aspect ratio, resized.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Width and height after resizing.
    pub size: [u32; 2],
    /// Range of the part's area, as a fraction of the image's.
    pub scale: [f64; 2],
    /// Range of width / height.
    pub ratio: [f64; 2],
    /// Resampling filter.
    pub interpolation: Interpolation,
    /// Filter that is used for half of the images in place of the other, as in timm's random interpolation.
    #[serde(default)]
    pub other: Option<Interpolation>,
}

impl RandomResizedCrop {
    /// torchvision's defaults: 8 to 100 % of the area, aspect ratios from 3:4 to 4:3, bilinear.
    pub fn new(size: [u32; 2]) -> Self {
        Self {
            size,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            interpolation: Interpolation::Bilinear,
            other: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_size("the size of resized-crop", self.size)?;
        for interpolation in std::iter::once(self.interpolation).chain(self.other) {
            check_interpolation("the interpolation of resized-crop", interpolation)?;
        }
        let part = |part| (0.0..=1.0).contains(&part);
        let scale = "a range above 0 and up to 1";
        check_range("the scale of resized-crop", self.scale, scale, |scale| {
            scale > 0.0 && part(scale)
        })?;
        check_ratio("the ratio of resized-crop", self.ratio)
    }

    pub(super) fn draw(&self, image: [u32; 2], generator: &mut (impl Rng + ?Sized)) -> Operation {
        Operation::ResizedCrop {
            part: self.part(image, generator),
            size: self.size,
            interpolation: match self.other {
                Some(other) if generator.random_bool(0.5) => other,
                _ => self.interpolation,
            },
        }
    }

    /// Draws a part that fits, in up to ten attempts; otherwise takes the largest central part within the
    /// aspect ratios.
    fn part(&self, image: [u32; 2], generator: &mut (impl Rng + ?Sized)) -> Rect {
        for _ in 0..TRIES {
            let [width, height] = draw_sides(image, self.scale, self.ratio, generator);
            let fits = |side: f64, of: u32| (1.0..=f64::from(of)).contains(&side);
            if fits(width, image[0]) && fits(height, image[1]) {
                return draw_place([width, height].map(|side| side as u32), image, generator);
            }
        }
        let [width, height] = image.map(f64::from);
        let [low, high] = self.ratio;
        let size = if width / height < low {
            [width, (width / low).round_ties_even()]
        } else if width / height > high {
            [(height * high).round_ties_even(), height]
        } else {
            [width, height]
        };
        // At least one pixel, where torchvision fails.
        let [width, height] = size.map(|side| side.max(1.0) as u32);
        Rect {
            x: (image[0] - width) / 2,
            y: (image[1] - height) / 2,
            width,
            height,
        }
    }
}

/// Maximum number of attempts to draw a part that fits.
pub(super) const TRIES: usize = 10;

/// Draws the sides of a rectangle: its area uniformly from fractions of the image's, the ratio of the first
/// side to the second log-uniformly.
pub(super) fn draw_sides(
    image: [u32; 2],
    scale: [f64; 2],
    ratio: [f64; 2],
    generator: &mut (impl Rng + ?Sized),
) -> [f64; 2] {
    let [low, high] = scale;
    let area = f64::from(image[0]) * f64::from(image[1]) * generator.random_range(low..=high);
    let [low, high] = ratio.map(f64::ln);
    let ratio = generator.random_range(low..=high).exp();
    [area * ratio, area / ratio].map(|square| square.sqrt().round_ties_even())
}

/// Draws the position of a rectangle in an image, uniformly.
pub(super) fn draw_place(
    [width, height]: [u32; 2],
    image: [u32; 2],
    generator: &mut (impl Rng + ?Sized),
) -> Rect {
    let y = generator.random_range(0..=image[1] - height);
    let x = generator.random_range(0..=image[0] - width);
    Rect {
        x,
        y,
        width,
        height,
    }
}

/// Checks a range of aspect ratios.
pub(super) fn check_ratio(what: &'static str, ratio: [f64; 2]) -> Result<(), AugmentationError> {
    let expected = "a range from 0.001 to 1000";
    check_range(what, ratio, expected, |ratio| (1e-3..=1e3).contains(&ratio))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::statistics::{generator, torchvision};

    #[test]
    fn the_fallback_matches_torchvision() {
        for case in torchvision("fallbacks") {
            let size = serde_json::from_value(case["size"].clone()).unwrap();
            let crop = RandomResizedCrop {
                // More than the image has.
                scale: [2.0, 2.0],
                ratio: serde_json::from_value(case["ratio"].clone()).unwrap(),
                ..RandomResizedCrop::new([1, 1])
            };
            let Rect {
                x,
                y,
                width,
                height,
            } = crop.part(size, &mut generator());
            let expected: [u32; 4] = serde_json::from_value(case["part"].clone()).unwrap();
            if expected[2..].contains(&0) {
                // Where torchvision has no pixels, we have one.
                assert_eq!([width, height], [1, 1], "{case}");
                continue;
            }
            assert_eq!([x, y, width, height], expected, "{case}");
        }
    }

    /// Means and standard deviations of positions and sides, from two samples of 20,000 draws.
    #[test]
    fn the_distribution_matches_torchvision() {
        let mut generator = generator();
        for case in torchvision("draws") {
            let size: [u32; 2] = serde_json::from_value(case["size"].clone()).unwrap();
            let crop = RandomResizedCrop {
                scale: serde_json::from_value(case["scale"].clone()).unwrap(),
                ..RandomResizedCrop::new([1, 1])
            };
            let count = case["count"].as_u64().unwrap();
            let mut sums = [[0.0; 4]; 2];
            for _ in 0..count {
                let part = crop.part(size, &mut generator);
                assert!(part.x + part.width <= size[0] && part.y + part.height <= size[1]);
                let numbers = [part.x, part.y, part.width, part.height].map(f64::from);
                for (i, number) in numbers.into_iter().enumerate() {
                    sums[0][i] += number;
                    sums[1][i] += number * number;
                }
            }
            let count = count as f64;
            let mean = sums[0].map(|sum| sum / count);
            for (i, name) in ["x", "y", "width", "height"].into_iter().enumerate() {
                let std = (sums[1][i] / count - mean[i] * mean[i]).sqrt();
                let [expected, expected_std] =
                    ["mean", "std"].map(|key| case[key][i].as_f64().unwrap());
                // Five standard errors of the difference.
                let error = 5.0 * expected_std * (2.0 / count).sqrt();
                let far = (mean[i] - expected).abs();
                assert!(far <= error, "{name}: {} of {case}", mean[i]);
                assert!(
                    (std - expected_std).abs() <= error,
                    "{name}: {std} of {case}"
                );
            }
        }
    }
}
