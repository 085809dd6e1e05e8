//! A run of a model on images of noise, which shows what its file does not.

use ort::memory::Allocator;

use crate::input::{InputKind, InputTensor};
use crate::worker::SessionWorker;

/// Differences of scores up to this part of their range are rounding: kernels for one image and for several
/// may sum in another order, and a different sum may be quantised to the next step.
const TOLERANCE: f32 = 0.02;

/// Probabilities are recognised if their sums differ from 1 by at most this.
const SUM_TOLERANCE: f32 = 0.01;

/// What a run shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trial {
    /// Number of scores of an image.
    pub(crate) classes: usize,
    /// Why images must be run one by one, if so.
    pub(crate) one_by_one: Option<String>,
    /// Whether the scores of an image differ from run to run.
    pub(crate) random: bool,
    /// What the values of the scores are like.
    pub(crate) values: Values,
}

/// What values of scores are like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Values {
    /// Not negative, with sums of 1.
    SumToOne,
    /// All are from 0 to 1.
    Unit,
    /// Anything.
    Any,
    /// The model did not run.
    Unknown,
}

impl Trial {
    /// What is known without a run.
    pub(crate) fn without_run(classes: usize) -> Self {
        Self {
            classes,
            one_by_one: None,
            random: false,
            values: Values::Unknown,
        }
    }

    /// Runs a model on one or a few images. In bound memory, all runs have the size of a batch, so that a GPU is
    /// prepared for just one.
    ///
    /// # Errors
    /// A message, if it cannot run a batch, and not a single image either.
    pub(crate) fn run(
        worker: &mut SessionWorker,
        kind: InputKind,
        size: [usize; 2],
    ) -> Result<Self, String> {
        let fixed = worker.batch();
        let count = fixed.unwrap_or_else(|| worker.images_per_run(2));
        let run = |worker: &mut SessionWorker, count: usize| -> Result<Vec<f32>, String> {
            let images = InputTensor::noise(&Allocator::default(), kind, count, size);
            let images = images.map_err(|error| error.to_string())?;
            worker.scores(images.view())
        };
        let (scores, classes, one_by_one, random) = match run(worker, count) {
            Ok(scores) if fixed.is_some() => {
                let classes = scores.len() / count;
                (scores, classes, None, false)
            }
            Ok(scores) => {
                let classes = scores.len() / count;
                let reason = "their scores depend on the other images of a batch";
                let (mut one_by_one, mut random) = (None, false);
                // A model for at least two images would be strange, but works.
                if let Ok(alone) = run(worker, 1)
                    && !are_close(&scores[..classes.min(scores.len())], &alone)
                {
                    random = !are_close(&run(worker, 1)?, &alone);
                    one_by_one = (!random).then(|| reason.to_owned());
                }
                (scores, classes, one_by_one, random)
            }
            Err(reason) if fixed.is_some() => return Err(reason),
            Err(reason) => {
                worker.run_one_by_one();
                // The reason for a single image is the better one: batches may not be the problem.
                let scores = run(worker, 1)?;
                let reason = format!("a batch of {count} fails ({})", first_line(&reason));
                (scores.clone(), scores.len(), Some(reason), false)
            }
        };
        Ok(Self {
            classes,
            one_by_one,
            random,
            values: Values::of(&scores, classes),
        })
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text).trim_end_matches('.')
}

fn are_close(a: &[f32], b: &[f32]) -> bool {
    let finite = || a.iter().chain(b).copied().filter(|value| value.is_finite());
    let range = finite().fold(f32::MIN, f32::max) - finite().fold(f32::MAX, f32::min);
    let bound = TOLERANCE * range.max(0.0) + 1e-6;
    // NaN scores are reported with the image that has them.
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > bound;
    a.len() == b.len() && !a.iter().zip(b).any(far)
}

impl Values {
    fn of(scores: &[f32], classes: usize) -> Self {
        let unit = scores
            .iter()
            .all(|score| (0.0..=1.0 + SUM_TOLERANCE).contains(score));
        let mut sums = scores.chunks(classes).map(|row| row.iter().sum::<f32>());
        // Zeros and ones may be anything, such as constant scores.
        let graded = scores.iter().any(|&score| score > 0.0 && score < 1.0);
        match unit {
            true if graded && sums.all(|sum| (sum - 1.0).abs() <= SUM_TOLERANCE) => Self::SumToOne,
            true => Self::Unit,
            false => Self::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_recognised_by_their_values() {
        assert_eq!(Values::of(&[0.25, 0.75, 1.0, 0.0], 2), Values::SumToOne);
        assert_eq!(Values::of(&[0.25, 0.75, 1.0, 0.5], 2), Values::Unit);
        assert_eq!(Values::of(&[0.0, 1.0, 1.0, 0.0], 2), Values::Unit);
        assert_eq!(Values::of(&[1.5, -0.5, 1.0, 0.0], 2), Values::Any);
        assert_eq!(Values::of(&[f32::NAN, 0.5], 2), Values::Any);
    }

    #[test]
    fn rounding_is_not_a_difference() {
        assert!(are_close(&[0.0, 10.0], &[0.1, 10.0]));
        assert!(!are_close(&[0.0, 10.0], &[0.3, 10.0]));
        assert!(!are_close(&[0.0, 1.0], &[0.0]));
        assert!(are_close(&[f32::NAN, 1.0], &[f32::NAN, 1.0]));
        assert!(are_close(&[0.0; 3], &[0.0; 3]));
    }
}
