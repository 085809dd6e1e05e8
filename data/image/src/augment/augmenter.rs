use rand::Rng;

use super::planes::{Shown, normalize_shown};
use super::{Augmentation, AugmentationError, Canvas, Operation, RandomErasing, Step, grey};
use crate::decode::{Buffers, Request, decode_into};
use crate::limits::release;
use crate::{ImageError, Limits, NormalizationTable, RgbImage};
use topk_preprocessing::ImageMode;

/// Decodes and augments images one at a time; each thread has its own augmenter. Buffers are reused.
#[derive(Debug)]
pub struct Augmenter {
    augmentation: Augmentation,
    mode: ImageMode,
    limits: Limits,
    buffers: Buffers,
    /// The image before its augmentation, if it is not the caller's.
    decoded: RgbImage,
    operations: Vec<Operation>,
    canvas: Canvas,
}

/// An augmented image.
#[derive(Clone, Copy, Debug)]
pub struct Augmented<'a> {
    image: &'a RgbImage,
    operations: &'a [Operation],
    erasing: Option<RandomErasing>,
}

impl<'a> Augmented<'a> {
    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.image.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.image.height
    }

    /// `height × width × 3` values, red first.
    pub fn pixels(&self) -> &'a [u8] {
        &self.image.pixels
    }

    /// The operations that were applied.
    pub fn operations(&self) -> &'a [Operation] {
        self.operations
    }

    /// Writes the normalised values, `channels × height × width` with the channels of the table, after random erasing if
    /// it is configured.
    ///
    /// # Panics
    ///
    /// If `out` has another length.
    pub fn normalize(
        &self,
        table: &NormalizationTable,
        generator: &mut (impl Rng + ?Sized),
        out: &mut [f32],
    ) {
        table.normalize_interleaved(self.pixels(), out);
        if let Some(erasing) = self.erasing {
            erasing.apply([self.width(), self.height()], generator, out);
        }
    }
}

impl Augmenter {
    /// Creates an augmenter for images within these limits.
    ///
    /// # Errors
    ///
    /// If a value of the augmentation is out of range.
    pub fn new(augmentation: Augmentation, limits: Limits) -> Result<Self, AugmentationError> {
        let augmentation = augmentation.check()?;
        Ok(Self {
            canvas: Canvas::new(augmentation.pillow, limits),
            augmentation,
            mode: ImageMode::Rgb,
            limits,
            buffers: Buffers::default(),
            decoded: RgbImage::default(),
            operations: Vec::new(),
        })
    }

    /// Converts images to this mode before they are augmented, and the colours that transforms fill with.
    pub fn with_mode(mut self, mode: ImageMode) -> Self {
        self.mode = mode;
        if mode == ImageMode::L {
            for step in &mut self.augmentation.steps {
                if let Step::Timm(step) = step {
                    step.fill = [grey(step.fill); 3];
                }
            }
        }
        self
    }

    /// The augmentation.
    pub fn augmentation(&self) -> &Augmentation {
        &self.augmentation
    }

    /// Decodes and augments an image.
    ///
    /// # Errors
    ///
    /// If it cannot be decoded, takes more memory than allowed, or is smaller than a random crop.
    pub fn apply(
        &mut self,
        encoded: &[u8],
        generator: &mut (impl Rng + ?Sized),
    ) -> Result<Augmented<'_>, ImageError> {
        self.canvas.release();
        release(&mut self.decoded.pixels);
        let _reserved = decode_into(
            encoded,
            &self.limits,
            Request::WHOLE,
            &mut self.buffers,
            &mut self.decoded,
        )?;
        self.decoded.convert(self.mode);
        let size = [self.decoded.width, self.decoded.height];
        self.augmentation
            .draw(size, generator, &mut self.operations)?;
        let image = self.canvas.apply(&self.operations, &self.decoded)?;
        Ok(Augmented {
            image,
            operations: &self.operations,
            erasing: self.augmentation.erasing,
        })
    }

    /// Augments an image that has been decoded.
    ///
    /// # Errors
    ///
    /// If it has no pixels, takes more memory than allowed, or is smaller than a random crop.
    ///
    /// # Panics
    ///
    /// If the number of pixels is not width × height.
    pub fn apply_to(
        &mut self,
        image: &RgbImage,
        generator: &mut (impl Rng + ?Sized),
    ) -> Result<Augmented<'_>, ImageError> {
        let RgbImage { width, height, .. } = *image;
        if width == 0 || height == 0 {
            return Err(ImageError::NoPixels { width, height });
        }
        self.canvas.release();
        release(&mut self.decoded.pixels);
        self.augmentation
            .draw([width, height], generator, &mut self.operations)?;
        let image = match self.mode {
            ImageMode::Rgb => image,
            mode @ ImageMode::L => {
                let bytes = image.pixels.len() as u64;
                self.limits.check_bytes("converting the image", bytes)?;
                self.decoded.clone_from(image);
                self.decoded.convert(mode);
                &self.decoded
            }
        };
        let image = self.canvas.apply(&self.operations, image)?;
        Ok(Augmented {
            image,
            operations: &self.operations,
            erasing: self.augmentation.erasing,
        })
    }

    /// Draws the crop and the flip of an image of this width and height, for who applies them elsewhere; the random
    /// numbers are those of [`apply_to`](Self::apply_to). `None` if there are other operations.
    ///
    /// # Errors
    ///
    /// If the image is smaller than a random crop.
    pub fn draw_shown(
        &mut self,
        image: [u32; 2],
        generator: &mut (impl Rng + ?Sized),
    ) -> Result<Option<Shown>, ImageError> {
        self.augmentation
            .draw(image, generator, &mut self.operations)?;
        Ok(Shown::after(&self.operations, image))
    }

    /// Augments and normalises an image stored as planes (channels, height, width), such as those of CIFAR.
    /// The result is that of [`apply_to`](Self::apply_to) and [`Augmented::normalize`]; if there are only a
    /// crop and a flip, the planes need not be interleaved.
    ///
    /// # Errors
    ///
    /// As [`apply_to`](Self::apply_to).
    ///
    /// # Panics
    ///
    /// If there are not three planes of the size in `shape`, or if `out` does not have `channels × height × width`
    /// values for the size after [`Augmentation::size`] and the channels of the table.
    pub fn normalize_planes(
        &mut self,
        shape: [usize; 3],
        planes: &[u8],
        table: &NormalizationTable,
        generator: &mut (impl Rng + ?Sized),
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        let [channels, height, width] = shape;
        assert_eq!((channels, planes.len()), (3, 3 * height * width));
        let image = [width as u32, height as u32];
        if planes.is_empty() {
            let [width, height] = image;
            return Err(ImageError::NoPixels { width, height });
        }
        self.augmentation
            .draw(image, generator, &mut self.operations)?;
        let shown = Shown::after(&self.operations, image).filter(|_| self.mode.is_rgb());
        let size = match shown {
            Some(shown) => {
                normalize_shown(shown, image, planes, table, out);
                shown.size
            }
            None => {
                self.decoded = RgbImage::of_planes(shape, planes);
                self.decoded.convert(self.mode);
                let image = self.canvas.apply(&self.operations, &self.decoded)?;
                table.normalize_interleaved(&image.pixels, out);
                [image.width, image.height]
            }
        };
        if let Some(erasing) = self.augmentation.erasing {
            erasing.apply(size, generator, out);
        }
        Ok(())
    }
}
