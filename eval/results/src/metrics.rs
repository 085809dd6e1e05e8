use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::results::Results;
use crate::statistics::wilson;

/// Bins of confidence in the calibration error.
pub const CALIBRATION_BINS: usize = 15;

/// What a model is judged by: computed from the outcomes, in the order of the images.
///
/// Images without a right class do not count. Those that could not be read count as wrong in the
/// accuracies, or nowhere, as the settings say; other metrics are those of the images that were judged.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Images that count in the accuracies.
    pub images: usize,
    /// Images with an outcome.
    pub judged: usize,
    /// Images with a right class that could not be read.
    pub failed: usize,
    /// Images without a right class.
    pub excluded: usize,
    /// Images where a wrong class has the very score of the right one.
    pub ties: usize,
    /// An entry for each k asked for.
    pub topk: Vec<TopkAccuracy>,
    /// Mean cross-entropy.
    pub cross_entropy: Option<f64>,
    /// Mean of the smooth top-k SVM loss.
    pub topk_loss: Option<f64>,
    /// Expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015): how far the confidence in
    /// the best class is from its accuracy, in the mean over the bins weighted by their images.
    pub calibration_error: Option<f64>,
    /// What the calibration error is made of: bins of equal width, the first of lowest confidence.
    pub calibration: Vec<CalibrationBin>,
}

/// Accuracy at one k.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TopkAccuracy {
    /// The k.
    pub k: usize,
    /// Images whose right class is among the k best.
    pub correct: usize,
    /// Their part of those that count, 0 to 1; absent if none counts.
    pub accuracy: Option<f64>,
    /// Lower end of the 95 % interval of Wilson.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Mean over the classes of the accuracy in each class that has images.
    pub mean_class_accuracy: Option<f64>,
}

/// The images that a model is about equally sure of: with a confidence above i / 15 and at most
/// (i + 1) / 15 in bin i.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationBin {
    /// Number of images.
    pub images: usize,
    /// Those whose best class is right.
    pub correct: usize,
    /// Mean confidence; absent if there are no images.
    pub confidence: Option<f64>,
}

impl CalibrationBin {
    /// Part of the images whose best class is right; none if there are no images.
    pub fn accuracy(&self) -> Option<f64> {
        mean(self.correct as f64, self.images)
    }
}

impl Metrics {
    /// Those of a model of `results`, whose parts fit each other.
    pub(crate) fn of(results: &Results, model: usize) -> Self {
        let classes = PerClass::of(results, model);
        let excluded = results
            .images
            .iter()
            .filter(|image| results.class(image).is_none())
            .count();
        let outcomes = || results.models[model].outcomes.iter().flatten();
        let judged = outcomes().count();
        let losses: Option<f64> = outcomes().map(|outcome| outcome.topk_loss).sum();
        let calibration = calibration(outcomes());
        Self {
            images: results.counted(model).count(),
            judged,
            failed: results.images.len() - excluded - judged,
            excluded,
            ties: outcomes().filter(|outcome| outcome.tied).count(),
            topk: (results.settings.topk.iter().enumerate())
                .map(|(at, &k)| classes.accuracy(at, k))
                .collect(),
            cross_entropy: mean(
                outcomes().map(|outcome| outcome.cross_entropy).sum(),
                judged,
            ),
            topk_loss: losses.and_then(|sum| mean(sum, judged)),
            calibration_error: calibration_error(&calibration),
            calibration,
        }
    }

    /// The accuracy at a k that was asked for.
    pub fn topk(&self, k: usize) -> Option<&TopkAccuracy> {
        self.topk.iter().find(|accuracy| accuracy.k == k)
    }
}

/// None of nothing.
fn mean(sum: f64, count: usize) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

/// Counts for each class.
struct PerClass {
    images: Vec<usize>,
    /// For each k asked for, in their order.
    correct: Vec<Vec<usize>>,
}

impl PerClass {
    fn of(results: &Results, model: usize) -> Self {
        let none = vec![0; results.data.classes];
        let topk = &results.settings.topk;
        let mut classes = Self {
            images: none.clone(),
            correct: vec![none; topk.len()],
        };
        for counted in results.counted(model) {
            let class = counted.class as usize;
            classes.images[class] += 1;
            for (correct, &k) in classes.correct.iter_mut().zip(topk) {
                correct[class] += usize::from(counted.is_right(k));
            }
        }
        classes
    }

    fn accuracy(&self, at: usize, k: usize) -> TopkAccuracy {
        let images = self.images.iter().sum();
        let correct = self.correct[at].iter().sum();
        let (low, high) = wilson(correct, images);
        let pairs = self.correct[at].iter().zip(&self.images);
        let in_classes: Vec<f64> = pairs
            .filter_map(|(&correct, &images)| mean(correct as f64, images))
            .collect();
        TopkAccuracy {
            k,
            correct,
            accuracy: mean(correct as f64, images),
            low,
            high,
            mean_class_accuracy: mean(in_classes.iter().sum(), in_classes.len()),
        }
    }
}

fn calibration<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Vec<CalibrationBin> {
    let mut bins = vec![CalibrationBin::default(); CALIBRATION_BINS];
    let mut sums = [0.0; CALIBRATION_BINS];
    for outcome in outcomes {
        let confidence = f64::from(outcome.confidence);
        let above = |&edge: &usize| confidence > edge as f64 / CALIBRATION_BINS as f64;
        let bin = (1..CALIBRATION_BINS).take_while(above).count();
        bins[bin].images += 1;
        bins[bin].correct += usize::from(outcome.rank == 0);
        sums[bin] += confidence;
    }
    for (bin, sum) in bins.iter_mut().zip(sums) {
        bin.confidence = mean(sum, bin.images);
    }
    bins
}

fn calibration_error(bins: &[CalibrationBin]) -> Option<f64> {
    let gaps = bins.iter().filter_map(|bin| {
        let gap = (bin.accuracy()? - bin.confidence?).abs();
        Some(bin.images as f64 * gap)
    });
    mean(gaps.sum(), bins.iter().map(|bin| bin.images).sum())
}

/// A row of the table of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// The class.
    pub class: u32,
    /// Its images that count.
    pub images: usize,
    /// Those whose right class comes first.
    pub top1_correct: usize,
    /// Those whose right class is among the k best, for the largest k asked for.
    pub topk_correct: usize,
    /// The wrong class that is predicted most often, and for how many of the images; of several the
    /// lowest.
    pub confused_with: Option<(u32, usize)>,
}

impl ClassRow {
    /// Part of the images that are right, 0 to 1.
    pub fn top1(&self) -> f64 {
        self.top1_correct as f64 / self.images as f64
    }

    /// Part of the images that are right in the top-k sense, 0 to 1.
    pub fn topk(&self) -> f64 {
        self.topk_correct as f64 / self.images as f64
    }
}

/// How often images of a class are taken for those of another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Confusion {
    /// The class of the images.
    pub class: u32,
    /// What they are taken for.
    pub predicted: u32,
    /// Number of images.
    pub images: usize,
}

impl Results {
    /// The classes that have images, in their order, as a model has them right.
    ///
    /// # Panics
    /// If there is no such model.
    pub fn class_rows(&self, model: usize) -> Vec<ClassRow> {
        let k = self.largest_k();
        let none = |class| ClassRow {
            class,
            images: 0,
            top1_correct: 0,
            topk_correct: 0,
            confused_with: None,
        };
        let mut rows: Vec<ClassRow> = (0..self.data.classes as u32).map(none).collect();
        for counted in self.counted(model) {
            let row = &mut rows[counted.class as usize];
            row.images += 1;
            row.top1_correct += usize::from(counted.is_right(1));
            row.topk_correct += usize::from(counted.is_right(k));
        }
        for confusion in self.confusions(model) {
            let seen = &mut rows[confusion.class as usize].confused_with;
            seen.get_or_insert((confusion.predicted, confusion.images));
        }
        rows.retain(|row| row.images > 0);
        rows
    }

    /// What a model takes images for that it gets wrong, the most frequent first; of equally frequent ones
    /// by class.
    ///
    /// # Panics
    /// If there is no such model.
    pub fn confusions(&self, model: usize) -> Vec<Confusion> {
        let mut pairs: Vec<(u32, u32)> = self
            .counted(model)
            .filter(|counted| !counted.is_right(1))
            .filter_map(|counted| Some((counted.class, counted.outcome?.predicted)))
            .collect();
        pairs.sort_unstable();
        let mut confusions: Vec<Confusion> = pairs
            .chunk_by(|a, b| a == b)
            .map(|same| Confusion {
                class: same[0].0,
                predicted: same[0].1,
                images: same.len(),
            })
            .collect();
        confusions.sort_by_key(|confusion| std::cmp::Reverse(confusion.images));
        confusions
    }
}
