//! Average precision of classes over images that may have several true classes.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::logits::{Logits, LogitsError};

/// Logits that are in memory at once: 64 MiB.
const COLUMNS: usize = 1 << 24;

/// By which score images are ranked for a class.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RankedBy {
    /// The softmax probability of the class.
    Softmax,
    /// The sigmoid of its logit, independent of the other classes.
    Sigmoid,
}

/// Mean average precision (mAP): how well the scores of a class separate the images that have it from the others.
///
/// The average precision of a class is the sum over the images with it, most probable first, of (Rₙ − Rₙ₋₁) Pₙ, the precision
/// at each recall, as `average_precision_score` of scikit-learn; images of equal score have the same rank.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct AveragePrecision {
    /// The mean over the classes that at least one image has (macro average), above 0 to 1: `MultilabelAveragePrecision` of
    /// torchmetrics, which counts the other classes as 0, as scikit-learn does.
    pub mean: f64,
    /// The mean weighted by the number of images of each class.
    pub weighted: f64,
    /// Number of classes that at least one image has.
    pub classes: usize,
    /// Number of images.
    pub images: usize,
    /// The scores.
    pub ranked_by: RankedBy,
}

impl AveragePrecision {
    /// Measures logits of images that have the classes `labels`, each at least one; repeated ones count once. `None` without
    /// images.
    ///
    /// The logits are read again for every 64 MiB of them, and are never all in memory.
    ///
    /// # Errors
    /// If the logits cannot be read, or are NaN or infinite.
    ///
    /// # Panics
    /// If the number of `labels` is not that of the images, or one is not a class.
    pub fn measure(
        logits: &Logits,
        labels: &[Vec<u32>],
        ranked_by: RankedBy,
    ) -> Result<Option<Self>, LogitsError> {
        assert_eq!(labels.len(), logits.images(), "labels for each image");
        let mut with_class: Vec<Vec<u32>> = vec![Vec::new(); logits.classes()];
        for (image, labels) in labels.iter().enumerate() {
            for &label in labels {
                let images = &mut with_class[label as usize];
                if images.last() != Some(&(image as u32)) {
                    images.push(image as u32);
                }
            }
        }
        let classes = 0..logits.classes();
        let classes: Vec<usize> = classes.filter(|&at| !with_class[at].is_empty()).collect();
        if classes.is_empty() {
            return Ok(None);
        }
        let rows: Vec<usize> = (0..logits.images()).collect();
        // What is subtracted from the logits of an image to compare it with others.
        let normalizers = match ranked_by {
            RankedBy::Softmax => logits.map(&rows, |row| log_sum_exp(row.logits))?,
            RankedBy::Sigmoid => vec![0.0; rows.len()],
        };
        let mut precisions = Vec::with_capacity(classes.len());
        for block in classes.chunks((COLUMNS / rows.len()).max(1)) {
            let mut columns = vec![Vec::with_capacity(rows.len()); block.len()];
            let of_row = |row: crate::logits::Row<'_>| -> Vec<f32> {
                block.iter().map(|&class| row.logits[class]).collect()
            };
            logits.for_each_block(&rows, of_row, |found| {
                for row in found {
                    for (column, logit) in columns.iter_mut().zip(row) {
                        column.push(logit);
                    }
                }
            })?;
            let pairs = block.par_iter().zip(&columns);
            precisions.par_extend(pairs.map(|(&class, column)| {
                let scores = column.iter().zip(&normalizers);
                let scores: Vec<f64> = scores
                    .map(|(&logit, normalizer)| f64::from(logit) - normalizer)
                    .collect();
                average_precision(&scores, &with_class[class])
            }));
        }
        let support = classes.iter().map(|&class| with_class[class].len() as f64);
        let weighted = precisions.iter().zip(support.clone());
        let weighted: f64 = weighted.map(|(precision, images)| precision * images).sum();
        Ok(Some(Self {
            mean: precisions.iter().sum::<f64>() / precisions.len() as f64,
            weighted: weighted / support.sum::<f64>(),
            classes: classes.len(),
            images: rows.len(),
            ranked_by,
        }))
    }
}

/// ln Σ exp of logits, of which at least one is finite.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let highest = f64::from(highest);
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - highest).exp())
        .sum();
    highest + sum.ln()
}

/// The average precision of a class with these scores of all images, which these images have, ascending.
fn average_precision(scores: &[f64], with_class: &[u32]) -> f64 {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    let score = |image: u32| scores[image as usize];
    order.sort_unstable_by(|&a, &b| score(b).total_cmp(&score(a)));
    let (mut images, mut found, mut sum) = (0, 0, 0.0);
    for tied in order.chunk_by(|&a, &b| score(a) == score(b)) {
        let is_in = |image: &&u32| with_class.binary_search(image).is_ok();
        let new = tied.iter().filter(is_in).count();
        images += tied.len();
        found += new;
        sum += new as f64 * (found as f64 / images as f64);
    }
    sum / with_class.len() as f64
}
