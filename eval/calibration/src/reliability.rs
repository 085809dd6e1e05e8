//! Calibration errors.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use topk_ops::noise::uniform;

use crate::estimate::Estimate;
use crate::halves::BOOTSTRAP;
use crate::logits::{Logits, LogitsError, Row};

/// Number of bins of all calibration errors.
pub const CALIBRATION_BINS: usize = 15;

/// How well probabilities agree with what happened.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Reliability {
    /// Mean negative log-likelihood of the true class (cross-entropy), in nats. The interval is that of the normal
    /// approximation.
    pub nll: Estimate,
    /// Mean Brier score, the sum of (p − y)² over the classes, 0 to 2. The interval is that of the normal
    /// approximation.
    pub brier: Estimate,
    /// Expected calibration error of the top-1 probability in bins of equal width. The interval is the basic
    /// bootstrap's, of 1,000 samples.
    pub ece: Estimate,
    /// The same in bins of equally many images (Nguyen and O'Connor, EMNLP 2015).
    pub adaptive_ece: f64,
    /// Mean over all classes of the calibration error of the class's probability in bins of equal width (Kull et
    /// al., NeurIPS 2019).
    pub classwise_ece: f64,
}

/// What is known of an image's probabilities.
struct Outcome {
    nll: f64,
    brier: f64,
    confidence: f64,
    correct: bool,
    probabilities: Vec<f64>,
    label: usize,
}

/// A bin of confidences.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bin {
    confidence: f64,
    correct: usize,
}

impl Bin {
    fn add(&mut self, confidence: f64, correct: bool) {
        self.confidence += confidence;
        self.correct += usize::from(correct);
    }

    /// The difference of confidence and accuracy, times the number of images.
    fn gap(&self) -> f64 {
        (self.correct as f64 - self.confidence).abs()
    }
}

/// The bin of equal width of a probability: bin i has those above i / 15 and at most (i + 1) / 15.
pub fn calibration_bin(probability: f64) -> usize {
    let above = |&edge: &usize| probability > edge as f64 / CALIBRATION_BINS as f64;
    (1..CALIBRATION_BINS).take_while(above).count()
}

/// Softmax of logits / T. The sum of the exponentials is over all classes, and the highest is 1.
pub(crate) fn softmax(logits: &[f32], inverse: f64) -> Vec<f64> {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let mut row: Vec<f64> = logits
        .iter()
        .map(|&logit| (inverse * (f64::from(logit) - top)).exp())
        .collect();
    let total: f64 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= total);
    row
}

/// Position of the highest value; the first of several.
fn top(values: &[f32]) -> usize {
    let mut top = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[top] {
            top = at;
        }
    }
    top
}

impl Outcome {
    fn of(row: &Row<'_>, inverse: f64) -> Self {
        let probabilities = softmax(row.logits, inverse);
        let predicted = top(row.logits);
        // The logarithm of a probability that is 0 in floating point is still finite.
        let below = f64::from(row.logits[predicted]) - f64::from(row.logits[row.label]);
        let squares: f64 = probabilities.iter().map(|p| p * p).sum();
        Self {
            nll: inverse * below - probabilities[predicted].ln(),
            brier: squares - 2.0 * probabilities[row.label] + 1.0,
            confidence: probabilities[predicted],
            correct: predicted == row.label,
            probabilities,
            label: row.label,
        }
    }
}

impl Reliability {
    /// Of these rows, at the temperature 1 / `inverse`.
    pub(crate) fn measure(
        logits: &Logits,
        rows: &[usize],
        inverse: f64,
        seed: u64,
    ) -> Result<Self, LogitsError> {
        let (mut nll, mut brier, mut confidences) = (Vec::new(), Vec::new(), Vec::new());
        let mut classes = vec![[Bin::default(); CALIBRATION_BINS]; logits.classes()];
        logits.for_each_block(
            rows,
            |row| Outcome::of(&row, inverse),
            |block| {
                classes
                    .par_iter_mut()
                    .enumerate()
                    .for_each(|(class, bins)| {
                        for image in &block {
                            let p = image.probabilities[class];
                            bins[calibration_bin(p)].add(p, image.label == class);
                        }
                    });
                for image in block {
                    nll.push(image.nll);
                    brier.push(image.brier);
                    confidences.push((image.confidence, image.correct));
                }
            },
        )?;
        let images = rows.len() as f64;
        let gaps = classes.iter().flatten().map(Bin::gap);
        Ok(Self {
            nll: Estimate::mean(&nll),
            brier: Estimate::mean(&brier),
            ece: ece_with_interval(&confidences, seed),
            adaptive_ece: adaptive_ece(&mut confidences),
            classwise_ece: gaps.sum::<f64>() / images / classes.len() as f64,
        })
    }
}

/// The expected calibration error of confidences and whether they are of correct predictions.
fn ece(outcomes: impl Iterator<Item = (f64, bool)>) -> f64 {
    let mut bins = [Bin::default(); CALIBRATION_BINS];
    let mut images = 0;
    for (confidence, correct) in outcomes {
        bins[calibration_bin(confidence)].add(confidence, correct);
        images += 1;
    }
    bins.iter().map(Bin::gap).sum::<f64>() / f64::from(images)
}

/// The error with its interval (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2.1).
///
/// The error of a bootstrap sample is too high on average, as that of any finite sample. The basic interval, which is
/// reflected at the measured value, makes up for that.
fn ece_with_interval(outcomes: &[(f64, bool)], seed: u64) -> Estimate {
    const SAMPLES: u64 = 1000;
    let images = outcomes.len();
    let value = ece(outcomes.iter().copied());
    let mut samples: Vec<f64> = (0..SAMPLES)
        .into_par_iter()
        .map(|sample| {
            let drawn = (0..images as u64).map(|draw| {
                let u = uniform(seed, draw, BOOTSTRAP + sample);
                outcomes[(u * images as f64) as usize]
            });
            ece(drawn)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    let quantile = |part: f64| samples[(part * (SAMPLES - 1) as f64).round() as usize];
    Estimate {
        value,
        low: (2.0 * value - quantile(0.975)).max(0.0),
        high: 2.0 * value - quantile(0.025),
    }
}

/// The calibration error in bins of equally many images, or of one more in the first n mod 15 bins of n images, as by
/// `torch.tensor_split`. Images of equal confidence each count as correct with the same fraction, so that their order
/// does not matter.
fn adaptive_ece(outcomes: &mut [(f64, bool)]) -> f64 {
    outcomes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let images = outcomes.len();
    let mut gaps = Vec::with_capacity(images);
    for same in outcomes.chunk_by(|a, b| a.0 == b.0) {
        let correct = same.iter().filter(|(_, correct)| *correct).count();
        let gap = correct as f64 / same.len() as f64 - same[0].0;
        gaps.resize(gaps.len() + same.len(), gap);
    }
    let bins = (0..CALIBRATION_BINS).map(|at| {
        let edge = |at: usize| at * (images / CALIBRATION_BINS) + at.min(images % CALIBRATION_BINS);
        gaps[edge(at)..edge(at + 1)].iter().sum::<f64>().abs()
    });
    bins.sum::<f64>() / images as f64
}
