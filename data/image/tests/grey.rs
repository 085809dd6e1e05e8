//! Grey images, crops of them and operations on them, compared with those of Pillow, torchvision and timm in mode L
//! from `make_grey.py`.

use std::fs;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use topk_image::augment::{Augmentation, Augmenter, Canvas, Operation, Step};
use topk_image::{ImageError, Limits, Preprocessor, RgbImage, decode};
use topk_preprocessing::{ImageMode, Pillow, Preprocessing};

/// The first line.
#[derive(Deserialize)]
struct Common {
    operations: Vec<Operation>,
    /// A colour, and what it is in grey.
    fill: ([u8; 3], u8),
}

/// The first 16 digits of hashes of a file's grey pixels.
#[derive(Deserialize)]
struct Expected {
    file: String,
    grey: String,
    crop: Option<String>,
    #[serde(default)]
    changed: Vec<String>,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The hash of one of the channels, which must be the same.
fn sha256(pixels: &[u8]) -> String {
    let (pixels, _) = pixels.as_chunks::<3>();
    assert!(pixels.iter().all(|[r, g, b]| r == g && g == b));
    let grey: Vec<u8> = pixels.iter().map(|pixel| pixel[0]).collect();
    let digest = Sha256::digest(grey);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn grey_pixels_match_pillow() {
    let limits = Limits::default();
    let preprocessing = Preprocessing {
        mode: ImageMode::L,
        ..Preprocessing::torchvision(40, 32)
    };
    assert_eq!(
        preprocessing.to_string(),
        "convert to L, resize shorter side to 40 (bilinear), centre crop of 32x32, as Pillow 13"
    );
    let mut preprocessor = Preprocessor::new(preprocessing, limits).unwrap();
    let augmenter = Augmenter::new(Augmentation::default(), limits).unwrap();
    let mut augmenter = augmenter.with_mode(ImageMode::L);
    let mut canvas = Canvas::new(Pillow::V13, limits);
    let lines = fs::read_to_string(data().join("grey.jsonl")).unwrap();
    let (common, lines) = lines.split_once('\n').unwrap();
    let Common { operations, .. } = serde_json::from_str(common).unwrap();
    let (mut images, mut others) = (0, 0);
    for line in lines.lines() {
        let expected: Expected = serde_json::from_str(line).unwrap();
        let name = &expected.file;
        let encoded = fs::read(data().join(name)).unwrap();
        let colours = match decode(&encoded, &limits) {
            Ok(image) => image,
            // Among them those with YCbCr or Lab pixels, of which Pillow takes the first channel.
            Err(ImageError::Unsupported { .. }) => continue,
            Err(error) => panic!("{name}: {error}"),
        };
        let mut image = colours.clone();
        image.convert(ImageMode::L);
        assert_eq!(sha256(&image.pixels), expected.grey, "{name}");
        images += 1;
        // From encoded and decoded images.
        let random = &mut ChaCha8Rng::seed_from_u64(0);
        let augmented = augmenter.apply(&encoded, random).unwrap();
        assert_eq!(augmented.pixels(), image.pixels, "{name}");
        let augmented = augmenter.apply_to(&colours, random).unwrap();
        assert_eq!(augmented.pixels(), image.pixels, "{name}");
        if let Some(expected) = &expected.crop {
            let crops = preprocessor.crops(&encoded).unwrap();
            assert_eq!(sha256(crops.pixels()), *expected, "{name}");
            let crops = preprocessor.crops_of(&colours).unwrap();
            assert_eq!(sha256(crops.pixels()), *expected, "{name}");
            others += 1;
        }
        for (operation, expected) in operations.iter().zip(&expected.changed) {
            let changed = canvas.apply(std::slice::from_ref(operation), &image);
            let pixels = &changed.unwrap().pixels;
            assert_eq!(sha256(pixels), *expected, "{name}: {operation:?}");
            others += 1;
        }
    }
    assert_eq!((images, others), (388, 1406));
}

#[test]
fn colours_that_fill_become_grey() {
    let lines = fs::read_to_string(data().join("grey.jsonl")).unwrap();
    let common: Common = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let ([red, green, blue], grey) = common.fill;
    let augmentation = format!("flip,aa:rand-m9:fill={red}-{green}-{blue}");
    let augmenter = Augmenter::new(augmentation.parse().unwrap(), Limits::default()).unwrap();
    let augmenter = augmenter.with_mode(ImageMode::L);
    let [_, Step::Timm(step)] = &augmenter.augmentation().steps[..] else {
        panic!("{augmentation}")
    };
    assert_eq!(step.fill, [grey; 3]);
}

/// Stored pixels are converted as encoded ones are.
#[test]
fn planes_become_grey() {
    use topk_image::NormalizationTable;
    use topk_preprocessing::Normalization;

    let planes: Vec<u8> = (0..3 * 6 * 5).map(|i| (i * 37 % 256) as u8).collect();
    let mut image = RgbImage::of_planes([3, 6, 5], &planes);
    image.convert(ImageMode::L);
    let table = NormalizationTable::new(&Normalization::CIFAR100.grey()).in_mode(ImageMode::L);
    let mut expected = [f32::NAN; 30];
    table.normalize_interleaved(&image.pixels, &mut expected);
    let augmenter = Augmenter::new(Augmentation::default(), Limits::default()).unwrap();
    let mut augmenter = augmenter.with_mode(ImageMode::L);
    let mut found = [f32::NAN; 30];
    let random = &mut ChaCha8Rng::seed_from_u64(0);
    augmenter
        .normalize_planes([3, 6, 5], &planes, &table, random, &mut found)
        .unwrap();
    assert_eq!(found, expected);
}
