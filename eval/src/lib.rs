//! Measures top-1 and top-k accuracy of ONNX classifiers with ONNX Runtime: the library of the
//! `topk-eval` command.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::atomic::AtomicBool;
//! use topk_data::{ImageSet, Options};
//! use topk_eval::{Evaluation, Execution, Finished, Model, Plan, labels_of};
//! use topk_native::Runtime;
//!
//! let set = ImageSet::open(Path::new("imagenet/val"), &Options::default())?;
//! let labels = labels_of(&set);
//! let runtime = Runtime::load()?;
//! let model = Model::open(&runtime, Path::new("best.onnx"), Execution::default())?;
//! let plan = Plan::new(&set)?;
//! let mut evaluation = Evaluation::new(&runtime, &set, &labels, vec![model], &plan)?;
//! let places: Vec<usize> = evaluation.places().collect();
//! if let Finished::Results(results) = evaluation.run(&places, &AtomicBool::new(false), |_| ())? {
//!     println!("top-5 accuracy {:?}", results.models[0].metrics.topk(5));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod args;
mod assignment;
mod evaluation;
mod input;
mod judged;
mod lane;
mod model;
mod pipeline;
mod plan;
mod provider;
mod recipe;
mod thumbnail;

pub use assignment::Assignment;
pub use evaluation::{Evaluation, EvaluationError, Finished, Progress};
pub use input::{InputKind, InputTensor};
pub use model::{Execution, Model, ModelError};
pub use pipeline::{MemoryError, SizeError};
pub use plan::{Labels, OnError, Plan, labels_of};
pub use provider::{ParseProviderError, Provider};
pub use recipe::{Recipe, RecipeError, Wishes};
