use crate::ImageError;

/// Limits on decoded images, checked against the header before memory is allocated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Largest number of pixels of an image.
    pub max_pixels: u64,
    /// Largest number of bytes allocated at once to decode or resize an image.
    pub max_bytes: u64,
}

/// Pillow's limit for decompression bombs, and 2 GiB.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 178_956_970,
            max_bytes: 2 << 30,
        }
    }
}

impl Limits {
    /// Checks that an image is neither empty nor too large, at `bytes` bytes per pixel.
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
        self.check_bytes("decoding the image", pixels.saturating_mul(bytes))
    }

    /// Checks that an allocation is within the limit.
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
