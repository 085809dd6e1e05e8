//! The losses as ONNX operators that every runtime can run: model-local functions of ONNX's standard
//! operators, and models that contain only a loss.

mod batch;
mod body;
mod hinge;
mod loss;
mod model;
mod smooth_topk_svm;

pub use loss::{FunctionError, OnnxLoss};
pub use model::Form;
