use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::logits::{Logits, LogitsError};

/// How far the logits of two models for the same images are apart.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LogitsDifference {
    /// Number of images.
    pub images: usize,
    /// The largest absolute difference.
    pub max: f64,
    /// Index of the first image that has it.
    pub index: u64,
    /// Its class.
    pub class: usize,
    /// Mean of the absolute differences over all images and classes that may be predicted.
    pub mean: f64,
}

/// Logits that cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DifferenceError {
    /// The numbers of images or classes differ.
    #[error(
        "the logits are of {} images and {} classes in the first file, and of {} and {} in the second",
        before[0], before[1], after[0], after[1]
    )]
    Shape {
        /// Number of images and classes in the first.
        before: [usize; 2],
        /// Number of images and classes in the second.
        after: [usize; 2],
    },
    /// The images differ.
    #[error(
        "row {row} is image {before} in the first file of logits, and image {after} in the second"
    )]
    Image {
        /// The row, from 0.
        row: usize,
        /// Index of its image in the first.
        before: u64,
        /// Index of its image in the second.
        after: u64,
    },
    /// A class may be predicted in only one of the files.
    #[error(
        "the logit of class {class} for image {index} is -inf in only one of the files of logits"
    )]
    Masked {
        /// Index of the image.
        index: u64,
        /// The class.
        class: usize,
    },
    /// The logits cannot be read.
    #[error(transparent)]
    Logits(#[from] LogitsError),
}

impl LogitsDifference {
    /// Compares the logits of two models, whose files must have the same images in the same order.
    ///
    /// # Errors
    /// If the images or classes differ, or a file cannot be read.
    pub fn measure(before: &Logits, after: &Logits) -> Result<Self, DifferenceError> {
        let shapes = [before, after].map(|logits| [logits.images(), logits.classes()]);
        if shapes[0] != shapes[1] {
            return Err(DifferenceError::Shape {
                before: shapes[0],
                after: shapes[1],
            });
        }
        let indices = before.indices().iter().zip(after.indices());
        if let Some((row, (&before, &after))) = indices.enumerate().find(|(_, (a, b))| a != b) {
            return Err(DifferenceError::Image { row, before, after });
        }
        let images = before.images();
        let mut difference = Self {
            images,
            max: 0.0,
            index: before.indices()[0],
            class: 0,
            mean: 0.0,
        };
        let (mut sum, mut compared) = (0.0, 0usize);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for row in 0..images {
            before.read(row, 1, &mut first)?;
            after.read(row, 1, &mut second)?;
            for (class, (&a, &b)) in first.iter().zip(&second).enumerate() {
                if a == b {
                    compared += usize::from(a > f32::NEG_INFINITY);
                    continue;
                }
                let index = before.indices()[row];
                let apart = (f64::from(a) - f64::from(b)).abs();
                if !apart.is_finite() {
                    return Err(DifferenceError::Masked { index, class });
                }
                if apart > difference.max {
                    (difference.max, difference.index, difference.class) = (apart, index, class);
                }
                sum += apart;
                compared += 1;
            }
        }
        difference.mean = sum / compared.max(1) as f64;
        Ok(difference)
    }
}
