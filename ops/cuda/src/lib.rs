//! The losses of `topk-ops` as CUDA kernels, on scores in device memory.
//!
//! A kernel reads each row of scores once and writes its gradient once. [`Batch`] describes the inputs;
//! [`Batch::loss`] puts the computation on a stream of the caller's, in Rust, and the functions of
//! `include/topk_cuda.h` do in C. Nothing allocates device memory, copies or waits.
//!
//! ```no_run
//! use topk_ops::{Reduction, SmoothTopkSvm};
//! use topk_ops_cuda::{Batch, Gradient, ScoreType, Stream};
//!
//! # fn allocate(bytes: usize) -> *mut std::ffi::c_void { std::ptr::null_mut() }
//! # let (scores, labels) = (allocate(4), allocate(4));
//! let batch = Batch {
//!     loss: SmoothTopkSvm::new(5, 1.0, 1.0)?.into(),
//!     reduction: Reduction::Mean,
//!     ignore_index: None,
//!     score_type: ScoreType::F32,
//!     samples: 256,
//!     classes: 1000,
//!     scores,
//!     scores_stride: 1000,
//!     labels: labels.cast(),
//!     class_weights: std::ptr::null(),
//! };
//! let gradient = Gradient { memory: allocate(256 * 1000 * 4), stride: 1000 };
//! let workspace = allocate(batch.workspace_bytes());
//! // All of this memory is on the device of the default stream.
//! unsafe { batch.loss(allocate(4).cast(), Some(gradient), workspace, Stream::DEFAULT)? };
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Scores are `f32`, `f16` or `bf16`, and the arithmetic is that of `topk-ops` for `f32`, with the few numbers per
//! sample in `f64`. Results do not depend on the scheduling of threads. The losses are
//! those of [`KernelLoss`].
//!
//! # Contexts and streams
//!
//! The kernels run in the context of the stream. For a default stream, that is the current context if it belongs to
//! the device of the scores, and otherwise the primary context of that device, in which PyTorch and ONNX Runtime
//! work. No context is created, and that of the caller is current again afterwards.
//!
//! # CUDA graphs
//!
//! A launch may be captured into a graph, and so may the first one, for which the driver compiles the kernel. To
//! keep that second out of the first step, call [`Batch::prepare`] before.
//!
//! # Without a GPU
//!
//! The driver is opened when it is first needed. Where it is missing, calls return [`DriverError::NoDriver`].

mod arguments;
mod batch;
mod c;
mod driver;
mod kernels;
mod loss;
pub mod plan;
pub mod ptx;

pub use batch::{Batch, Gradient, Upstream};
pub use driver::{DriverError, Stream};
pub use loss::{KernelLoss, ScoreType};

use thiserror::Error;

/// Whether NVIDIA's driver is installed and new enough. This does not tell whether there is a GPU.
pub fn is_available() -> bool {
    driver::Driver::get().is_ok()
}

/// A loss cannot be computed on the device.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CudaError {
    /// The kernels do not support the batch.
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    /// The driver is missing or failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The library is damaged.
    #[error(transparent)]
    Ptx(#[from] ptx::DamagedPtx),
}
