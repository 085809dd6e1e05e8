//! CIFAR-100 (Krizhevsky, 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>), or a part of it in the
//! same layout, in memory.
//!
//! In the binary version, `train.bin` and `test.bin` are records of a coarse label, a fine label and
//! 3 × 32 × 32 pixels; `fine_label_names.txt` has a class name a line, in the order of the fine labels.

use std::borrow::Cow;
use std::path::Path;

use topk_image::Normalization;

pub use crate::Split;
use crate::cifar::SHAPE;
use crate::{DataError, Dataset, Format, Image, ImageSet, Options};

/// Mean and standard deviation that the seed code and most of the literature normalise with.
pub const NORMALIZATION: Normalization = Normalization {
    mean: [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0],
    std: [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0],
};

/// Reads one split into memory, from the folder with the files, the one above it, or an archive as
/// downloaded.
///
/// # Errors
/// If a file is absent, cut off, empty or has a label without a name.
pub fn load(root: &Path, split: Split) -> Result<Dataset, DataError> {
    let options = Options {
        format: Some(Format::Cifar100),
        split,
        ..Options::default()
    };
    let set = ImageSet::open(root, &options)?;
    let classes = (0..set.classes().len() as u32).map(|class| set.classes().name(class));
    let mut pixels = Vec::with_capacity(set.len() * SHAPE.iter().product::<usize>());
    for index in 0..set.len() {
        let (Image::Pixels { pixels: bytes, .. } | Image::Encoded(bytes)) = set.read(index)?;
        pixels.extend(bytes);
    }
    let labels = set.samples().iter().filter_map(|sample| sample.label);
    Ok(Dataset {
        class_names: classes.map(Cow::into_owned).collect(),
        shape: SHAPE,
        pixels,
        labels: labels.map(i64::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    const RECORD: usize = 2 + 3 * 32 * 32;

    fn sample() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/cifar100-sample")
    }

    #[test]
    fn reads_the_sample() {
        let train = load(&sample(), Split::Train).unwrap();
        let test = load(&sample(), Split::Test).unwrap();
        assert_eq!((train.len(), test.len()), (3440, 2000));
        assert_eq!(train.class_names.len(), 20);
        assert_eq!(train.class_names[17], "castle");
        for label in 0..20 {
            assert_eq!(train.labels.iter().filter(|&&l| l == label).count(), 172);
            assert_eq!(test.labels.iter().filter(|&&l| l == label).count(), 100);
        }
        let raw = fs::read(sample().join("test.bin")).unwrap();
        assert_eq!(test.labels[7], i64::from(raw[7 * RECORD + 1]));
        assert_eq!(test.image(7), &raw[7 * RECORD + 2..8 * RECORD]);
    }

    fn write(train: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("cifar-100-binary");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("fine_label_names.txt"), "a\nb\n").unwrap();
        fs::write(inner.join("train.bin"), train).unwrap();
        dir
    }

    fn error(train: &[u8]) -> String {
        load(write(train).path(), Split::Train)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn finds_the_folder_that_the_archive_unpacks_to() {
        let dir = write(&[0; RECORD]);
        assert_eq!(load(dir.path(), Split::Train).unwrap().len(), 1);
    }

    #[test]
    fn bad_files_are_named() {
        assert!(error(&[]).ends_with("train.bin is empty"));
        assert!(error(&[0; RECORD + 5]).contains("train.bin: 3079 bytes"));
        assert!(error(&[0; RECORD + 5]).contains("record 1 is cut off"));
        let mut record = [0; 2 * RECORD];
        record[RECORD + 1] = 2;
        assert!(error(&record).contains("record 1 has label 2, but there are 2 classes"));

        let dir = write(&[0; RECORD]);
        let missing = load(dir.path(), Split::Test).unwrap_err().to_string();
        assert!(missing.contains("test.bin"), "{missing}");
        let none = load(Path::new("/nowhere"), Split::Test)
            .unwrap_err()
            .to_string();
        assert!(none.starts_with("/nowhere holds no CIFAR-100"), "{none}");
    }
}
