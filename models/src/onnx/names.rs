//! Names of the inputs and outputs of an ONNX model.

/// Name of the model's input: normalised images, `f32` `[batch, channels, height, width]`.
pub const INPUT: &str = "input";

/// Name of the model's output: scores before softmax, `f32` `[batch, classes]`.
pub const LOGITS: &str = "logits";

/// Name of the second input of a model with a loss: the label of each image, `i64` `[batch]`.
pub const LABELS: &str = "labels";

/// Name of the second output of a model with a loss, `f32` `[batch]`.
pub const LOSS: &str = "loss";

/// Name of the gradient of the losses with respect to the scores, `f32` `[batch, classes]`.
pub const GRAD: &str = "grad";

/// Name of the first output of a model that ranks classes: the k highest probabilities in descending
/// order, `f32` `[batch, k]`.
pub const PROBABILITIES: &str = "probabilities";

/// Name of the second output of a model that ranks classes: the classes with the k highest probabilities,
/// `i64` `[batch, k]`.
pub const CLASSES: &str = "classes";
