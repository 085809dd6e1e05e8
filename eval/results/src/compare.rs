use std::cmp::Ordering;

use serde::Serialize;
use thiserror::Error;
use topk_calibration::LogitsDifference;
use topk_report::text::{grouped, images, percent};

use crate::calibration_change::CalibrationChange;
use crate::class_changes::{ClassChange, ClassCounts};
use crate::counted::Counted;
use crate::file;
use crate::gate::Gate;
use crate::group_changes::{GroupChange, GroupPairs};
use crate::metric_changes::MetricChange;
use crate::schema::{Outcome, QuantizationInfo, Results};
use crate::statistics::{Pairs, mcnemar};

/// Why two models cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The model does not exist.
    #[error("model {number} does not exist: the results have {models} models")]
    Model {
        /// The requested model, from 1.
        number: usize,
        /// Number of models in the results.
        models: usize,
    },
    /// The results are of different data, or of different sets of valid classes.
    #[error(
        "the results are not comparable: {what} is {before} in the first and {after} in the second"
    )]
    Different {
        /// What differs.
        what: &'static str,
        /// What the first has.
        before: String,
        /// What the second has.
        after: String,
    },
    /// The images or labels differ.
    #[error(
        "the results are not comparable: image {index} is {before} in the first and {after} in the \
         second"
    )]
    Image {
        /// Index in the data set.
        index: usize,
        /// Name and labels in the first.
        before: String,
        /// Name and labels in the second.
        after: String,
    },
    /// No image counts for both.
    #[error("the results have no images in common")]
    NoImages,
}

/// Two models do not rank the true classes equally.
#[derive(Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RankError {
    /// They were evaluated on different images.
    #[error("{0} images count for only one of the models, so that their ranks cannot be compared")]
    Images(usize),
    /// Ranks differ.
    #[error(
        "the true class has another rank in {changed} of {images} images, the first of which is {image}: {before} in \
         the first model, {after} in the second (0 is the best)"
    )]
    Ranks {
        /// Number of images with another rank.
        changed: usize,
        /// Number of images.
        images: usize,
        /// The first of them.
        image: String,
        /// Its rank in the first, or `none`.
        before: String,
        /// Its rank in the second, or `none`.
        after: String,
    },
}

/// Two models on the images that count for both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The baseline.
    pub before: ComparedModel,
    /// The model compared with it.
    pub after: ComparedModel,
    /// What to know about the images, if one of the results is of a random subset of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Images that count for both.
    pub images: usize,
    /// Images that count for the first only.
    pub only_in_before: usize,
    /// Images that count for the second only.
    pub only_in_after: usize,
    /// Accuracies at k = 1 and each k of the first results.
    pub topk: Vec<PairedAccuracy>,
    /// Images that both have a prediction for.
    pub predicted: usize,
    /// Those of them for which the predictions are the same.
    pub agreeing: usize,
    /// How far the logits are apart, if files of them were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits: Option<LogitsDifference>,
    /// Further metrics that both have; empty unless the same images count for both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricChange>,
    /// The calibration of both, if it was measured on the same images and with the same settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationChange>,
    /// Why it is not compared, if it was measured for both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_note: Option<String>,
    /// Limits for drops of accuracy that were checked.
    pub gates: Vec<Gate>,
    /// Top-1 accuracies on the groups of images, in their order; empty if the results have none, or different ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupChange>,
    /// Where the groups are from, or why they are not compared, unless both results have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_note: Option<String>,
    /// Classes whose top-1 accuracy changed, from the largest loss to the largest gain.
    pub classes: Vec<ClassChange>,
    /// Images whose prediction changed, or that are correct at different k, by change of confidence.
    pub changed: Vec<ChangedImage>,
    /// Images whose true class has another rank, in the order of the data; not in the JSON file.
    #[serde(skip)]
    pub rank_changes: Vec<RankChange>,
}

/// An image whose true class has another rank.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RankChange {
    /// Name in the data set.
    pub name: String,
    /// Number of classes that the first ranks above the true class; none if the image could not be evaluated.
    pub before: Option<u32>,
    /// The same of the second.
    pub after: Option<u32>,
}

/// One of the two models of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedModel {
    /// The model file.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Types of the weights; see [`ModelInfo::precision`](crate::ModelInfo::precision).
    pub precision: String,
    /// How it is quantised, if it is.
    pub quantization: Option<QuantizationInfo>,
    /// The number format in a few words, such as `float32` or `int8 QDQ`.
    pub number_format: String,
    /// Size of its files in bytes, if known.
    pub bytes: Option<u64>,
    /// When the evaluation started (RFC 3339).
    pub started: String,
}

/// Accuracies of two models at one k.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairedAccuracy {
    /// The k.
    pub k: usize,
    /// Accuracy of the first, 0 to 1.
    pub before: f64,
    /// Accuracy of the second.
    pub after: f64,
    /// `after` − `before`.
    pub difference: f64,
    /// Lower bound of its 95 % interval (Newcombe's method 10).
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Images that only the first classifies correctly.
    pub only_before: usize,
    /// Images that only the second classifies correctly.
    pub only_after: usize,
    /// Two-sided p-value of McNemar's exact test: the probability that two equally good models differ at
    /// least this much.
    pub p_value: f64,
}

/// An image that the models classify differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedImage {
    /// Index in the data set.
    pub index: usize,
    /// Name in the data set.
    pub name: String,
    /// Class of the image.
    pub class: u32,
    /// The name of the class.
    pub class_name: String,
    /// Prediction of the first; none if the image could not be evaluated.
    pub before: Option<ImagePrediction>,
    /// Prediction of the second.
    pub after: Option<ImagePrediction>,
}

/// Prediction of a model for one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImagePrediction {
    /// Number of classes ranked above the true class.
    pub rank: u32,
    /// The predicted class.
    pub predicted: u32,
    /// Its name.
    pub predicted_name: String,
    /// Its softmax probability.
    pub confidence: f32,
}

impl ChangedImage {
    /// Confidence of the second minus that of the first; 0 for images that could not be evaluated.
    pub fn confidence_change(&self) -> f64 {
        let confidence = |prediction: &Option<ImagePrediction>| {
            prediction
                .as_ref()
                .map_or(0.0, |prediction| f64::from(prediction.confidence))
        };
        confidence(&self.after) - confidence(&self.before)
    }
}

impl Comparison {
    /// Compares two models of one or two runs, each given as results and the index of a model in them.
    ///
    /// # Errors
    /// If a model does not exist, or the data, labels or classes differ.
    pub fn new(before: (&Results, usize), after: (&Results, usize)) -> Result<Self, CompareError> {
        let (first, second) = (compared(before)?, compared(after)?);
        check_comparable(before.0, after.0)?;
        let mut topk = before.0.settings.topk.clone();
        if topk[0] != 1 {
            topk.insert(0, 1);
        }
        let mut counts = vec![Pairs::default(); topk.len()];
        let (mut changed, mut rank_changes) = (Vec::new(), Vec::new());
        let (mut only_in_before, mut only_in_after) = (0, 0);
        let (mut predicted, mut agreeing) = (0, 0);
        let mut classes = ClassCounts::new(before.0);
        let mut groups = GroupPairs::new(before.0, after.0);
        let mut a = before.0.counted(before.1).peekable();
        let mut b = after.0.counted(after.1).peekable();
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => break,
                (Some(a), Some(b)) => a.image.index.cmp(&b.image.index),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            let first = if order.is_le() { a.next() } else { None };
            let second = if order.is_ge() { b.next() } else { None };
            let (Some(first), Some(second)) = (&first, &second) else {
                only_in_before += usize::from(order.is_lt());
                only_in_after += usize::from(order.is_gt());
                continue;
            };
            check_image(first, second)?;
            let [before_rank, after_rank] =
                [first, second].map(|image| image.outcome.map(|outcome| outcome.rank));
            if before_rank != after_rank {
                rank_changes.push(RankChange {
                    name: first.image.name.clone(),
                    before: before_rank,
                    after: after_rank,
                });
            }
            let mut is_changed = prediction(first) != prediction(second);
            if first.outcome.is_some() && second.outcome.is_some() {
                predicted += 1;
                agreeing += usize::from(!is_changed);
            }
            groups.add(first, second);
            classes.add(first.class, first.is_correct(1), second.is_correct(1));
            for (pairs, &k) in counts.iter_mut().zip(&topk) {
                let correct = (first.is_correct(k), second.is_correct(k));
                pairs.add(correct.0, correct.1);
                is_changed |= correct.0 != correct.1;
            }
            if is_changed {
                changed.push(ChangedImage {
                    index: first.image.index,
                    name: first.image.name.clone(),
                    class: first.class,
                    class_name: before.0.class_name(first.class).to_owned(),
                    before: first
                        .outcome
                        .map(|outcome| image_prediction(before.0, outcome)),
                    after: second
                        .outcome
                        .map(|outcome| image_prediction(after.0, outcome)),
                });
            }
        }
        if counts[0].images() == 0 {
            return Err(CompareError::NoImages);
        }
        changed.sort_by(|a, b| {
            let size = |image: &ChangedImage| image.confidence_change().abs();
            size(b).total_cmp(&size(a))
        });
        let subset = before.0.subset_caveat().or(after.0.subset_caveat());
        let models = (&before.0.models[before.1], &after.0.models[after.1]);
        let same_images = only_in_before + only_in_after == 0;
        let metrics = match same_images {
            true => MetricChange::of(models.0, models.1),
            false => Vec::new(),
        };
        let (calibration, calibration_note) =
            CalibrationChange::of(models.0, models.1, same_images);
        let (groups, groups_note) = groups.finish();
        Ok(Self {
            subset,
            before: first,
            after: second,
            images: counts[0].images(),
            only_in_before,
            only_in_after,
            topk: topk
                .iter()
                .zip(&counts)
                .map(|(&k, pairs)| PairedAccuracy::new(k, pairs))
                .collect(),
            predicted,
            agreeing,
            logits: None,
            metrics,
            calibration,
            calibration_note,
            gates: Vec::new(),
            groups,
            groups_note,
            classes: classes.changed(before.0),
            changed,
            rank_changes,
        })
    }

    /// Fraction of the images with the same prediction, of those that both have one for; none without such images.
    pub fn agreement(&self) -> Option<f64> {
        (self.predicted > 0).then(|| self.agreeing as f64 / self.predicted as f64)
    }

    /// How often the predictions are the same, in words.
    pub(crate) fn agreement_text(&self) -> Option<String> {
        let agreement = self.agreement()?;
        Some(format!(
            "same prediction for {} of {} ({} %)",
            grouped(self.agreeing),
            images(self.predicted),
            percent(agreement)
        ))
    }

    /// How far the logits are apart, in words.
    pub(crate) fn logits_difference(&self) -> Option<String> {
        let difference = self.logits?;
        Some(format!(
            "logits differ by at most {:.3e} (image {}, class {}), and by {:.3e} on average",
            difference.max, difference.index, difference.class, difference.mean
        ))
    }

    /// Classes that lost, and those that gained, each with the largest change first.
    pub fn class_losses_and_gains(&self) -> (Vec<&ClassChange>, Vec<&ClassChange>) {
        let (lost, mut gained): (Vec<_>, Vec<_>) = self
            .classes
            .iter()
            .partition(|class| class.after < class.before);
        gained.reverse();
        (lost, gained)
    }

    /// Checks that both evaluated the same images, and rank the true class of each equally.
    ///
    /// # Errors
    /// With the first difference.
    pub fn check_ranks(&self) -> Result<(), RankError> {
        let alone = self.only_in_before + self.only_in_after;
        if alone > 0 {
            return Err(RankError::Images(alone));
        }
        let Some(first) = self.rank_changes.first() else {
            return Ok(());
        };
        let rank = |rank: Option<u32>| rank.map_or("none".to_owned(), |rank| rank.to_string());
        Err(RankError::Ranks {
            changed: self.rank_changes.len(),
            images: self.images,
            image: first.name.clone(),
            before: rank(first.before),
            after: rank(first.after),
        })
    }

    /// The comparison as JSON.
    pub fn to_json(&self) -> String {
        file::to_json(self)
    }
}

impl PairedAccuracy {
    /// Accuracies over at least one image.
    pub(crate) fn new(k: usize, pairs: &Pairs) -> Self {
        let part = |count: usize| count as f64 / pairs.images() as f64;
        let (before, after) = (
            part(pairs.both + pairs.only_first),
            part(pairs.both + pairs.only_second),
        );
        let (low, high) = pairs.difference_interval();
        Self {
            k,
            before,
            after,
            difference: after - before,
            low,
            high,
            only_before: pairs.only_first,
            only_after: pairs.only_second,
            p_value: mcnemar(pairs.only_first, pairs.only_second),
        }
    }
}

fn compared((results, at): (&Results, usize)) -> Result<ComparedModel, CompareError> {
    let model = results.models.get(at).ok_or(CompareError::Model {
        number: at + 1,
        models: results.models.len(),
    })?;
    Ok(ComparedModel {
        path: model.model.path.clone(),
        sha256: model.model.sha256.clone(),
        precision: model.model.precision.clone(),
        quantization: model.model.quantization.clone(),
        number_format: model.model.number_format(),
        bytes: model.model.bytes,
        started: results.started.clone(),
    })
}

fn check_comparable(a: &Results, b: &Results) -> Result<(), CompareError> {
    let valid = |results: &Results| match &results.settings.valid_classes {
        Some(valid) => format!("a list of {}", valid.len()),
        None => "all".to_owned(),
    };
    let subset = |results: &Results| match &results.subset {
        Some(subset) => format!("--limit {} --seed {}", subset.images, subset.seed),
        None => "all images".to_owned(),
    };
    let subsets = a.subset.as_ref().zip(b.subset.as_ref());
    let (class_a, class_b) = other_class(a, b).unzip();
    let name = |class: Option<&String>| class.map(|name| format!("`{name}`")).unwrap_or_default();
    let pairs = [
        (
            a.data.sha256 != b.data.sha256,
            "the SHA-256 of the data set",
            a.data.sha256.clone(),
            b.data.sha256.clone(),
        ),
        (
            // A subset may be compared with all images, of which the others are left out.
            subsets.is_some_and(|(a, b)| a != b),
            "the random subset",
            subset(a),
            subset(b),
        ),
        (
            a.data.classes != b.data.classes,
            "the number of classes",
            a.data.classes.to_string(),
            b.data.classes.to_string(),
        ),
        (
            class_a.is_some(),
            "the name of a class",
            name(class_a),
            name(class_b),
        ),
        (
            a.settings.valid_classes != b.settings.valid_classes,
            "the set of valid classes",
            valid(a),
            valid(b),
        ),
        (
            a.settings.failures != b.settings.failures,
            "the handling of unreadable images",
            format!("{:?}", a.settings.failures),
            format!("{:?}", b.settings.failures),
        ),
    ];
    let mut different = pairs.into_iter().filter(|(differ, ..)| *differ);
    match different.next() {
        None => Ok(()),
        Some((_, what, before, after)) => Err(CompareError::Different {
            what,
            before,
            after,
        }),
    }
}

/// The first class that is not the same: by WordNet ID if both have them. Names may differ, as with
/// `--class-names`, but not if they are the same in another order.
fn other_class<'a>(a: &'a Results, b: &'a Results) -> Option<(&'a String, &'a String)> {
    let mut by_name = false;
    let (a, b) = match (&a.wnids, &b.wnids) {
        (Some(a), Some(b)) => (a, b),
        _ => {
            by_name = true;
            (&a.class_names, &b.class_names)
        }
    };
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    let different = a.iter().zip(b).find(|(a, b)| a != b);
    different.filter(|_| !by_name || sorted(a) == sorted(b))
}

/// Checks that two images with the same index are the same.
fn check_image(a: &Counted<'_>, b: &Counted<'_>) -> Result<(), CompareError> {
    let (a, b) = (a.image, b.image);
    if a.name == b.name && a.labels == b.labels {
        return Ok(());
    }
    let describe = |name: &str, labels: &[u32]| format!("`{name}` with labels {labels:?}");
    Err(CompareError::Image {
        index: a.index,
        before: describe(&a.name, &a.labels),
        after: describe(&b.name, &b.labels),
    })
}

fn prediction(counted: &Counted<'_>) -> Option<u32> {
    counted.outcome.map(|outcome| outcome.predicted)
}

fn image_prediction(results: &Results, outcome: &Outcome) -> ImagePrediction {
    ImagePrediction {
        rank: outcome.rank,
        predicted: outcome.predicted,
        predicted_name: results.class_name(outcome.predicted).to_owned(),
        confidence: outcome.confidence,
    }
}
