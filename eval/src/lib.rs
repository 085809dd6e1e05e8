//! Evaluates the top-1 and top-k accuracy of ONNX classifiers with ONNX Runtime: the library behind
//! `topk-eval`.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::atomic::AtomicBool;
//! use topk_data::{ImageSet, Options};
//! use topk_eval::{EvalOptions, Evaluation, Execution, Finished, Model, labels_of};
//! use topk_native::Runtime;
//!
//! let set = ImageSet::open(Path::new("imagenet/val"), &Options::default())?;
//! let labels = labels_of(&set);
//! let runtime = Runtime::load()?;
//! let model = Model::open(&runtime, Path::new("best.onnx"), Execution::default())?;
//! let options = EvalOptions::new(&set)?;
//! let mut evaluation = Evaluation::new(&runtime, &set, &labels, vec![model], &options)?;
//! let indices: Vec<usize> = evaluation.indices().collect();
//! if let Finished::Results(results) = evaluation.run(&indices, &AtomicBool::new(false), |_| ())? {
//!     println!("top-5 accuracy {:?}", results.models[0].metrics.topk(5));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
mod thumbnail;
mod transform;
mod worker;

pub use assignment::Assignment;
pub use error::EvaluationError;
pub use evaluation::{Evaluation, Finished};
pub use input::{InputKind, InputTensor};
pub use model::{Execution, Model, ModelError};
pub use options::{EvalOptions, Labels, OnBadImage, labels_of};
pub use pipeline::{MemoryError, SizeError};
pub use progress::Progress;
pub use provider::{ParseProviderError, Provider};
pub use transform::{InputTransform, PreprocessOverrides, TransformError};
