use thiserror::Error;

use crate::random_state::{Bernoulli, RandomState};

/// Label noise of the paper: with some probability, a label is replaced by a random one of its group of
/// neighbouring classes, which may be the same label.
///
/// ```
/// use topk_data::LabelNoise;
///
/// let noise = LabelNoise { group: 5, probability: 0.6 };
/// let noisy = noise.apply(&[0, 7, 99], 100, 0)?;
/// assert!(noisy.iter().zip([0, 7, 99]).all(|(noisy, label)| noisy / 5 == label / 5));
/// # Ok::<(), topk_data::LabelNoiseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelNoise {
    /// Number of classes per group: 5 in the paper.
    pub group: u32,
    /// Probability that a label is replaced, from 0 to 1.
    pub probability: f64,
}

/// Why labels cannot be made noisy.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LabelNoiseError {
    /// The probability is not from 0 to 1.
    #[error("label noise must be a probability from 0 to 1, got {0}")]
    Probability(f64),
    /// The classes cannot be divided into groups.
    #[error(
        "{classes} classes are not a multiple of {group}, so label noise cannot change labels within \
         groups of {group}"
    )]
    Group {
        /// Number of classes.
        classes: usize,
        /// Number of classes in a group.
        group: u32,
    },
    /// A label is not the index of a class.
    #[error("image {index} has label {label}, but there are {classes} classes")]
    Label {
        /// Index of the image.
        index: usize,
        /// Its label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
}

impl LabelNoise {
    /// The labels after noise, drawn once for the whole training set in its order, before images are
    /// held out of it.
    ///
    /// Bit for bit what the authors' code draws after `numpy.random.seed(seed)`: `choice(group)` for all
    /// labels, then `binomial(1, probability)` for all.
    ///
    /// # Errors
    /// If the probability is not from 0 to 1, the classes are not a multiple of the group, or a label is not
    /// a class.
    pub fn apply(
        &self,
        labels: &[u32],
        classes: usize,
        seed: u32,
    ) -> Result<Vec<u32>, LabelNoiseError> {
        let Self { group, probability } = *self;
        if !(0.0..=1.0).contains(&probability) {
            return Err(LabelNoiseError::Probability(probability));
        }
        if group == 0 || classes == 0 || !classes.is_multiple_of(group as usize) {
            return Err(LabelNoiseError::Group { classes, group });
        }
        let outside = |(_, label): &(usize, &u32)| **label as usize >= classes;
        if let Some((index, &label)) = labels.iter().enumerate().find(outside) {
            return Err(LabelNoiseError::Label {
                index,
                label,
                classes,
            });
        }
        if probability == 0.0 {
            return Ok(labels.to_vec());
        }
        let mut random = RandomState::new(seed);
        let replaced = |label| label - label % group + random.up_to(group - 1);
        let mut noisy: Vec<u32> = labels.iter().map(replaced).collect();
        let is_noisy = Bernoulli::new(probability);
        for (noisy, &label) in noisy.iter_mut().zip(labels) {
            if !random.is_one(&is_noisy) {
                *noisy = label;
            }
        }
        Ok(noisy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numpy_cases::{Kept, cases};
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        images: u32,
        classes: u32,
        group: u32,
        seed: u32,
        probability: f64,
        noisy: Kept,
    }

    #[test]
    fn noisy_labels_agree_with_numpy() {
        let cases: Vec<Case> = serde_json::from_value(cases("noise")).unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let Case {
                group, probability, ..
            } = case;
            let labels: Vec<u32> = (0..case.images).map(|i| i * 7 % case.classes).collect();
            let noise = LabelNoise { group, probability };
            let noisy = noise
                .apply(&labels, case.classes as usize, case.seed)
                .unwrap();
            assert_eq!(
                Kept::new(noisy),
                case.noisy,
                "{noise:?}, seed {}",
                case.seed
            );
        }
    }

    #[test]
    fn labels_are_unchanged_without_noise() {
        let labels = [3, 1, 4];
        let noise = |group, probability| LabelNoise { group, probability };
        assert_eq!(noise(5, 0.0).apply(&labels, 5, 0).unwrap(), labels);
        assert_eq!(noise(1, 1.0).apply(&labels, 5, 0).unwrap(), labels);
    }

    #[test]
    fn errors_name_invalid_settings_and_labels() {
        let error = |group, probability, labels: &[u32], classes| {
            let noise = LabelNoise { group, probability };
            noise.apply(labels, classes, 0).unwrap_err().to_string()
        };
        assert!(error(5, 1.2, &[], 10).contains("probability from 0 to 1, got 1.2"));
        assert!(error(5, -0.1, &[], 10).contains("-0.1"));
        assert!(error(5, f64::NAN, &[], 10).contains("NaN"));
        assert!(error(5, 0.5, &[], 12).contains("12 classes are not a multiple of 5"));
        assert!(error(0, 0.5, &[], 12).contains("not a multiple of 0"));
        assert!(error(5, 0.5, &[1, 10], 10).contains("image 1 has label 10"));
    }
}
