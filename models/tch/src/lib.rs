//! The networks of `topk-models` in libtorch, through tch.
//!
//! A [`Network`] is built from an [`Architecture`](topk_models::Architecture). It computes scores for
//! training and evaluation, and exchanges weights with a [`Checkpoint`](topk_models::Checkpoint).

mod compute;
mod network;
mod plan;
mod scores;
mod sync_batch_norm;
mod tensor;

pub use network::{LoadError, Mode, Network};
pub use scores::scores;
pub use sync_batch_norm::{BatchNormTensors, SyncBatchNorm};
pub use tensor::{tensor_of, weight_of};
