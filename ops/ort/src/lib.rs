//! The losses of `topk-ops` as operators for ONNX Runtime, on the CPU and on NVIDIA GPUs.
//!
//! [`LossOperator`](topk_ops::operator::LossOperator) defines the operators: their names in the domain
//! `topk`, inputs, outputs and attributes. Scores are `float`, `double`, `float16` or `bfloat16`, labels
//! `int64` or `int32`. On the CPU, results are
//! bit-identical to those of [`Criterion`](topk_ops::Criterion).
//!
//! # As a library
//!
//! `cargo build --release --package topk-ops-ort` builds `target/release/libtopk_ops_ort.so`, which has no
//! dependencies. Any program with ONNX Runtime 1.17 or later can load it, for example in Python:
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
//! Register the operators once per session: ONNX Runtime rejects a second registration when it loads
//! the model.
//!
//! # Models with functions of the same names
//!
//! A model may contain functions of ONNX's standard operators for `topk::SmoothTopkSVMLoss` and the others,
//! so that it also runs without this library. Where these operators are registered, they are used instead
//! of the functions, at every optimization level and whether or not functions are inlined ahead of time.
//! (Tested with ONNX Runtime 1.17, 1.20, 1.31 and 1.32.) Types that the operators do not support are then
//! an error, even if the function supports them. Functions of other names in the domain `topk` are not
//! affected.
//!
//! # Errors
//!
//! Attributes, and the number of classes if the model states it, are checked when a session is created;
//! other shapes and values are checked in each run. Messages start with the operator's name and give the
//! value and what is expected. ONNX Runtime itself rejects inputs of wrong types. Unknown attributes are
//! ignored, except that `tau` or `alpha` on an operator without them is an error.
//!
//! ONNX stores `tau` and `alpha` as `f32`. They are read as the shortest decimal that rounds to that
//! `f32`, so that 0.1 gives the same results as 0.1 in `topk-ops`.
//!
//! # Threads
//!
//! A batch is split across the session's own intra-op threads; no other threads are started, and results
//! do not depend on the number of threads. A session may run on several threads at once.
//!
//! # On a GPU
//!
//! In a session with the CUDA provider of ONNX Runtime 1.18 or later, nodes whose scores are `float` and whose labels are
//! `int64` run on the GPU, by the kernels of [`topk_ops_cuda`] on ONNX Runtime's stream. Values are not checked there: a
//! sample with a score that is not finite, or a label that is not a class, has a loss and a gradient of NaN. A k that the
//! kernels do not support is an error when the session is created. For other types, ONNX Runtime copies the tensors to the
//! CPU and back. The library opens NVIDIA's driver when a node first runs on a GPU, and loads without one.
//!
//! ONNX Runtime registers a custom-op domain, without locking, when the first session that uses it is
//! created. Programs that create sessions concurrently must create one such session first.

mod ffi;
mod kernel;
mod operator;

pub use operator::RegisterCustomOps;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;

use crate::ffi::Api;
use crate::operator::Runtime;

/// Adds the operators to a session, without loading the library.
///
/// # Errors
/// If ONNX Runtime rejects them.
///
/// # Panics
/// If `ort` cannot load ONNX Runtime.
pub fn register(mut builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    let options = builder.ptr_mut();
    // SAFETY: the table of `ort` has a later version than required, and stays valid for the rest of the
    // process.
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
