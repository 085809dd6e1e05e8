use super::Operation;
use crate::resize::Resampler;
use crate::{ImageError, Limits, RgbImage};
use topk_preprocessing::Pillow;

/// Does [`Operation`]s to one image after the other, each thread with its own. Buffers are kept.
#[derive(Debug)]
pub struct Canvas {
    pillow: Pillow,
    limits: Limits,
    resampler: Resampler,
    image: RgbImage,
    /// What was the image, or will be.
    other: RgbImage,
}

impl Canvas {
    /// Prepares for many images.
    pub fn new(pillow: Pillow, limits: Limits) -> Self {
        Self {
            pillow,
            limits,
            resampler: Resampler::default(),
            image: RgbImage::default(),
            other: RgbImage::default(),
        }
    }

    /// Does operations to an image, one after the other, and gives what comes out.
    ///
    /// # Errors
    ///
    /// If an image would take more memory than allowed.
    ///
    /// # Panics
    ///
    /// If there are not as many pixels as the width and height say, or none, if a crop has none, or if a
    /// part to be resized does not lie in the image.
    pub fn apply(
        &mut self,
        operations: &[Operation],
        source: &RgbImage,
    ) -> Result<&RgbImage, ImageError> {
        let pixels = source.width as usize * source.height as usize;
        assert!(pixels > 0 && source.pixels.len() == 3 * pixels);
        let Self {
            pillow,
            limits,
            resampler,
            image,
            other,
        } = self;
        let mut write = |operation: &Operation, from: &RgbImage, to: &mut RgbImage| {
            operation.apply(from, resampler, *pillow, limits, to)
        };
        // The first often takes little of a large image: only that is copied.
        let rest = match operations {
            [first, rest @ ..] if write(first, source, image)? => rest,
            all => {
                limits.check_bytes("augmenting it", source.pixels.len() as u64)?;
                image.clone_from(source);
                all
            }
        };
        for operation in rest {
            if !operation.apply_in_place(image) {
                std::mem::swap(image, other);
                write(operation, other, image)?;
            }
        }
        Ok(image)
    }
}
