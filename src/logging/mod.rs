//! What a run reports beside its log: steps, and images for TensorBoard.

mod pictures;
mod settings;
mod steps;

pub(crate) use pictures::labeled_images;
pub use settings::{LogFormat, LoggingSettings};
pub(crate) use steps::{Logged, StepLog};
