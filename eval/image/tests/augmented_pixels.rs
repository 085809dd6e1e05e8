//! Augmented pixels of the images in `tests/data` against those that torchvision made in
//! `make_augmentations.py`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use topk_image::augment::{Canvas, Operation};
use topk_image::{Limits, Pillow, decode};

/// The first line: what was done to every image.
#[derive(Deserialize)]
struct Operations {
    operations: Vec<Vec<Operation>>,
}

/// What torchvision made of an image.
#[derive(Deserialize)]
struct Expected {
    file: String,
    /// What was done to it before.
    first: Vec<Operation>,
    /// What was done to this one alone.
    crops: Vec<Vec<Operation>>,
    sha256: Vec<String>,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The first 16 digits.
fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn pixels_agree(pillow: Pillow, file: &str) {
    let expected = fs::read_to_string(data().join(file)).unwrap();
    let (common, expected) = expected.split_once('\n').unwrap();
    let common: Operations = serde_json::from_str(common).unwrap();
    let mut canvas = Canvas::new(pillow, Limits::default());
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in expected.lines() {
        let expected: Expected = serde_json::from_str(line).unwrap();
        let name = &expected.file;
        let encoded = fs::read(data().join("images").join(name)).unwrap();
        let image = decode(&encoded, &Limits::default()).unwrap();
        let image = canvas.apply(&expected.first, &image).unwrap().clone();
        let chains = common.operations.iter().chain(&expected.crops);
        assert_eq!(chains.clone().count(), expected.sha256.len());
        for (chain, expected) in chains.zip(&expected.sha256) {
            let found = canvas.apply(chain, &image).unwrap();
            if sha256(&found.pixels) != *expected {
                let size = [image.width, image.height];
                wrong.push(format!("{name} {size:?}: {chain:?}"));
            }
            count += 1;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(count, 3549);
}

#[test]
fn pixels_are_those_of_torchvision_on_pillow_12() {
    pixels_agree(Pillow::V12, "augmented12.jsonl");
}

#[test]
fn pixels_are_those_of_torchvision_on_pillow_13() {
    pixels_agree(Pillow::V13, "augmented13.jsonl");
}
