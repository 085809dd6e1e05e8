//! Metrics, computed from outcomes.

use topk_calibration::calibration_bin;

use crate::by_confidence::ByConfidence;
use crate::schema::{
    CALIBRATION_BINS, CalibrationBin, ClassAverage, Metrics, Outcome, Results, TopkAccuracy,
};
use crate::statistics::wilson;

impl Metrics {
    /// Computes the metrics of a model of `results`, whose parts must agree.
    pub(crate) fn of(results: &Results, model: usize) -> Self {
        let classes = PerClass::of(results, model);
        let excluded = results
            .images
            .iter()
            .filter(|image| results.class(image).is_none())
            .count();
        let outcomes = || results.models[model].outcomes.iter().flatten();
        let evaluated = outcomes().count();
        let losses: Option<f64> = outcomes().map(|outcome| outcome.topk_loss).sum();
        let brier: Option<f64> = outcomes().map(|outcome| outcome.brier.map(f64::from)).sum();
        let calibration = calibration(outcomes());
        let images = results.counted(model).count();
        let sorted =
            ByConfidence::of(outcomes().map(|outcome| (outcome.confidence, outcome.rank == 0)));
        let counts = results.class_counts(model);
        Self {
            images,
            evaluated,
            failed: results.images.len() - excluded - evaluated,
            excluded,
            ties: outcomes().filter(|outcome| outcome.tied).count(),
            topk: (results.settings.topk.iter().enumerate())
                .map(|(at, &k)| classes.accuracy(at, k))
                .collect(),
            cross_entropy: mean(
                outcomes().map(|outcome| outcome.cross_entropy).sum(),
                evaluated,
            ),
            topk_loss: losses.and_then(|sum| mean(sum, evaluated)),
            calibration_error: calibration_error(&calibration),
            calibration,
            brier_score: brier.and_then(|sum| mean(sum, evaluated)),
            adaptive_calibration_error: sorted.adaptive_calibration_error(),
            aurc: sorted.aurc(images),
            risk_coverage: sorted.risk_coverage(images),
            coverage: sorted.coverage(images),
            macro_avg: class_average(&counts, |row| f64::from(u8::from(row.is_seen()))),
            weighted_avg: class_average(&counts, |row| row.images as f64),
            severity: results.severity(model),
            multilabel: results.multilabel(model),
            groups: results.groups(model),
        }
    }
}

/// The weighted mean over classes; none if all weights are 0.
fn class_average(rows: &[ClassRow], weight: impl Fn(&ClassRow) -> f64) -> Option<ClassAverage> {
    let total: f64 = rows.iter().map(&weight).sum();
    let mean = |value: fn(&ClassRow) -> Option<f64>| {
        let weighted = rows
            .iter()
            .map(|row| weight(row) * value(row).unwrap_or(0.0));
        weighted.sum::<f64>() / total
    };
    (total > 0.0).then(|| ClassAverage {
        precision: mean(ClassRow::precision),
        recall: mean(ClassRow::recall),
        f1: mean(ClassRow::f1),
    })
}

/// The mean, or none if there is nothing to average.
fn mean(sum: f64, count: usize) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

/// Counts for each class.
struct PerClass {
    images: Vec<usize>,
    /// For each k of the settings, the correct images of each class.
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
                correct[class] += usize::from(counted.is_correct(k));
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
        let bin = calibration_bin(confidence);
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

/// A row of the per-class table.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// The class.
    pub class: u32,
    /// Number of its images that count.
    pub images: usize,
    /// Images that are correct at k = 1.
    pub top1_correct: usize,
    /// Images that are correct at the largest k of the settings.
    pub topk_correct: usize,
    /// Images that are predicted as the class.
    pub predicted: usize,
    /// Those of them that have the class among their true classes.
    pub predicted_correct: usize,
    /// The wrong class that is predicted most often (the lowest of several), and the number of images.
    pub confused_with: Option<(u32, usize)>,
}

impl ClassRow {
    /// Top-1 accuracy, 0 to 1.
    pub fn top1(&self) -> f64 {
        self.top1_correct as f64 / self.images as f64
    }

    /// Top-k accuracy, 0 to 1.
    pub fn topk(&self) -> f64 {
        self.topk_correct as f64 / self.images as f64
    }

    /// Fraction of the images predicted as the class that have it, 0 to 1; none if there are none.
    pub fn precision(&self) -> Option<f64> {
        mean(self.predicted_correct as f64, self.predicted)
    }

    /// Fraction of the images of the class that are predicted correctly, 0 to 1: the top-1 accuracy; none if there
    /// are no images.
    pub fn recall(&self) -> Option<f64> {
        mean(self.top1_correct as f64, self.images)
    }

    /// Harmonic mean of precision and recall, 0 to 1, where an undefined one counts as 0; none if both are.
    pub fn f1(&self) -> Option<f64> {
        self.is_seen().then(|| {
            let [precision, recall] =
                [self.precision(), self.recall()].map(Option::unwrap_or_default);
            match precision + recall {
                0.0 => 0.0,
                sum => 2.0 * precision * recall / sum,
            }
        })
    }

    /// Whether it has images or is predicted.
    fn is_seen(&self) -> bool {
        self.images + self.predicted > 0
    }
}

/// How often images of one class are predicted as another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Confusion {
    /// The class of the images.
    pub class: u32,
    /// The predicted class.
    pub predicted: u32,
    /// Number of images.
    pub images: usize,
}

impl Results {
    /// The accuracy of a model on each class that has images, in the order of the classes.
    ///
    /// # Panics
    /// If the model does not exist.
    pub fn class_rows(&self, model: usize) -> Vec<ClassRow> {
        let mut rows = self.all_class_rows(model);
        rows.retain(|row| row.images > 0);
        rows
    }

    /// The same for all classes, with the most frequent confusions.
    pub(crate) fn all_class_rows(&self, model: usize) -> Vec<ClassRow> {
        let mut rows = self.class_counts(model);
        for confusion in self.confusions(model) {
            let seen = &mut rows[confusion.class as usize].confused_with;
            seen.get_or_insert((confusion.predicted, confusion.images));
        }
        rows
    }

    /// The same without confusions.
    fn class_counts(&self, model: usize) -> Vec<ClassRow> {
        let k = self.largest_k();
        let none = |class| ClassRow {
            class,
            images: 0,
            top1_correct: 0,
            topk_correct: 0,
            predicted: 0,
            predicted_correct: 0,
            confused_with: None,
        };
        let mut rows: Vec<ClassRow> = (0..self.data.classes as u32).map(none).collect();
        for counted in self.counted(model) {
            let row = &mut rows[counted.class as usize];
            row.images += 1;
            row.top1_correct += usize::from(counted.is_correct(1));
            row.topk_correct += usize::from(counted.is_correct(k));
            if let Some(outcome) = counted.outcome {
                let row = &mut rows[outcome.predicted as usize];
                row.predicted += 1;
                row.predicted_correct += usize::from(counted.is_correct(1));
            }
        }
        rows
    }

    /// Pairs of true class and wrong prediction of a model, most frequent first; ties by class.
    ///
    /// # Panics
    /// If the model does not exist.
    pub fn confusions(&self, model: usize) -> Vec<Confusion> {
        let mut pairs: Vec<(u32, u32)> = self
            .counted(model)
            .filter(|counted| !counted.is_correct(1))
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
