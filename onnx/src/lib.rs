//! The ONNX file format: the messages of a model file, a graph builder, a structural check, conversions of
//! whole models, and the model card of a classifier.

mod append;
pub mod attribute;
mod behavior;
mod builder;
mod channel_values;
mod check;
mod ending;
mod external_data;
mod float16;
mod fold_batch_norm;
mod image_input;
mod model_card;
mod names;
pub mod proto;
mod quantization;
mod read;
mod save;
mod visit;
mod weight_types;
mod write;

pub use append::append;
pub use behavior::{Behavior, Operators};
pub use builder::{Dim, GraphBuilder, IR_VERSION, MAX_OPSET, OPSET, ir_version, model};
pub use channel_values::ChannelValues;
pub use check::{CheckError, check};
pub use ending::{Ending, ancestors, ending, value_before_ending};
pub use external_data::{ExternalFile, external_files};
pub use float16::{Float16Error, to_float16};
pub use fold_batch_norm::fold_batch_norm;
pub use image_input::{ImageInput, normalize_inside};
pub use model_card::{CardError, CardResize, ModelCard, Training};
pub use names::Names;
pub use quantization::{Quantization, QuantizationFormat};
pub use read::read_without_weights;
pub use save::{save, save_unsynced};
pub use weight_types::WeightTypes;
pub use write::{write, write_with_external_data};
