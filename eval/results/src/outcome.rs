use serde::{Deserialize, Serialize};

/// What a model made of one image: all metrics are computed from these.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Number of classes that come before the right one, or before the first of several right ones. Of
    /// equal scores the lower class comes first (see [`topk_ops::accuracy::label_rank`]).
    pub rank: u32,
    /// Whether a wrong class has the very score of the right one, so that the rank is a convention.
    pub tied: bool,
    /// The class with the highest score.
    pub predicted: u32,
    /// Softmax probability of `predicted`.
    pub confidence: f32,
    /// −ln of the softmax probability of the right class.
    pub cross_entropy: f64,
    /// The smooth top-k SVM loss, where it was asked for.
    pub topk_loss: Option<f64>,
    /// The best classes, `predicted` first, where they were asked for.
    pub best: Vec<Guess>,
}

/// A class and how probable a model holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// The class.
    pub class: u32,
    /// Its softmax probability.
    pub probability: f32,
}

/// How the scores of several crops of an image become one row.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CropAveraging {
    /// There is one crop.
    #[default]
    None,
    /// Softmax probabilities are averaged, as the paper's code does for networks trained with
    /// cross-entropy. Their logarithms, up to a constant, are the scores of the image.
    Softmax,
    /// Scores are averaged, as the paper's code does for networks trained with the smooth SVM.
    Scores,
}
