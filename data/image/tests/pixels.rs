//! Pixels of the images in `tests/data` from `make_images.py` compared with Pillow's.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use topk_image::{Limits, Preprocessor, decode};
use topk_preprocessing::{CropMode, Interpolation, Pillow, Preprocessing, TimmConfig};

/// The first line: settings for the images that have crops.
#[derive(Deserialize)]
struct Recipes {
    crops: Vec<Preprocessing>,
    timm: Vec<Timm>,
}

#[derive(Deserialize)]
struct Timm {
    input_size: [u32; 2],
    crop_pct: f64,
    crop_mode: String,
    interpolation: Interpolation,
    mean: [f64; 3],
}

/// Pillow's result for an image. A crop that fails has no hash.
#[derive(Deserialize)]
struct Expected {
    file: String,
    width: u32,
    height: u32,
    rgb: String,
    #[serde(default)]
    crops: Vec<Option<String>>,
    #[serde(default)]
    timm: Vec<Option<String>>,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn recipe(timm: &Timm) -> Preprocessing {
    Preprocessing::timm(&TimmConfig {
        input_size: timm.input_size,
        crop_pct: timm.crop_pct,
        crop_mode: match timm.crop_mode.as_str() {
            "center" => CropMode::Center,
            "squash" => CropMode::Squash,
            "border" => CropMode::Border,
            mode => panic!("timm has no {mode}"),
        },
        interpolation: timm.interpolation,
        mean: timm.mean,
    })
    .unwrap()
}

fn pixels_agree(pillow: Pillow, file: &str) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let expected = fs::read_to_string(data.join(file)).unwrap();
    let (recipes, expected) = expected.split_once('\n').unwrap();
    let recipes: Recipes = serde_json::from_str(recipes).unwrap();
    let limits = Limits::default();
    let mut preprocessors: Vec<Preprocessor> = recipes
        .crops
        .into_iter()
        .chain(recipes.timm.iter().map(recipe))
        .map(|recipe| Preprocessor::new(Preprocessing { pillow, ..recipe }, limits).unwrap())
        .collect();

    let mut wrong = Vec::new();
    let (mut images, mut crops) = (0, 0);
    for line in expected.lines() {
        let expected: Expected = serde_json::from_str(line).unwrap();
        let name = &expected.file;
        let encoded = fs::read(data.join("images").join(name)).unwrap();
        images += 1;
        match decode(&encoded, &limits) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(image) => {
                let size = [image.width, image.height];
                let same = size == [expected.width, expected.height];
                if !same || sha256(&image.pixels) != expected.rgb {
                    wrong.push(format!("{name}: decoded to other pixels"));
                }
            }
        }
        let expected = expected.crops.iter().chain(&expected.timm);
        for (expected, preprocessor) in expected.zip(&mut preprocessors) {
            let preprocessing = *preprocessor.preprocessing();
            let found = preprocessor.crops(&encoded);
            let found = found.map(|crops| sha256(crops.pixels()));
            crops += 1;
            if found.as_ref().ok() != expected.as_ref() {
                wrong.push(format!("{name}: {preprocessing}: {found:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {images} images and {crops} crops:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!((images, crops), (80, 11 * 48));
}

#[test]
fn pixels_match_pillow_12() {
    pixels_agree(Pillow::V12, "pillow12.jsonl");
}

#[test]
fn pixels_match_pillow_13() {
    pixels_agree(Pillow::V13, "pillow13.jsonl");
}
