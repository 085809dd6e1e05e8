//! Measures top-1 and top-k accuracy of ONNX classifiers with ONNX Runtime: the library of the
//! `topk-eval` command.
//!
//! ```no_run
//! use std::path::Path;
//! use topk_data::cifar100::{self, Split};
//! use topk_eval::{Evaluation, Model};
//! use topk_native::{Device, Runtime};
//! use topk_ops::accuracy::Accuracy;
//!
//! let test = cifar100::load(Path::new("cifar-100-binary"), Split::Test)?;
//! let runtime = Runtime::load()?;
//! let mut model = Model::open(&runtime, Path::new("best.onnx"), Device::Auto, None)?;
//! let ranks = Evaluation::new(&model, &test, 5, None)?.label_ranks(&mut model, &test, 256, |_| ())?;
//! println!("top-5 accuracy {}", Accuracy::of(&ranks, 5).topk());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod args;
mod evaluation;
mod model;
mod report;

pub use evaluation::{Evaluation, EvaluationError};
pub use model::{Model, ModelError, Provider};
pub use report::{Report, Result};
