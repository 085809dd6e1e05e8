//! ONNX model files: the messages they are made of, a builder for graphs, a structural check, the
//! metadata that makes a classifier describe itself, and the losses as operators.

pub mod attribute;
mod builder;
mod card;
mod check;
mod fold;
mod half;
mod image_input;
mod loss;
mod operator;
pub mod proto;
mod triton;
mod weight_types;
mod write;

pub use builder::{Dim, GraphBuilder, IR_VERSION, OPSET, ir_version, model};
pub use card::{CardError, Interpolation, ModelCard, Resize, Training};
pub use check::{CheckError, check};
pub use fold::fold_batch_norm;
pub use half::{HalfError, to_float16};
pub use image_input::{ImageInput, normalize_inside};
pub use loss::{Form, FunctionError, OnnxLoss};
pub use operator::{DOMAIN, DOMAIN_VERSION, LossOperator};
pub use triton::{TritonError, triton_config};
pub use weight_types::WeightTypes;
pub use write::{MAX_FILE, write, write_with_external_data};
