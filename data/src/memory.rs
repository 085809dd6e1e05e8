//! Data sets that a program makes in memory.

use std::path::PathBuf;

use topk_labels::Classes;

use crate::listing::Listing;
use crate::sample::{Image, Sample};
use crate::store::Store;
use crate::{DataError, Format, ImageSet, Warnings};

/// Channels of images as pixels.
const CHANNELS: usize = 3;

#[derive(Debug)]
struct Memory(Vec<Image>);

impl Store for Memory {
    fn read(&self, sample: &Sample) -> Result<Image, DataError> {
        Ok(self.0[sample.slot].clone())
    }

    fn size(&self, sample: &Sample) -> Result<u64, DataError> {
        let (Image::Encoded(bytes) | Image::Pixels { pixels: bytes, .. }) = &self.0[sample.slot];
        Ok(bytes.len() as u64)
    }
}

impl ImageSet {
    /// A data set of images in memory, each with its label, an index into `classes`. Images are named by their index, in
    /// five digits or more; `name` stands for the path in descriptions and errors.
    ///
    /// # Errors
    /// If a label is not the index of a class, or the number of pixels is not that of the shape, which must have three
    /// channels.
    pub fn in_memory(
        name: &str,
        classes: Vec<String>,
        images: impl IntoIterator<Item = (u32, Image)>,
    ) -> Result<Self, DataError> {
        let mut samples = Vec::new();
        let mut stored = Vec::new();
        for (index, (label, image)) in images.into_iter().enumerate() {
            let fail = |reason: String| DataError::Memory {
                name: name.to_owned(),
                index,
                reason,
            };
            if label as usize >= classes.len() {
                let classes = classes.len();
                return Err(fail(format!(
                    "its label {label} is not below the number of classes, {classes}"
                )));
            }
            if let Image::Pixels { shape, pixels } = &image
                && (shape[0] != CHANNELS || shape.iter().product::<usize>() != pixels.len())
            {
                let [channels, height, width] = shape;
                return Err(fail(format!(
                    "it has {} bytes of pixels and the shape {channels}x{height}x{width}; expected \
                     {CHANNELS} channels, and one byte for each value",
                    pixels.len()
                )));
            }
            samples.push(Sample {
                name: format!("{index:05}"),
                label: Some(label),
                slot: index,
            });
            stored.push(image);
        }
        let listing = Listing {
            path: PathBuf::from(name),
            labels: None,
            classes: Classes::Named(classes),
            samples,
            store: Box::new(Memory(stored)),
        };
        Ok(Self::of_listing(
            Format::Memory,
            listing,
            Warnings::default(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(shape: [usize; 3], bytes: usize) -> Image {
        Image::Pixels {
            shape,
            pixels: (0..bytes).map(|byte| byte as u8).collect(),
        }
    }

    fn set(label: u32, image: Image) -> Result<ImageSet, DataError> {
        let classes = ["cat", "dog"].map(str::to_owned).into();
        let first = (0, Image::Encoded(b"JPEG".to_vec()));
        ImageSet::in_memory("drawn", classes, [first, (label, image)])
    }

    #[test]
    fn images_in_memory_are_a_data_set() {
        let set = set(1, pixels([3, 2, 4], 24)).unwrap();
        assert_eq!(
            set.description().to_string(),
            "drawn (memory): 2 images, 2 classes"
        );
        assert_eq!(set.class_counts(), [1, 1]);
        assert_eq!(set.samples()[1].name, "00001");
        assert_eq!(set.read(1).unwrap(), pixels([3, 2, 4], 24));
        assert!(!set.is_remote() && set.runs().is_none());
        let other = set.sha256().unwrap();
        assert_ne!(set.contents_sha256().unwrap(), other);
    }

    #[test]
    fn labels_and_pixels_must_fit() {
        let error = |label, image| set(label, image).unwrap_err().to_string();
        assert_eq!(
            error(2, pixels([3, 2, 4], 24)),
            "image 1 of drawn: its label 2 is not below the number of classes, 2"
        );
        assert_eq!(
            error(1, pixels([3, 2, 4], 23)),
            "image 1 of drawn: it has 23 bytes of pixels and the shape 3x2x4; expected 3 channels, and one byte for each \
             value"
        );
        assert!(error(1, pixels([1, 2, 4], 8)).contains("the shape 1x2x4"));
    }
}
