//! Prediction sets by split conformal prediction.

use serde::{Deserialize, Serialize};
use topk_ops::noise::uniform;

use crate::calibration::Settings;
use crate::estimate::Estimate;
use crate::halves::{Halves, SETS};
use crate::logits::{Logits, LogitsError, Row};
use crate::reliability::softmax;

/// Which classes are in a prediction set. With the classes in descending order of their probability p, and a random
/// number u in [0, 1) for each image, a class of rank r (from 1) has the nonconformity score below; the set has all
/// classes with a score of at most the threshold.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SetMethod {
    /// r: the same number of classes for each image, as in top-k accuracy.
    Topk,
    /// 1 − p (Sadinle, Lei and Wasserman, JASA 2019): the smallest sets on average.
    Lac,
    /// p₁ + … + pᵣ − u·pᵣ (Romano, Sesia and Candès, NeurIPS 2020): coverage is more even over images.
    Aps,
    /// That of APS plus λ·max(0, r − k) (Angelopoulos et al., ICLR 2021): smaller sets than APS.
    Raps,
}

impl SetMethod {
    /// All methods.
    pub const ALL: [Self; 4] = [Self::Topk, Self::Lac, Self::Aps, Self::Raps];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topk => "top-k",
            Self::Lac => "LAC",
            Self::Aps => "APS",
            Self::Raps => "RAPS",
        }
    }
}

/// Prediction sets of one method at one coverage.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct PredictionSets {
    /// The method.
    pub method: SetMethod,
    /// The requested coverage: at least this part of the sets should contain the true class, 0 to 1.
    pub target: f64,
    /// The largest score of a class in the set; absent if there are too few images for this coverage, so that the
    /// sets have all classes. For [`SetMethod::Topk`], it is k.
    pub threshold: Option<f64>,
    /// The part of the sets that contain the true class, with Wilson's interval.
    pub coverage: Estimate,
    /// Mean number of classes in a set, with the interval of the normal approximation.
    pub size: Estimate,
    /// Median of the numbers of classes; the lower one of two.
    pub median: usize,
    /// The 90 % quantile: the smallest number that at least 90 % of the sets do not exceed.
    pub p90: usize,
    /// The largest number.
    pub max: usize,
    /// The part of the sets that are empty, 0 to 1.
    pub empty: f64,
    /// The part of the sets with one class.
    pub singleton: f64,
}

/// The scores of the classes of an image in descending order of their probability, which are ascending for each
/// method.
struct Scores {
    /// Rank of the true class, from 0.
    rank: usize,
    probabilities: Vec<f64>,
    u: f64,
}

impl Scores {
    fn of(row: &Row<'_>, inverse: f64, seed: u64) -> Self {
        let mut classes: Vec<usize> = (0..row.logits.len()).collect();
        let logits = row.logits;
        classes.sort_unstable_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let probabilities = softmax(row.logits, inverse);
        Self {
            rank: classes
                .iter()
                .position(|&class| class == row.label)
                .unwrap_or(0),
            probabilities: classes
                .into_iter()
                .map(|class| probabilities[class])
                .collect(),
            u: uniform(seed, row.index, SETS),
        }
    }

    fn all(&self, method: SetMethod, settings: &Settings) -> impl Iterator<Item = f64> {
        let mut before = 0.0;
        self.probabilities.iter().enumerate().map(move |(at, &p)| {
            let beyond = (at + 1).saturating_sub(settings.raps_k) as f64;
            // The score with the whole probability is at least that of any class before.
            let adaptive = before + (1.0 - self.u) * p;
            before += p;
            match method {
                SetMethod::Topk => (at + 1) as f64,
                SetMethod::Lac => 1.0 - p,
                SetMethod::Aps => adaptive,
                SetMethod::Raps => adaptive + settings.raps_penalty * beyond,
            }
        })
    }
}

/// Size of a set, and whether it contains the true class.
type Set = (usize, bool);

impl PredictionSets {
    /// The sets of all methods at all coverages, with thresholds from one half of the images.
    pub(crate) fn measure(
        logits: &Logits,
        halves: &Halves,
        inverse: f64,
        settings: &Settings,
    ) -> Result<Vec<Self>, LogitsError> {
        let seed = settings.seed;
        let scores = logits.map(&halves.fit, |row| {
            let scores = Scores::of(&row, inverse, seed);
            SetMethod::ALL.map(|method| {
                let mut scores_of_method = scores.all(method, settings);
                scores_of_method.nth(scores.rank).unwrap_or(f64::INFINITY)
            })
        })?;
        let mut thresholds = Vec::new();
        for (at, method) in SetMethod::ALL.into_iter().enumerate() {
            let mut scores: Vec<f64> = scores.iter().map(|scores| scores[at]).collect();
            scores.sort_by(f64::total_cmp);
            for &target in &settings.coverage {
                thresholds.push((method, target, threshold(&scores, target)));
            }
        }
        let sets: Vec<Vec<Set>> = logits.map(&halves.evaluate, |row| {
            let scores = Scores::of(&row, inverse, seed);
            let set = |&(method, _, threshold): &(SetMethod, f64, Option<f64>)| {
                let threshold = threshold.unwrap_or(f64::INFINITY);
                let scores_of_method = scores.all(method, settings);
                let size = scores_of_method
                    .take_while(|&score| score <= threshold)
                    .count();
                (size, scores.rank < size)
            };
            thresholds.iter().map(set).collect()
        })?;
        let of_threshold =
            thresholds
                .iter()
                .enumerate()
                .map(|(at, &(method, target, threshold))| {
                    let sets = sets.iter().map(|sets| sets[at]);
                    Self::of(method, target, threshold, sets)
                });
        Ok(of_threshold.collect())
    }

    fn of(
        method: SetMethod,
        target: f64,
        threshold: Option<f64>,
        sets: impl Iterator<Item = Set> + Clone,
    ) -> Self {
        let hits = sets.clone().filter(|&(_, hit)| hit).count();
        let mut sizes: Vec<usize> = sets.map(|(size, _)| size).collect();
        sizes.sort_unstable();
        let images = sizes.len();
        let of_size = |wanted| sizes.iter().filter(|&&size| size == wanted).count() as f64;
        let values: Vec<f64> = sizes.iter().map(|&size| size as f64).collect();
        Self {
            method,
            target,
            threshold,
            coverage: Estimate::proportion(hits, images),
            size: Estimate::mean(&values),
            median: sizes[(images - 1) / 2],
            p90: sizes[(9 * images).div_ceil(10) - 1],
            max: sizes[images - 1],
            empty: of_size(0) / images as f64,
            singleton: of_size(1) / images as f64,
        }
    }
}

/// The score that ⌈(n + 1)·coverage⌉ of n scores do not exceed, which are ascending. Of the scores of n + 1 images in
/// random order, the last is then at most this with at least this probability.
fn threshold(scores: &[f64], coverage: f64) -> Option<f64> {
    // (n + 1)·coverage may be a little above a whole number only because coverage is rounded.
    let rank = ((scores.len() + 1) as f64 * coverage - 1e-9).ceil() as usize;
    scores.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_have_the_rank_of_split_conformal_prediction() {
        let scores: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(threshold(&scores, 0.9), Some(9.0));
        assert_eq!(threshold(&scores, 0.8), Some(8.0));
        assert_eq!(threshold(&scores, 0.75), Some(8.0));
        assert_eq!(threshold(&scores, 0.95), None);
    }
}
