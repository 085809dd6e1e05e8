//! Evaluates the top-1 and top-k accuracy of ONNX classifiers with ONNX Runtime: the library behind
//! `topk-eval`.
//!
//! ```no_run
//! let results = topk_eval::evaluate("resnet18.onnx", "imagenet/val", &[1, 5])?;
//! for accuracy in &results.models[0].metrics.topk {
//!     println!("top-{}: {} of {} images", accuracy.k, accuracy.correct, results.data.images);
//! }
//! # Ok::<(), topk_eval::EvaluationError>(())
//! ```
//!
//! | you want | use |
//! | --- | --- |
//! | the accuracy of one model | [`evaluate`] |
//! | several models, other settings, progress, all of `topk-eval`'s results | [`Evaluation`] |
//! | preprocessed images as arrays of `ndarray` | `Batches` |
//! | the logits of a model for such arrays | `Model::logits` |
//!
//! The last two need the feature `ndarray`, which is on by default. Preprocessing comes from the metadata of the
//! model, or from [`PreprocessOverrides`].

pub mod args;
#[cfg(feature = "ndarray")]
mod array;
mod assignment;
mod bench;
mod binding;
mod classes;
mod collected;
mod description;
mod devices;
mod error;
mod evaluation;
mod input;
mod model;
mod model_run;
mod options;
mod pipeline;
mod plugin;
mod preset;
mod progress;
mod provider;
mod ranks;
mod score_kind;
mod signature;
mod tensorrt;
mod thumbnail;
mod transform;
mod trial;
mod worker;

#[cfg(feature = "ndarray")]
pub use array::{Batches, ImageBatch, InputElement, UNLABELLED};
pub use assignment::Assignment;
pub use error::{BadImages, EvaluationError};
pub use evaluation::{Evaluation, evaluate};
pub use input::{Element, InputKind, InputTensor, Layout};
pub use model::{Execution, Model, ModelError, ModelOptions};
pub use options::{EvalOptions, Labels, Limit, OnBadImage, labels_of};
pub use pipeline::{MemoryError, SizeError};
pub use plugin::PluginDevice;
pub use preset::{NamedPreset, PresetError};
pub use progress::Progress;
pub use provider::{ConvSearch, ParseProviderError, Provider};
pub use ranks::RanksError;
pub use transform::{InputTransform, PreprocessOverrides, TransformError};

// What the interface of this crate takes and returns.
pub use topk_data::{ImageSet, Options as DataOptions};
pub use topk_native::Runtime;
pub use topk_results::Results;
