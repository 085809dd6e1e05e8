//! ONNX model files: the messages they are made of, a builder for graphs, a structural check, and the
//! metadata that makes a classifier describe itself.

pub mod attribute;
mod builder;
mod card;
mod check;
pub mod proto;

pub use builder::{Dim, GraphBuilder, IR_VERSION, OPSET, model};
pub use card::{CardError, ModelCard};
pub use check::{CheckError, check};
