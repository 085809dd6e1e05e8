//! Preprocessing settings as data, shared by training, export and evaluation.
//!
//! This crate is the only home of these types: what reads or computes pixels (`topk-image`), model
//! metadata (`topk-onnx`), result files (`topk-results`) and all command lines use them. It decodes
//! nothing and knows no file format.
//!
//! With the crate feature `clap`, the enums implement `clap::ValueEnum`, so that the same flag has the same
//! values and the same help in every program.
//!
//! ```
//! use topk_preprocessing::{Normalization, Preprocessing, Resize, parse_input_size};
//!
//! let preprocessing = Preprocessing::torchvision(256, 224);
//! assert_eq!(preprocessing.resize, Resize::ShorterSide(256));
//! assert_eq!(
//!     preprocessing.to_string(),
//!     "resize shorter side to 256 (bilinear), centre crop of 224x224, as Pillow 13"
//! );
//! assert_eq!(parse_input_size("192x256"), Ok([192, 256])); // height, width
//! assert_eq!(Normalization::IMAGENET.mean, [0.485, 0.456, 0.406]);
//! ```

mod channels;
mod crop;
mod image_mode;
mod interpolation;
mod normalization;
mod parse;
mod pillow;
mod preprocessing;
mod preset;
mod resize;
mod torchvision_weights;

pub use channels::{ChannelOrder, PixelRange, PixelRangeError};
pub use crop::{Crop, CropMode, Crops, Halves};
pub use image_mode::ImageMode;
pub use interpolation::Interpolation;
pub use normalization::{Normalization, NormalizationError};
pub use parse::{ParseChannelsError, ParseInputSizeError, parse_channels, parse_input_size};
pub use pillow::Pillow;
pub use preprocessing::{Preprocessing, PreprocessingError, TimmConfig};
pub use preset::{Geometry, Preset};
pub use resize::{Resize, ResizeError};
