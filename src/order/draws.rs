//! Images that are drawn at random, so that rare classes appear more often.

use clap::ValueEnum;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Which training images an epoch has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Each image once
    #[default]
    Shuffle,
    /// Images drawn with replacement, all classes equally often
    ClassBalanced,
    /// Images drawn with replacement, each class in proportion to the square root of its number of images
    SquareRoot,
}

impl Sampler {
    /// The weight of an image whose class has this many, as for PyTorch's `WeightedRandomSampler`; `None` if images are
    /// not drawn.
    fn weight(self, images: usize) -> Option<f64> {
        match self {
            Self::Shuffle => None,
            Self::ClassBalanced => Some(1.0 / images as f64),
            Self::SquareRoot => Some(1.0 / (images as f64).sqrt()),
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Draws as many images as there are, with replacement, each with a probability that depends on its class, as PyTorch's
/// `WeightedRandomSampler` does.
#[derive(Clone, Debug)]
pub(crate) struct ClassDraws {
    /// For each class with images: those, and the sum of the weights of all images up to the last of them.
    classes: Vec<(Vec<usize>, f64)>,
    pub(super) images: usize,
}

impl ClassDraws {
    /// Draws from images with these labels; `None` if the sampler does not draw.
    pub(crate) fn new(sampler: Sampler, labels: &[i64]) -> Option<Self> {
        let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
        let mut images = vec![Vec::new(); classes];
        for (index, &label) in labels.iter().enumerate() {
            images[label as usize].push(index);
        }
        let mut sum = 0.0;
        let mut weighted = Vec::new();
        for images in images.into_iter().filter(|images| !images.is_empty()) {
            sum += sampler.weight(images.len())? * images.len() as f64;
            weighted.push((images, sum));
        }
        Some(Self {
            classes: weighted,
            images: labels.len(),
        })
    }

    /// The probability of each class with images: that a drawn image is one of it.
    pub(crate) fn probabilities(&self) -> impl Iterator<Item = f64> {
        let total = self.total();
        let before = std::iter::once(0.0).chain(self.classes.iter().map(|(_, sum)| *sum));
        let sums = self.classes.iter().map(|(_, sum)| *sum);
        before
            .zip(sums)
            .map(move |(before, sum)| (sum - before) / total)
    }

    fn total(&self) -> f64 {
        self.classes.last().map_or(0.0, |(_, sum)| *sum)
    }

    pub(super) fn epoch(&self, generator: &mut ChaCha8Rng) -> Vec<usize> {
        let total = self.total();
        let mut draw = || {
            let at = total * generator.random::<f64>();
            let class = self.classes.partition_point(|(_, sum)| *sum <= at);
            // Rounding may reach the end.
            let (images, _) = &self.classes[class.min(self.classes.len() - 1)];
            images[generator.random_range(0..images.len())]
        };
        (0..self.images).map(|_| draw()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::random::{Purpose, generator};

    /// Labels of classes with these numbers of images, class after class.
    fn labels(counts: &[usize]) -> Vec<i64> {
        let classes = (0..).zip(counts);
        classes
            .flat_map(|(class, &count)| std::iter::repeat_n(class, count))
            .collect()
    }

    #[test]
    fn classes_are_drawn_as_by_pytorch() {
        let cases = include_str!("../../tests/data/sampling.json");
        let cases: Value = serde_json::from_str(cases).unwrap();
        let mut largest: f64 = 0.0;
        for case in cases["weighted"].as_array().unwrap() {
            let read = |key: &str| serde_json::from_value::<Vec<f64>>(case[key].clone()).unwrap();
            let counts: Vec<usize> = read("counts").iter().map(|&count| count as usize).collect();
            let name = case["sampler"].as_str().unwrap();
            let sampler = Sampler::from_str(name, false).unwrap();
            let labels = labels(&counts);
            let draws = ClassDraws::new(sampler, &labels).unwrap();
            let expected = read("probabilities");
            let found: Vec<f64> = draws.probabilities().collect();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                largest = largest.max((found - expected).abs());
            }
            // How often each class is drawn, here and by PyTorch: two samples of one distribution.
            let epochs = case["epochs"].as_u64().unwrap() as usize;
            let mut drawn = vec![0.0; counts.len()];
            for epoch in 1..=epochs {
                let order = draws.epoch(&mut generator(7, Purpose::Order { epoch }));
                assert_eq!(order.len(), labels.len());
                order
                    .into_iter()
                    .for_each(|index| drawn[labels[index] as usize] += 1.0);
            }
            let chi_square: f64 = drawn
                .iter()
                .zip(read("drawn"))
                .map(|(one, other)| (one - other).powi(2) / (one + other))
                .sum();
            let freedom = counts.len() as f64 - 1.0;
            let limit = freedom + 6.0 * (2.0 * freedom).sqrt();
            assert!(chi_square < limit, "{name} {counts:?}: {chi_square}");
        }
        println!("largest difference of a probability: {largest:e}");
        assert!(largest < 1e-12, "{largest}");
    }

    #[test]
    fn images_of_a_class_are_equally_likely() {
        let labels = labels(&[3, 50]);
        let draws = ClassDraws::new(Sampler::ClassBalanced, &labels).unwrap();
        let mut counts = vec![0; labels.len()];
        for epoch in 1..=400 {
            let order = draws.epoch(&mut generator(1, Purpose::Order { epoch }));
            order.into_iter().for_each(|index| counts[index] += 1);
        }
        // 10,600 images of each class.
        assert!(
            counts[..3]
                .iter()
                .all(|&count: &usize| count.abs_diff(3533) < 300),
            "{counts:?}"
        );
        assert!(
            counts[3..].iter().all(|&count| count.abs_diff(212) < 90),
            "{counts:?}"
        );
    }

    #[test]
    fn shuffled_images_are_not_drawn() {
        assert!(ClassDraws::new(Sampler::Shuffle, &labels(&[2])).is_none());
    }
}
