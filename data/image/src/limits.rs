use std::sync::{Condvar, Mutex, PoisonError};

use crate::ImageError;

/// Limits on decoded images, checked against the header before memory is allocated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Largest number of pixels of an image.
    pub max_pixels: u64,
    /// Largest number of bytes allocated to decode an image, and at once to resize it. All images of the
    /// process that need over 256 MiB to be decoded are within this limit together: one waits until there
    /// is room for it.
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

    /// Reserves memory to decode an image with `bytes` bytes per pixel, after [`check`](Self::check). Waits
    /// for other threads that decode large images.
    pub(crate) fn reserve(
        &self,
        width: u32,
        height: u32,
        bytes: u64,
    ) -> Result<Reserved, ImageError> {
        self.check(width, height, bytes)?;
        let pixels = u64::from(width) * u64::from(height);
        self.reserve_bytes(pixels.saturating_mul(bytes))
    }

    /// Reserves this many bytes to decode an image.
    pub(crate) fn reserve_bytes(&self, bytes: u64) -> Result<Reserved, ImageError> {
        self.check_bytes("decoding the image", bytes)?;
        Ok(LARGE.reserve(bytes, self.max_bytes))
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

/// Images that need at most this many bytes to be decoded are not counted.
const SMALL: u64 = 256 << 20;

/// Bytes of all large images that the process decodes at the moment.
static LARGE: Budget = Budget {
    used: Mutex::new(0),
    freed: Condvar::new(),
};

struct Budget {
    used: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    /// Waits until `bytes` more are within `max`, or nothing else is reserved. A thread that holds a
    /// reservation must not request another.
    fn reserve(&'static self, bytes: u64, max: u64) -> Reserved {
        if bytes <= SMALL {
            return Reserved(None);
        }
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |used: &mut u64| *used > 0 && used.saturating_add(bytes) > max;
        let mut used = self
            .freed
            .wait_while(used, full)
            .unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
        Reserved(Some((self, bytes)))
    }
}

/// Memory for an image, until this is dropped.
#[must_use]
pub(crate) struct Reserved(Option<(&'static Budget, u64)>);

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some((budget, bytes)) = self.0 {
            *budget.used.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
            budget.freed.notify_all();
        }
    }
}

/// Frees a buffer that a large image left; smaller ones are kept for the next image.
pub(crate) fn release<T>(buffer: &mut Vec<T>) {
    /// What is freed is returned to the operating system: `malloc` maps such blocks separately.
    const KEPT: usize = 32 << 20;
    if buffer.capacity() * size_of::<T>() > KEPT {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[test]
    fn large_images_wait_for_each_other() {
        static BUDGET: Budget = Budget {
            used: Mutex::new(0),
            freed: Condvar::new(),
        };
        static NOW: AtomicU64 = AtomicU64::new(0);
        static MOST: AtomicU64 = AtomicU64::new(0);
        let large = SMALL + 1;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _reserved = BUDGET.reserve(large, 3 * large);
                    MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    NOW.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=3).contains(&MOST.load(Ordering::SeqCst)));
        assert_eq!(*BUDGET.used.lock().unwrap(), 0);
        // Small images are not counted, and one image alone never waits.
        let _small = BUDGET.reserve(SMALL, 0);
        let _alone = BUDGET.reserve(10 * large, 0);
    }

    #[test]
    fn only_large_buffers_are_released() {
        let mut buffer = vec![0u8; 1 << 20];
        release(&mut buffer);
        assert_eq!(buffer.len(), 1 << 20);
        let mut buffer = vec![0u32; 9 << 20];
        release(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
    }
}
