//! Decoding, preprocessing and augmentation of images, bit-identical to torchvision on Pillow.
//!
//! A published accuracy can only be reproduced with the same pixels. [`Preprocessor`] decodes JPEG, PNG,
//! WebP, GIF, BMP, TIFF and PNM as Pillow's `Image.open(file).convert("RGB")` does, resizes with Pillow's
//! arithmetic and takes torchvision's or timm's crops. Only the part of the resized image that is visible in
//! a crop is computed. Files may come from untrusted sources: sizes are checked before memory is allocated.
//! [`augment`] has torchvision's random transforms for training.
//!
//! ```
//! use topk_image::{Limits, NormalizationTable, Preprocessor};
//! use topk_preprocessing::{Normalization, Preprocessing};
//!
//! let preprocessing = Preprocessing::torchvision(256, 224);
//! assert_eq!(
//!     preprocessing.to_string(),
//!     "resize shorter side to 256 (bilinear), centre crop of 224x224, as Pillow 13"
//! );
//! let mut preprocessor = Preprocessor::new(preprocessing, Limits::default())?;
//! # let encoded = include_bytes!("../tests/data/images/progressive.jpg");
//! let crops = preprocessor.crops(encoded)?; // the bytes of a file
//! assert_eq!(crops.pixels().len(), 224 * 224 * 3);
//!
//! let normalization = Normalization { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
//! let mut input = vec![0.0; 3 * 224 * 224];
//! crops.normalize(&NormalizationTable::new(&normalization), &mut input);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod augment;
mod crop;
mod decode;
mod error;
mod limits;
mod normalization;
mod preprocessor;
mod resize;

pub use decode::{RgbImage, decode};
pub use error::ImageError;
pub use limits::Limits;
pub use normalization::NormalizationTable;
pub use preprocessor::{CropPixels, Preprocessor};
