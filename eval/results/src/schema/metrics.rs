use serde::{Deserialize, Serialize};

pub use topk_calibration::CALIBRATION_BINS;

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
}
