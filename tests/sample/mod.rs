//! Parts of the CIFAR-100 sample.

use std::fs;
use std::path::Path;

const RECORD: usize = 2 + 3 * 32 * 32;

/// Writes the first `train` training images and `test` test images to a folder.
pub fn write(folder: &Path, train: usize, test: usize) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cifar100-sample");
    let names = "fine_label_names.txt";
    fs::copy(sample.join(names), folder.join(names)).unwrap();
    for (file, records) in [("train.bin", train), ("test.bin", test)] {
        let bytes = fs::read(sample.join(file)).unwrap();
        fs::write(folder.join(file), &bytes[..records * RECORD]).unwrap();
    }
}
