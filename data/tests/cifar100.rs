//! CIFAR-100 in the binary format, on the sample of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use topk_data::{DataError, Format, Image, ImageSet, Options, Split};

const RECORD: usize = 2 + 3 * 32 * 32;

fn load(root: &Path, split: Split) -> Result<ImageSet, DataError> {
    let options = Options {
        format: Some(Format::Cifar100),
        split,
        ..Options::default()
    };
    ImageSet::open(root, &options)
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/cifar100-sample")
}

#[test]
fn reads_the_sample() {
    let train = load(&sample(), Split::Train).unwrap();
    let test = load(&sample(), Split::Test).unwrap();
    assert_eq!((train.len(), test.len()), (3440, 2000));
    assert_eq!(train.classes().len(), 20);
    assert_eq!(train.classes().name(17), "castle");
    assert_eq!(train.class_counts(), [172; 20]);
    assert_eq!(test.class_counts(), [100; 20]);
    let raw = fs::read(sample().join("test.bin")).unwrap();
    let label = u32::from(raw[7 * RECORD + 1]);
    assert_eq!(test.samples()[7].label, Some(label));
    let image = Image::Pixels {
        shape: [3, 32, 32],
        pixels: raw[7 * RECORD + 2..8 * RECORD].to_vec(),
    };
    assert_eq!(test.read(7).unwrap(), image);
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
fn errors_name_the_file() {
    assert!(error(&[]).contains("train.bin is empty; download"));
    assert!(error(&[0; RECORD + 5]).contains("train.bin is truncated: 3079 bytes"));
    let mut record = [0; 2 * RECORD];
    record[RECORD + 1] = 2;
    assert!(error(&record).contains("record 1 has label 2, but there are 2 classes"));

    let dir = write(&[0; RECORD]);
    let missing = load(dir.path(), Split::Test).unwrap_err().to_string();
    assert!(missing.contains("test.bin"), "{missing}");
    let none = load(Path::new("/nowhere"), Split::Test)
        .unwrap_err()
        .to_string();
    assert!(
        none.starts_with("/nowhere does not contain CIFAR-100"),
        "{none}"
    );
}
