use serde::{Deserialize, Serialize};

pub use topk_calibration::CALIBRATION_BINS;

/// The coverages at which the accuracy is reported, in percent.
pub const COVERAGES: [usize; 6] = [100, 95, 90, 80, 70, 50];

/// Metrics of a model, computed from the outcomes in the order of the images.
///
/// Images without a valid label do not count. Unreadable images count as wrong in the accuracies, or are left
/// out, depending on the settings. All other metrics are over the images with an outcome.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Metrics {
    /// Images that count in the accuracies.
    pub images: usize,
    /// Images with an outcome.
    #[serde(rename = "judged")]
    pub evaluated: usize,
    /// Images with a valid label that could not be evaluated.
    pub failed: usize,
    /// Images without a valid label.
    pub excluded: usize,
    /// Images where a wrong class has exactly the score of the true class.
    pub ties: usize,
    /// Accuracy at each k of the settings.
    pub topk: Vec<TopkAccuracy>,
    /// Mean cross-entropy.
    pub cross_entropy: Option<f64>,
    /// Mean of the smooth top-k SVM loss.
    pub topk_loss: Option<f64>,
    /// Expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015): the
    /// mean difference of confidence and top-1 accuracy over the bins, weighted by their number of images.
    pub calibration_error: Option<f64>,
    /// Confidence bins of equal width, by ascending confidence.
    pub calibration: Vec<CalibrationBin>,
    /// Mean Brier score, 0 to 2; absent if an older version evaluated some of the images.
    #[serde(default)]
    pub brier_score: Option<f64>,
    /// The calibration error with 15 bins of equal numbers of images (Nguyen and O'Connor, EMNLP 2015), as in
    /// torch-uncertainty: images sorted by confidence are divided into bins whose sizes differ by at most 1, the
    /// larger ones first. Where an edge divides images of equal confidence, all of them count with their mean
    /// accuracy.
    #[serde(default)]
    pub adaptive_calibration_error: Option<f64>,
    /// Area under the risk-coverage curve (Geifman and El-Yaniv, NeurIPS 2017), 0 to 1: the mean over n of the
    /// risk of the n most confident images, for n from 1 to `images`. The risk is the fraction of wrong predictions.
    /// Of images of equal confidence, the mean over all orders counts. Failed images that count as wrong are the
    /// least confident.
    #[serde(default)]
    pub aurc: Option<f64>,
    /// The risk of the most confident 1 %, 2 %, … 100 % of the images, rounded up; empty if there are none.
    #[serde(default)]
    pub risk_coverage: Vec<f64>,
    /// Top-1 accuracy on the most confident images, at each of [`COVERAGES`].
    #[serde(default)]
    pub coverage: Vec<CoverageAccuracy>,
    /// Precision, recall and F1, averaged over the classes that have images or are predicted, as
    /// scikit-learn's `macro` average with `zero_division=0`. The macro recall over the classes that have images is
    /// `mean_class_accuracy` at k = 1, the balanced accuracy.
    #[serde(default)]
    pub macro_avg: Option<ClassAverage>,
    /// The same, weighted by the number of images of each class.
    #[serde(default)]
    pub weighted_avg: Option<ClassAverage>,
    /// Distances in WordNet's hierarchy; absent unless all classes are among ImageNet's 1,000.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Over all true classes of the images; absent if every image has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multilabel: Option<MultilabelMetrics>,
    /// The groups of the data, in their order; empty without a file of groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupAccuracy>,
}

/// Metrics over all true classes of images, of which some have several, such as with the ReaL labels. Of equal scores the
/// lower class comes first, as in the rank of a class; scikit-learn counts them all before each other.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MultilabelMetrics {
    /// Images with several valid true classes.
    pub several: usize,
    /// Mean number of true classes of an image.
    pub mean_labels: f64,
    /// Label ranking average precision, above 0 to 1: the mean over the true classes of an image of the share of true
    /// classes among those up to it, as scikit-learn's `label_ranking_average_precision_score`.
    pub ranking_average_precision: f64,
    /// Mean number of best classes that include all true ones, as scikit-learn's `coverage_error`.
    pub coverage_error: f64,
    /// Mean fraction of the pairs of a true and a wrong class in which the wrong one has the higher score, 0 to 1, as
    /// scikit-learn's `label_ranking_loss`.
    pub ranking_loss: f64,
    /// Mean fraction of the true classes of an image, of which there are n, that are among the n best, 0 to 1.
    pub r_precision: f64,
    /// Mean fraction of the true classes that are among the k best, at each k of the settings.
    pub recall: Vec<RecallAtK>,
}

/// Recall at one k.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RecallAtK {
    /// The k.
    pub k: usize,
    /// The recall, 0 to 1.
    pub recall: f64,
}

/// Accuracy on the images of a group.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct GroupAccuracy {
    /// Its name.
    pub name: String,
    /// Images of the group that count.
    pub images: usize,
    /// Images whose predicted class is correct.
    pub correct: usize,
    /// Top-1 accuracy, 0 to 1; absent without images.
    pub accuracy: Option<f64>,
    /// Lower bound of the 95 % Wilson interval.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// The top-1 error divided by that on all images of the file of groups, as the error ratio of ImageNet-X: above 1 where
    /// the model errs more than on average. Absent if one of them has no images, or the model makes no errors.
    pub error_ratio: Option<f64>,
}

/// Accuracy on the most confident images.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CoverageAccuracy {
    /// Fraction of the images, 0 to 1.
    pub coverage: f64,
    /// Their number, rounded up.
    pub images: usize,
    /// Top-1 accuracy on them; absent if there are none. If only some of the images of equal confidence belong to
    /// them, these count with their mean accuracy.
    pub accuracy: Option<f64>,
    /// The lowest confidence among them; absent if they include images that could not be evaluated.
    pub confidence: Option<f32>,
}

/// Averages over classes, 0 to 1.
///
/// The precision of a class is the fraction of correct predictions among those of the class, its recall the top-1
/// accuracy on its images, and F1 the harmonic mean of the two; 0 where they are undefined. Failed images that
/// count as wrong lower the recall. An image with several true classes belongs to the first valid one, and a
/// prediction of any of them is correct.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ClassAverage {
    /// Mean precision.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean of the F1 scores.
    pub f1: f64,
}

/// How far predictions are from the true class in WordNet's hierarchy above ImageNet's 1,000 classes (Bertinetto et
/// al., "Making Better Mistakes", CVPR 2020): the height of the lowest common ancestor, see
/// [`topk_labels::wordnet::lca_height`]. Over the images with an outcome; of several true classes the nearest counts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Severity {
    /// Images with a wrong prediction.
    pub mistakes: usize,
    /// Mean height over them; absent if there are none.
    pub mistake_severity: Option<f64>,
    /// For each k of the settings for which the most probable classes are kept.
    pub hierarchical_distance: Vec<HierarchicalDistance>,
}

/// The mean height over all images and their k most probable classes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HierarchicalDistance {
    /// The k.
    pub k: usize,
    /// The mean; absent without images.
    pub distance: Option<f64>,
}

/// Accuracy at one k.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TopkAccuracy {
    /// The k.
    pub k: usize,
    /// Images whose true class is among the k highest scores.
    pub correct: usize,
    /// Fraction of the images that count, 0 to 1; absent if there are none.
    pub accuracy: Option<f64>,
    /// Lower bound of the 95 % Wilson interval.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Mean of the accuracies of all classes that have images.
    pub mean_class_accuracy: Option<f64>,
}

/// One bin of the reliability diagram. Bin i holds the images with confidence above i / 15 and at most
/// (i + 1) / 15.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Number of images.
    pub images: usize,
    /// Images whose predicted class is correct.
    pub correct: usize,
    /// Mean confidence; absent if there are no images.
    pub confidence: Option<f64>,
}

impl CalibrationBin {
    /// Top-1 accuracy in the bin; none if there are no images.
    pub fn accuracy(&self) -> Option<f64> {
        (self.images > 0).then(|| self.correct as f64 / self.images as f64)
    }
}

impl Metrics {
    /// The accuracy at a k of the settings.
    pub fn topk(&self, k: usize) -> Option<&TopkAccuracy> {
        self.topk.iter().find(|accuracy| accuracy.k == k)
    }

    /// Balanced accuracy, 0 to 1: the mean of the top-1 accuracies of the classes that have images; none if k = 1 is
    /// not in the settings.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        self.topk(1)?.mean_class_accuracy
    }

    /// The mean distance of the k most probable classes in WordNet's hierarchy, if it was computed.
    pub fn hierarchical_distance(&self, k: usize) -> Option<f64> {
        let distances = &self.severity.as_ref()?.hierarchical_distance;
        distances.iter().find(|distance| distance.k == k)?.distance
    }
}
