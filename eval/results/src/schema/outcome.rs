use serde::{Deserialize, Serialize};

/// The outcome of one model for one image. All metrics are computed from these.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Rank of the true class, from 0; the lowest rank if there are several. Of equal scores the lower class
    /// comes first (see [`topk_ops::accuracy::label_rank`]).
    pub rank: u32,
    /// Ranks of all valid true classes, ascending, if there are several; empty for a single one, whose rank is `rank`.
    pub label_ranks: Vec<u32>,
    /// Whether a wrong class has exactly the score of the true class, so that the rank is a convention.
    pub tied: bool,
    /// The class with the highest score.
    pub predicted: u32,
    /// Softmax probability of `predicted`.
    pub confidence: f32,
    /// −ln of the softmax probability of the true class.
    pub cross_entropy: f64,
    /// Brier score of the image (Brier, "Verification of forecasts expressed in terms of probability", 1950): the
    /// sum over the valid classes of (p − y)², where p is the softmax probability, and y is 1 for the true class and
    /// 0 for others. 0 to 2. Absent in files of older versions.
    pub brier: Option<f32>,
    /// The smooth top-k SVM loss, if requested.
    pub topk_loss: Option<f64>,
    /// The most probable classes, `predicted` first, if requested.
    pub best: Vec<Prediction>,
}

/// A class and its predicted probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The class.
    pub class: u32,
    /// Its softmax probability.
    pub probability: f32,
}

/// What is averaged over the crops of an image.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum CropAveraging {
    /// Nothing: there is one crop
    #[default]
    #[cfg_attr(feature = "clap", value(skip))]
    None,
    /// Softmax probabilities, as in the paper's code for cross-entropy
    Probs,
    /// Logits, as in the paper's code for the smooth top-k SVM loss
    Logits,
}

/// What the scores of a model are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// Logits: their softmax gives the probabilities. Logarithms of probabilities are logits too.
    #[default]
    Logits,
    /// Probabilities that sum to 1.
    Probs,
    /// A probability for each class, independent of the others: the sigmoid of its logit.
    Sigmoid,
}
