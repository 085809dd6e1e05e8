//! ONNX model files: the messages they are made of, a builder for graphs, a structural check, the
//! metadata that makes a classifier describe itself, and the losses as operators.

pub mod attribute;
mod builder;
mod card;
mod check;
mod fold;
mod half;
mod loss;
mod operator;
pub mod proto;
mod write;

pub use builder::{Dim, GraphBuilder, IR_VERSION, OPSET, model};
pub use card::{CardError, ModelCard};
pub use check::{CheckError, check};
pub use fold::fold_batch_norm;
pub use half::{HalfError, to_float16};
pub use loss::{Form, FunctionError, OnnxLoss};
pub use operator::{DOMAIN, DOMAIN_VERSION, LossOperator};
pub use write::write;
