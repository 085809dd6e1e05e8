//! Data loader for training and evaluation: prepares batches of images in parallel, ahead of the model.
//!
//! A batch is prepared by rayon's threads, each with its own [`Workers`] entry, so that decoders and
//! resamplers keep their memory from image to image. Batches then go through a bounded channel, in order:
//! training takes them from the iterator [`prefetch()`], evaluation lets several model sessions consume them
//! with [`process()`].

mod contained;
mod image;
mod prefetch;
mod process;
mod workers;

pub use contained::contained;
pub use image::{crops, decoded};
pub use prefetch::{Prefetch, prefetch};
pub use process::process;
pub use workers::Workers;
