//! The ONNX file format: the messages of a model file, a builder for graphs, a structural check,
//! conversions of whole models, and the metadata that makes a classifier describe itself.

pub mod attribute;
mod builder;
mod card;
mod check;
mod fold;
mod half;
mod image_input;
pub mod proto;
mod triton;
mod weight_types;
mod write;

pub use builder::{Dim, GraphBuilder, IR_VERSION, OPSET, ir_version, model};
pub use card::{CardError, CardResize, ModelCard, Training};
pub use check::{CheckError, check};
pub use fold::fold_batch_norm;
pub use half::{HalfError, to_float16};
pub use image_input::{ImageInput, normalize_inside};
pub use triton::{TritonError, triton_config};
pub use weight_types::WeightTypes;
pub use write::{MAX_FILE, write, write_with_external_data};
