//! Training on several ranks with libtorch's c10d, the engine of PyTorch's `DistributedDataParallel`.
//!
//! A rank is a process with a copy of the network and, usually, a GPU of its own. The ranks find each other through a
//! store, a small key-value server that rank 0 or a launcher such as torchrun hosts. [`Group::connect`] joins them.
//! A [`Reducer`] averages gradients over the ranks while the backward pass still computes others.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (rendezvous, parameters): (topk_distributed::Rendezvous, Vec<tch::Tensor>) = todo!();
//! # let loss = || -> tch::Tensor { todo!() };
//! use topk_distributed::{Group, Reducer, ReducerOptions};
//!
//! let group = Group::connect(&rendezvous, tch::Device::Cpu)?;
//! group.broadcast(&parameters.iter().collect::<Vec<_>>(), 0)?;
//! let mut reducer = Reducer::new(&group, &parameters, ReducerOptions::default())?;
//! for _ in 0..10 {
//!     reducer.prepare()?;
//!     let backward = reducer.backward(&loss());
//!     backward.map_err(|error| group.diagnose(&error))?;
//!     // … and a step of the optimizer.
//! }
//! group.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! All ranks must call the same operations in the same order. When a rank is killed or hangs, operations of the others
//! fail within the group's time-out, and [`Group::diagnose`] names it.

mod batch_norm;
mod error;
mod group;
mod join;
mod nccl;
mod reducer;
mod store;
mod watch;

pub use batch_norm::{BatchNorm, sync_batch_norm};
pub use error::DistributedError;
pub use group::{Group, Op, Work};
pub use join::Rendezvous;
pub use nccl::has_nccl;
pub use reducer::{Bucket, Reducer, ReducerOptions, ReducerStats};
