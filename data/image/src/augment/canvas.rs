use super::Operation;
use super::operation::blend;
use crate::limits::release;
use crate::resize::Resampler;
use crate::{ImageError, Limits, RgbImage};
use topk_preprocessing::Pillow;

/// Applies [`Operation`]s to images one at a time; each thread has its own canvas. Buffers are reused,
/// unless a large image left them.
#[derive(Debug)]
pub struct Canvas {
    pillow: Pillow,
    limits: Limits,
    resampler: Resampler,
    image: RgbImage,
    /// The previous or the next image.
    other: RgbImage,
    mixture: Mixture,
}

/// An image, and the weighted sum of what chains of operations make of it.
#[derive(Debug, Default)]
struct Mixture {
    image: RgbImage,
    sums: Vec<f32>,
    /// The mixture so far, if chains are blended one after the other; else empty.
    blended: Vec<u8>,
}

impl Mixture {
    /// Applies an operation of mixtures; returns whether it is one.
    fn apply(&mut self, operation: &Operation, image: &mut RgbImage) -> bool {
        match *operation {
            Operation::BeginMix => {
                self.image.clone_from(image);
                self.sums.clear();
                self.sums.resize(image.pixels.len(), 0.0);
                self.blended.clear();
            }
            Operation::AddToMix(weight) => {
                assert_eq!(self.sums.len(), image.pixels.len(), "{operation:?}");
                for (sum, &value) in self.sums.iter_mut().zip(&image.pixels) {
                    *sum += weight * f32::from(value);
                }
                image.clone_from(&self.image);
            }
            Operation::EndMix(part) => {
                assert_eq!(self.sums.len(), image.pixels.len(), "{operation:?}");
                for (value, &sum) in image.pixels.iter_mut().zip(&self.sums) {
                    // Truncated.
                    *value = blend(*value, sum.clamp(0.0, 255.0) as u8, part);
                }
                self.sums.clear();
            }
            Operation::BlendIntoMix(weight) => {
                if self.blended.is_empty() {
                    self.blended.extend_from_slice(&self.image.pixels);
                }
                assert_eq!(self.blended.len(), image.pixels.len(), "{operation:?}");
                for (value, &changed) in self.blended.iter_mut().zip(&image.pixels) {
                    *value = blend(*value, changed, weight);
                }
                image.clone_from(&self.image);
            }
            Operation::EndBlendedMix => {
                assert_eq!(self.blended.len(), image.pixels.len(), "{operation:?}");
                image.pixels.copy_from_slice(&self.blended);
                self.blended.clear();
            }
            _ => return false,
        }
        true
    }

    fn release(&mut self) {
        release(&mut self.image.pixels);
        release(&mut self.sums);
        release(&mut self.blended);
    }
}

impl Canvas {
    /// Creates a canvas for images within these limits.
    pub fn new(pillow: Pillow, limits: Limits) -> Self {
        Self {
            pillow,
            limits,
            resampler: Resampler::default(),
            image: RgbImage::default(),
            other: RgbImage::default(),
            mixture: Mixture::default(),
        }
    }

    /// Frees what a large image left.
    pub(super) fn release(&mut self) {
        release(&mut self.image.pixels);
        release(&mut self.other.pixels);
        self.mixture.release();
        self.resampler.release();
    }

    /// Applies operations to an image in order, and returns the result.
    ///
    /// # Errors
    ///
    /// If an image needs more memory than allowed.
    ///
    /// # Panics
    ///
    /// If the number of pixels is 0 or not width × height, if a crop is empty, or if a part to resize is not
    /// inside the image, or if a mixture ends that has not begun or whose chains change its size.
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
            mixture,
        } = self;
        let mut write = |operation: &Operation, from: &RgbImage, to: &mut RgbImage| {
            operation.apply(from, resampler, *pillow, limits, to)
        };
        // The first operation often takes a small part of a large image: only that is copied.
        let rest = match operations {
            [first, rest @ ..] if write(first, source, image)? => rest,
            all => {
                limits.check_bytes("augmenting the image", source.pixels.len() as u64)?;
                image.clone_from(source);
                all
            }
        };
        for operation in rest {
            if *operation == Operation::BeginMix {
                // The image, a sum of four bytes per value, and a blended mixture.
                let bytes = 6 * image.pixels.len() as u64;
                limits.check_bytes("mixing augmentations", bytes)?;
            }
            if !mixture.apply(operation, image) && !operation.apply_in_place(image) {
                std::mem::swap(image, other);
                write(operation, other, image)?;
            }
        }
        Ok(image)
    }
}
