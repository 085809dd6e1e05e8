use rand::RngExt;
use thiserror::Error;

use crate::random::{Purpose, generator};

/// Noisy labels stay within their group of this many classes, as in the seed code.
const GROUP: i64 = 5;

/// The labels cannot be made noisy as asked.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum NoiseError {
    /// Not a probability.
    #[error("--noise must be from 0 to 1, got {0}")]
    Probability(f64),
    /// The classes do not divide into groups.
    #[error(
        "label noise works on groups of {GROUP} classes, and {0} classes do not divide into them"
    )]
    Groups(usize),
}

/// Replaces each label, with `probability`, by one drawn uniformly from its group of five classes
/// (`label − label % 5 + {0, …, 4}`), as in the paper's experiments on CIFAR-100. Drawn once for a run.
pub(crate) fn add_label_noise(
    labels: &mut [i64],
    classes: usize,
    probability: f64,
    seed: u64,
) -> Result<(), NoiseError> {
    if !(0.0..=1.0).contains(&probability) {
        return Err(NoiseError::Probability(probability));
    }
    if probability == 0.0 {
        return Ok(());
    }
    if !classes.is_multiple_of(GROUP as usize) {
        return Err(NoiseError::Groups(classes));
    }
    let mut generator = generator(seed, Purpose::LabelNoise);
    for label in labels {
        let noisy = generator.random_bool(probability);
        let within = generator.random_range(0..GROUP);
        if noisy {
            *label = *label - *label % GROUP + within;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(probability: f64) -> Vec<i64> {
        let mut labels: Vec<i64> = (0..20_000).map(|i| i % 20).collect();
        add_label_noise(&mut labels, 20, probability, 3).unwrap();
        labels
    }

    #[test]
    fn a_label_is_replaced_with_the_probability_and_within_its_group() {
        for probability in [0.0, 0.6, 1.0] {
            let labels = noisy(probability);
            let clean = || (0..20_000).map(|i| i % 20);
            assert!(
                labels
                    .iter()
                    .zip(clean())
                    .all(|(noisy, clean)| noisy / 5 == clean / 5)
            );
            let changed = labels
                .iter()
                .zip(clean())
                .filter(|(noisy, clean)| *noisy != clean);
            // One in five of the replaced labels stays as it is.
            let expected = 20_000.0 * probability * 0.8;
            assert!(
                (changed.count() as f64 - expected).abs() < 300.0,
                "{probability}"
            );
        }
    }

    #[test]
    fn the_draw_follows_the_seed_alone() {
        assert_eq!(noisy(0.6), noisy(0.6));
        // A larger probability replaces the same labels and more.
        let (some, more) = (noisy(0.3), noisy(0.6));
        assert!(
            some.iter()
                .zip(&more)
                .zip(0..)
                .all(|((s, m), i)| *s == i % 20 || s == m)
        );
    }

    #[test]
    fn bad_settings_are_named() {
        assert_eq!(
            add_label_noise(&mut [], 20, 1.5, 0),
            Err(NoiseError::Probability(1.5))
        );
        assert_eq!(
            add_label_noise(&mut [], 7, 0.5, 0),
            Err(NoiseError::Groups(7))
        );
        assert_eq!(add_label_noise(&mut [3], 7, 0.0, 0), Ok(()));
    }
}
