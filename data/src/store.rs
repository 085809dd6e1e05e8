//! Where the images of a data set are read from.

use std::fmt;
use std::path::Path;

use crate::DataError;
use crate::sample::{Image, Sample};

/// Largest encoded image that is read. The largest of ImageNet has 15 MB.
pub(crate) const MAX_IMAGE_BYTES: u64 = 1 << 28;

/// Reads images, from any number of threads.
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Reads an image.
    fn read(&self, sample: &Sample) -> Result<Image, DataError>;

    /// Size of the encoded image in bytes; 0 where that would take reading it.
    fn size(&self, sample: &Sample) -> Result<u64, DataError>;

    /// Begins to read images that will be needed soon. Files on disk are left to the system.
    fn read_ahead(&self, _samples: &mut dyn Iterator<Item = &Sample>) {}

    /// The run of images that is read fastest from one to the next, such as a shard. `None` if any order is as fast.
    fn run(&self, _sample: &Sample) -> Option<u64> {
        None
    }
}

/// Checks that an image is not larger than [`MAX_IMAGE_BYTES`].
pub(crate) fn check_size(path: &Path, name: &str, size: u64) -> Result<(), DataError> {
    match size <= MAX_IMAGE_BYTES {
        true => Ok(()),
        false => Err(DataError::too_large(path, name, size, MAX_IMAGE_BYTES)),
    }
}
