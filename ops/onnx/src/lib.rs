//! The losses as ONNX operators that any runtime can compute: model-local functions of ONNX's standard
//! operators, and models of a loss alone.

mod batch;
mod body;
mod hinge;
mod loss;
mod model;
mod smooth_topk_svm;

pub use loss::{FunctionError, OnnxLoss};
pub use model::Form;
