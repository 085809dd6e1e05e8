use serde::{Deserialize, Serialize};
use topk_ops::{LossError, SmoothTopkSvm};

/// A data set.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DataInfo {
    /// Path of the data set.
    pub path: String,
    /// Format, such as `imagenet` or `cifar100`.
    pub format: String,
    /// Name of the test set for ImageNet's classes, such as `imagenet-a`, if it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The file of labels, if there is one.
    pub labels: Option<String>,
    /// The file of ReaL labels, if they replace those of the data set.
    pub real_labels: Option<String>,
    /// The file of valid classes, if predictions are restricted.
    pub valid_labels: Option<String>,
    /// The file of groups of images, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// Names of these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_names: Vec<String>,
    /// Number of images of the whole data set.
    pub images: usize,
    /// Number of classes.
    pub classes: usize,
    /// Hash that identifies the data set.
    pub sha256: String,
    /// SHA-256 of the labels of all images as they were used, after a class map or other labels replaced those of
    /// the data set; absent in files of older versions.
    #[serde(default)]
    pub labels_sha256: Option<String>,
    /// What was decided about the data and its classes, and what was left out: one line each, as printed.
    #[serde(default)]
    pub decisions: Vec<String>,
}

/// Settings common to all models of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Settings {
    /// Values of k for top-k accuracy, ascending, each at most the number of valid classes.
    pub topk: Vec<usize>,
    /// What to do with unreadable images.
    pub failures: FailurePolicy,
    /// The smooth top-k SVM loss to compute, if any.
    pub loss: Option<LossSettings>,
    /// Classes that may be predicted, ascending; all if absent.
    pub valid_classes: Option<Vec<u32>>,
}

/// What to do with unreadable images.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// Count them as wrong at every k.
    #[default]
    CountWrong,
    /// Leave them out.
    Skip,
}

/// Parameters of the smooth top-k SVM loss.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LossSettings {
    /// The label should be among this number of highest scores.
    pub k: usize,
    /// Temperature.
    pub tau: f64,
    /// Margin.
    pub alpha: f64,
}

/// The machine that the models ran on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Environment {
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// CPU model.
    pub cpu: String,
    /// Number of CPU cores.
    pub cores: usize,
    /// Operating system and architecture.
    pub os: String,
    /// The GPU, if a model ran on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuInfo>,
    /// Why `--provider auto` chose the CPU, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_gpu: Option<String>,
}

/// A GPU and the libraries that it was used with. What could not be determined is absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct GpuInfo {
    /// Its name.
    pub name: Option<String>,
    /// Version of its driver.
    pub driver: Option<String>,
    /// Version of CUDA.
    pub cuda: Option<String>,
    /// Version of cuDNN.
    pub cudnn: Option<String>,
}

/// An execution provider that ONNX Runtime loaded from a library of its own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PluginInfo {
    /// The execution provider by ONNX Runtime's name, such as `WebGpuExecutionProvider`.
    pub execution_provider: String,
    /// Its vendor.
    pub vendor: String,
    /// Its version; absent if the library does not tell it.
    pub version: Option<String>,
    /// The library file; absent if the library does not tell it.
    pub library: Option<String>,
}

impl LossSettings {
    /// The loss.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn loss(self) -> Result<SmoothTopkSvm, LossError> {
        SmoothTopkSvm::new(self.k, self.tau, self.alpha)
    }
}
