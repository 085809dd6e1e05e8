use crate::ImageError;

/// What may be decoded. Checked before memory is taken, against what the header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Pixels of an image.
    pub max_pixels: u64,
    /// Bytes that decoding an image, or resizing it, takes at a time.
    pub max_bytes: u64,
}

/// [`max_pixels`](Limits::max_pixels) as in Pillow, which refuses larger images as decompression bombs,
/// and 2 GiB.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 178_956_970,
            max_bytes: 2 << 30,
        }
    }
}

impl Limits {
    /// Refuses images that are empty or too large, `bytes` being taken for a pixel.
    pub(crate) fn check(&self, width: u32, height: u32, bytes: u64) -> Result<(), ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::NoPixels { width, height });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels {
            return Err(ImageError::TooManyPixels {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        self.check_bytes("decoding it", pixels.saturating_mul(bytes))
    }

    /// Refuses what takes too much memory.
    pub(crate) fn check_bytes(&self, what: &'static str, bytes: u64) -> Result<(), ImageError> {
        if bytes > self.max_bytes {
            return Err(ImageError::TooLarge {
                what,
                bytes,
                limit: self.max_bytes,
            });
        }
        Ok(())
    }
}
