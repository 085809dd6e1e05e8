//! The losses as ONNX operators that every runtime can run: model-local functions of ONNX's standard
//! operators, and models that contain only a loss.

mod batch;
mod body;
mod hinge;
mod likelihood;
mod loss;
mod model;
mod opset;
mod smooth_topk_svm;

pub use loss::{FunctionError, OnnxLoss};
pub use model::Form;
pub use opset::{
    FUNCTION_IR_VERSION, FUNCTION_OPSET, MAX_OPSET, MIN_OPSET, Scores, has_functions, opset,
};
