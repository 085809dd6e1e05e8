use std::path::PathBuf;

use serde::Serialize;
use topk_models::Classifier;
use topk_native::Device;

use crate::schedule::Schedule;

/// Everything that decides a run.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The data set.
    pub data: DataSet,
    /// Folder of the data set.
    pub root: PathBuf,
    /// Name of the network.
    pub model: String,
    /// File of the weights to start from; `None` for random ones.
    pub weights: Option<PathBuf>,
    /// What becomes of the classifier in that file.
    pub head: Classifier,
    /// The loss.
    pub loss: LossKind,
    /// The k of top-k: of the loss, and of the accuracy that decides the best checkpoint.
    pub topk: usize,
    /// Probability that a training label is replaced by a random one of its group.
    pub noise: f64,
    /// Training images held out for validation; `None` for a tenth.
    pub val_size: Option<usize>,
    /// Whether training images are cropped and flipped at random.
    pub augment: bool,
    /// Number of passes over the training images.
    pub epochs: usize,
    /// Training images in a step.
    pub batch_size: usize,
    /// Images evaluated at once.
    pub test_batch_size: usize,
    /// Learning rate at the start.
    pub lr: f64,
    /// When the learning rate drops.
    pub schedule: Schedule,
    /// Nesterov momentum.
    pub momentum: f64,
    /// Weight decay, of all trainable parameters.
    pub weight_decay: f64,
    /// Seed of initial weights, label noise, order and augmentation.
    pub seed: u64,
    /// Where to compute.
    #[serde(serialize_with = "as_text")]
    pub device: Device,
    /// Threads of libtorch and of the data loader; `None` for as many as there are processors.
    pub threads: Option<usize>,
    /// Folder for everything that the run writes.
    pub out: PathBuf,
}

/// A data set that can be trained on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum DataSet {
    /// CIFAR-100 in its binary version
    Cifar100,
}

impl DataSet {
    /// Its name on the command line and in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar100 => "cifar100",
        }
    }
}

/// A loss to train with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "name")]
pub enum LossKind {
    /// Smooth top-k SVM.
    #[serde(rename = "svm")]
    Svm {
        /// Temperature.
        tau: f64,
        /// Margin.
        alpha: f64,
    },
    /// Softmax cross-entropy.
    #[serde(rename = "ce")]
    CrossEntropy,
}

impl LossKind {
    /// Its name on the command line and in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Svm { .. } => "svm",
            Self::CrossEntropy => "ce",
        }
    }
}

fn as_text<S: serde::Serializer>(device: &Device, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(device)
}
