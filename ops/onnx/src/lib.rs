//! ONNX model files: the messages they are made of, a builder for graphs, a structural check, the
//! metadata that makes a classifier describe itself, and the losses as operators.

pub mod attribute;
mod builder;
mod card;
mod check;
mod loss;
mod operator;
pub mod proto;

pub use builder::{Dim, GraphBuilder, IR_VERSION, OPSET, model};
pub use card::{CardError, ModelCard};
pub use check::{CheckError, check};
pub use loss::{Form, FunctionError, OnnxLoss};
pub use operator::{DOMAIN, DOMAIN_VERSION, LossOperator};
