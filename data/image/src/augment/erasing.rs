use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::error::{check, check_probability, check_range};
use super::resized_crop::{TRIES, check_ratio, draw_place, draw_sides};
use super::{AugmentationError, Rect};

/// torchvision's and timm's `RandomErasing`: replaces a random rectangle of normalised values.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RandomErasing {
    /// Probability of erasing a rectangle of an image.
    pub p: f64,
    /// Range of the rectangle's area, as a fraction of the image's.
    pub scale: [f64; 2],
    /// Range of height / width.
    pub ratio: [f64; 2],
    /// Replacement for erased values.
    pub value: ErasingValue,
    /// Largest number of rectangles of an image, as in timm: each is drawn from the area divided by their number.
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// Replacement for erased values.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasingValue {
    /// 0, the mean of normalised values.
    #[default]
    Zero,
    /// Independent normally distributed values with mean 0 and variance 1.
    Random,
    /// One such value for each channel of a rectangle.
    Color,
}

/// torchvision's defaults: half of the images, 2 to 33 % of the area, aspect ratios of 0.3 to 3.3, value 0.
impl Default for RandomErasing {
    fn default() -> Self {
        Self {
            p: 0.5,
            scale: [0.02, 0.33],
            ratio: [0.3, 3.3],
            value: ErasingValue::Zero,
            count: 1,
        }
    }
}

impl RandomErasing {
    pub(super) fn check(&self) -> Result<(), AugmentationError> {
        check_probability("p of random-erasing", self.p)?;
        let part = |part| (0.0..=1.0).contains(&part);
        check_range(
            "the scale of random-erasing",
            self.scale,
            "a range from 0 to 1",
            part,
        )?;
        check_ratio("the ratio of random-erasing", self.ratio)?;
        let good = (1..=100).contains(&self.count);
        check(
            "the count of random-erasing",
            self.count,
            "from 1 to 100",
            good,
        )
    }

    /// Draws a rectangle and erases it in an image of planes.
    ///
    /// # Panics
    ///
    /// If `values` does not have planes of this width and height, or the probability is invalid.
    pub fn apply(
        &self,
        [width, height]: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
        values: &mut [f32],
    ) {
        let plane = width as usize * height as usize;
        assert!(values.len().is_multiple_of(plane));
        for rect in self.draw([width, height], generator) {
            for plane in values.chunks_exact_mut(plane) {
                let rows = plane.chunks_exact_mut(width as usize);
                let rows = rows.skip(rect.y as usize).take(rect.height as usize);
                let rows = rows.map(|row| &mut row[rect.x as usize..][..rect.width as usize]);
                match self.value {
                    ErasingValue::Zero => rows.for_each(|erased| erased.fill(0.0)),
                    ErasingValue::Random => rows.for_each(|erased| {
                        erased.fill_with(|| generator.sample(StandardNormal));
                    }),
                    ErasingValue::Color => {
                        let value: f32 = generator.sample(StandardNormal);
                        rows.for_each(|erased| erased.fill(value));
                    }
                }
            }
        }
    }

    /// Draws rectangles smaller than the image along both axes; one for which ten attempts fail is left out.
    fn draw(&self, image: [u32; 2], generator: &mut (impl Rng + ?Sized)) -> Vec<Rect> {
        if !generator.random_bool(self.p) {
            return Vec::new();
        }
        let count = match self.count {
            1 => 1,
            most => generator.random_range(1..=most),
        };
        let scale = self.scale.map(|part| part / f64::from(count));
        let mut draw = || {
            for _ in 0..TRIES {
                let [height, width] = draw_sides(image, scale, self.ratio, generator);
                if width < f64::from(image[0]) && height < f64::from(image[1]) {
                    let size = [width, height].map(|side| side as u32);
                    return Some(draw_place(size, image, generator));
                }
            }
            None
        };
        (0..count).filter_map(|_| draw()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::statistics::generator;

    #[test]
    fn a_rectangle_of_all_planes_is_erased() {
        const SIZE: [u32; 2] = [40, 30];
        let mut generator = generator();
        let erasing = RandomErasing {
            p: 1.0,
            ..RandomErasing::default()
        };
        let mut areas = 0.0;
        for _ in 0..2000 {
            let mut values = vec![1.0; 3 * 40 * 30];
            erasing.apply(SIZE, &mut generator, &mut values);
            let erased: Vec<usize> = (0..1200).filter(|&i| values[i] == 0.0).collect();
            let (first, last) = (erased[0], erased[erased.len() - 1]);
            let [width, height] = [last % 40 - first % 40 + 1, last / 40 - first / 40 + 1];
            assert_eq!(erased.len(), width * height);
            let (red, others) = values.split_at(1200);
            assert!(others.chunks(1200).all(|plane| plane == red));
            assert!(width < 40 && height < 30);
            areas += erased.len() as f64 / 1200.0;
        }
        // The mean of 2 to 33 %, less the largest elongated rectangles, which do not fit.
        assert!((0.15..0.19).contains(&(areas / 2000.0)), "{areas}");
    }

    #[test]
    fn random_values_have_mean_0_and_variance_1() {
        let erasing = RandomErasing {
            p: 1.0,
            scale: [0.3, 0.3],
            ratio: [1.0, 1.0],
            value: ErasingValue::Random,
            count: 1,
        };
        let mut values = vec![f32::NAN; 3 * 200 * 200];
        erasing.apply([200, 200], &mut generator(), &mut values);
        values.retain(|value| !value.is_nan());
        let count = values.len() as f32;
        assert!((count / 120_000.0 - 0.3).abs() < 0.01, "{count}");
        let mean = values.iter().sum::<f32>() / count;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / count;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }

    #[test]
    fn images_are_erased_with_the_probability() {
        let erasing = RandomErasing {
            p: 0.25,
            ..RandomErasing::default()
        };
        let mut generator = generator();
        let erased = (0..10_000).filter(|_| !erasing.draw([32, 32], &mut generator).is_empty());
        assert!(erased.count().abs_diff(2500) < 300);
    }
}
