//! The losses of `topk-ops` as operators for ONNX Runtime, on its CPU.
//!
//! [`LossOperator`](topk_ops::operator::LossOperator) says what the operators are: their names in the domain
//! `topk`, inputs, outputs and attributes. Scores are `float`, `double`, `float16` or `bfloat16`, labels
//! `int64` or `int32`. Results are those of [`Criterion`](topk_ops::Criterion), bit for bit.
//!
//! # As a library
//!
//! `cargo build --release --package topk-ops-ort` makes `target/release/libtopk_ops_ort.so`, which needs
//! nothing else. Whatever runs ONNX Runtime 1.17 or later loads it, such as Python:
//!
//! ```python
//! options = onnxruntime.SessionOptions()
//! options.register_custom_ops_library("target/release/libtopk_ops_ort.so")
//! session = onnxruntime.InferenceSession("model.onnx", options)
//! ```
//!
//! # In Rust
//!
//! ```no_run
//! use ort::session::Session;
//!
//! let environment = ort::init().build()?;
//! let builder = Session::builder(&environment)?;
//! let session = topk_ops_ort::register(builder)?.commit_from_file("model.onnx")?;
//! # Ok::<(), ort::Error>(())
//! ```
//!
//! A session takes the operators once: ONNX Runtime refuses a second registration when it opens the
//! model.
//!
//! # Models with functions of the same names
//!
//! A model may hold a function of ONNX's own operators for `topk::SmoothTopkSVMLoss` and the others, and
//! then runs where these operators are not known. Where they are registered, they are used and the
//! function is not, at every level of optimization and whether functions are inlined ahead of time or
//! not. (Tested with ONNX Runtime 1.17, 1.20, 1.31 and 1.32.) It follows that types that the operators
//! lack are an error then, even if the function has them. Functions of other names in the domain `topk`
//! are not affected.
//!
//! # Errors
//!
//! Attributes are checked when a session is made, and so is the number of classes if the model states
//! it; other shapes and values are checked in each run. The messages begin with the operator's name and
//! say what was found and what is expected. ONNX Runtime itself refuses wrong types of inputs. Attributes
//! of unknown names are not seen, except `tau` and `alpha` of an operator that lacks them.
//!
//! ONNX stores `tau` and `alpha` as `f32`. They are read as the shortest decimal of that `f32`, so that
//! 0.1 is the 0.1 of `topk-ops` and gives the same results.
//!
//! # Threads
//!
//! A batch is shared out among the session's own intra-op threads, and no others are started; results do
//! not depend on their number. One session may run on several threads at once.
//!
//! ONNX Runtime notes a domain of operators when the first session with it is opened, and does so without
//! a lock. A program that opens sessions on several threads opens that one before.

mod ffi;
mod kernel;
mod operator;

pub use operator::RegisterCustomOps;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;

use crate::ffi::Api;
use crate::operator::Runtime;

/// Adds the operators to a session, as the library does, without loading one.
///
/// # Errors
/// If ONNX Runtime refuses them.
///
/// # Panics
/// If `ort` cannot load ONNX Runtime.
pub fn register(mut builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    let options = builder.ptr_mut();
    // SAFETY: the table of `ort`, which is that of a later version than is asked for, stays for the
    // rest of the process.
    let api = unsafe { Api::new(ort::api()) }.expect("a reference is not null");
    let runtime = Runtime {
        api,
        minor: ort::MINOR_VERSION,
    };
    // SAFETY: `ort` keeps the options valid as long as the builder, and has one ONNX Runtime.
    match unsafe { operator::add(runtime, options) } {
        Ok(()) => Ok(builder),
        Err(error) => Err(ort::Error::new(error.to_string())),
    }
}

/// Compiles and runs the Rust example of that page.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/onnx-operators.md")]
struct OnnxOperators;
