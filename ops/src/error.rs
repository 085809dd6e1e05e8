use thiserror::Error;

/// Invalid parameters or inputs of a loss. Every message contains the offending value.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LossError {
    /// `k` is zero.
    #[error("k must be at least 1, got 0")]
    ZeroK,
    /// The temperature is not a positive finite number.
    #[error("tau (temperature) must be a finite number above 0, got {0}")]
    Tau(f64),
    /// The margin is negative or not finite.
    #[error("alpha (margin) must be a finite number of at least 0, got {0}")]
    Alpha(f64),
    /// The standard deviation of the noise is negative or not finite.
    #[error(
        "epsilon (standard deviation of the noise) must be a finite number of at least 0, got {0}"
    )]
    Epsilon(f64),
    /// The number of noise vectors is zero.
    #[error("the number of draws must be at least 1, got 0")]
    ZeroDraws,
    /// The margin of a class is negative or not finite.
    #[error("the margin of class {class} must be a finite number of at least 0, got {margin}")]
    Margin {
        /// Index of the class.
        class: usize,
        /// Its margin.
        margin: f64,
    },
    /// A class has no training samples, from whose number its margin is computed.
    #[error(
        "class {class} has no training samples; per-class margins are computed from sample counts"
    )]
    NoSamples {
        /// Index of the class.
        class: usize,
    },
    /// The number of class margins is not the number of classes.
    #[error("{margins} class margins for {classes} classes: expected one per class")]
    MarginCount {
        /// Number of margins.
        margins: usize,
        /// Scores per sample.
        classes: usize,
    },
    /// The probability of a k is negative or not finite.
    #[error("the probability of k = {k} must be a finite number of at least 0, got {probability}")]
    Probability {
        /// The k.
        k: usize,
        /// Its probability.
        probability: f64,
    },
    /// The probabilities of all k do not sum to 1.
    #[error("the probabilities of all k must sum to 1, got a sum of {0}")]
    ProbabilitySum(f64),
    /// The probability of label smoothing is out of range.
    #[error("label smoothing must be a number from 0 to 1, got {0}")]
    LabelSmoothing(f64),
    /// A weight of a class is negative or not finite.
    #[error("the weight of class {class} must be a finite number of at least 0, got {weight}")]
    Weight {
        /// Index of the class.
        class: usize,
        /// Its weight.
        weight: f64,
    },
    /// The number of class weights is not the number of classes.
    #[error("{weights} class weights for {classes} classes: expected one per class")]
    WeightCount {
        /// Number of weights.
        weights: usize,
        /// Scores per sample.
        classes: usize,
    },
    /// There are too few classes for the loss.
    #[error("this loss needs at least {needed} classes, got {classes}")]
    TooFewClasses {
        /// The least number of classes: k + 1 for the top-k losses.
        needed: usize,
        /// Scores per sample.
        classes: usize,
    },
    /// A log-weight is NaN or ∞.
    #[error("log-weight {log_weight} of element {element} is not below infinity")]
    LogWeight {
        /// Index of the element.
        element: usize,
        /// Its log-weight.
        log_weight: f64,
    },
    /// There are too few elements for a set.
    #[error("sets of {k} elements need at least {k} elements of positive weight, got {elements}")]
    TooFewElements {
        /// Size of the sets.
        k: usize,
        /// Number of elements of positive weight.
        elements: usize,
    },
    /// The scores do not divide into one row per label.
    #[error(
        "got {scores} scores for {labels} labels; the number of scores must be a multiple of the number \
         of labels"
    )]
    Shape {
        /// Length of the scores.
        scores: usize,
        /// Length of the labels.
        labels: usize,
    },
    /// There is not one label per row of scores.
    #[cfg(feature = "ndarray")]
    #[error(
        "the scores have the shape {scores:?}, but there are {labels} labels: expected one label per row"
    )]
    ArrayShape {
        /// Samples and classes.
        scores: [usize; 2],
        /// Length of the labels.
        labels: usize,
    },
    /// An output array has the wrong shape.
    #[cfg(feature = "ndarray")]
    #[error("the {output} array has the shape {found:?}, expected {expected:?}")]
    OutputShape {
        /// `values`, `gradient`, `log_esf` or `log_marginals`.
        output: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the inputs require.
        expected: Vec<usize>,
    },
    /// One value is requested, but the reduction is [`None`](crate::Reduction::None).
    #[cfg(feature = "ndarray")]
    #[error(
        "the reduction is `none`, which gives one value per sample: request `values`, or set the reduction \
         to sum or mean"
    )]
    NotReduced,
    /// A row of an array is invalid.
    #[cfg(feature = "ndarray")]
    #[error("row {row}: {error}")]
    Row {
        /// Index of the row.
        row: usize,
        /// The cause.
        error: Box<LossError>,
    },
    /// An output slice has the wrong length.
    #[error("the {output} slice holds {found} entries, expected {expected}")]
    Output {
        /// `values`, `losses` or `grad`.
        output: &'static str,
        /// Its length.
        found: usize,
        /// The length that the inputs require.
        expected: usize,
    },
    /// A label is not the index of a class.
    #[error("label {label} of sample {sample} is not in 0..{classes}")]
    Label {
        /// Index in the batch.
        sample: usize,
        /// The label.
        label: i64,
        /// Scores per sample.
        classes: usize,
    },
    /// A score is NaN or infinite.
    #[error("score {score} of sample {sample}, class {class} is not finite")]
    NotFinite {
        /// Index in the batch.
        sample: usize,
        /// Index of the class.
        class: usize,
        /// The score.
        score: f64,
    },
}
