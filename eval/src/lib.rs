//! Evaluates the top-1 and top-k accuracy of ONNX classifiers with ONNX Runtime: the library behind
//! `topk-eval`.
//!
//! ```no_run
//! use std::path::Path;
//!
//! let results = topk_eval::evaluate(Path::new("best.onnx"), Path::new("imagenet/val"), &[1, 5])?;
//! println!("top-5 accuracy {:?}", results.models[0].metrics.topk(5));
//! # Ok::<(), topk_eval::EvaluationError>(())
//! ```

pub mod args;
mod assignment;
mod classes;
mod collected;
mod description;
mod error;
mod evaluation;
mod input;
mod model;
mod model_run;
mod options;
mod pipeline;
mod progress;
mod provider;
mod score_kind;
mod signature;
mod thumbnail;
mod transform;
mod trial;
mod worker;

pub use assignment::Assignment;
pub use error::{BadImages, EvaluationError};
pub use evaluation::{Evaluation, evaluate};
pub use input::{Element, InputKind, InputTensor, Layout};
pub use model::{Execution, Model, ModelError, ModelOptions};
pub use options::{EvalOptions, Labels, OnBadImage, labels_of};
pub use pipeline::{MemoryError, SizeError};
pub use progress::Progress;
pub use provider::{ParseProviderError, Provider};
pub use transform::{InputTransform, PreprocessOverrides, TransformError};
