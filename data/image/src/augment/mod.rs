//! Augmentation of training images, bit-identical to torchvision on Pillow.
//!
//! An [`Augmentation`] describes random transforms. For each image, an [`Augmenter`] draws [`Operation`]s and
//! their parameters from it, and a [`Canvas`] applies them; given the same parameters, the pixels are those
//! of torchvision 0.26 on x86-64. [`Mixing`] then mixes the images of a batch.
//!
//! All random numbers come from the caller's generator. With one generator per image, the pixels do not
//! depend on the number of threads.
//!
//! ```
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//! use topk_image::augment::{Augmentation, Augmenter};
//! use topk_image::{Limits, NormalizationTable};
//! use topk_preprocessing::Normalization;
//!
//! let augmentation: Augmentation = "resized-crop:224,flip,rand-augment:2:9".parse()?;
//! let mut augmenter = Augmenter::new(augmentation, Limits::default())?;
//! let mut generator = ChaCha8Rng::seed_from_u64(0);
//! # let encoded = include_bytes!("../../tests/data/images/progressive.jpg");
//! let image = augmenter.apply(encoded, &mut generator)?; // the bytes of a file
//! assert_eq!([image.width(), image.height()], [224, 224]);
//!
//! let mut input = vec![0.0; 3 * 224 * 224];
//! image.normalize(&NormalizationTable::new(&Normalization::IMAGENET), &mut generator, &mut input);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod augmenter;
mod blur;
mod canvas;
mod crop;
mod erasing;
mod error;
mod jitter;
mod keep_ratio_crop;
mod mix;
mod operation;
mod planes;
mod policy;
mod resized_crop;
mod spec;
#[cfg(test)]
mod statistics;
mod text;
mod timm;

pub use augmenter::{Augmented, Augmenter};
pub use blur::RandomGaussianBlur;
pub use canvas::Canvas;
pub use crop::{RandomCrop, RandomGrey, RandomHorizontalFlip, RandomVerticalFlip};
pub use erasing::{ErasingValue, RandomErasing};
pub use error::AugmentationError;
pub use jitter::ColorJitter;
pub use keep_ratio_crop::{KeepRatioCrop, Place};
pub use mix::{Mix, Mixing};
pub use operation::{Operation, Rect};
pub(crate) use operation::{grey, to_grey};
pub use planes::Shown;
pub use policy::{RandAugment, TrivialAugmentWide};
pub use resized_crop::RandomResizedCrop;
pub use spec::{Augmentation, Step};
pub use timm::{AutoPolicy, RandSet, TimmAugment, TimmPolicy};
