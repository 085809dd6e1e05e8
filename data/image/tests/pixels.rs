//! Pixels of the images in `tests/data` from `make_images.py` and `make_formats.py` compared with Pillow's.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use topk_image::{ImageError, Limits, Preprocessor, decode};
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

/// What one version of Pillow makes of a file; nothing if it does not read it.
#[derive(Deserialize)]
struct Format {
    file: String,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    rgb: Option<String>,
}

/// Files that Pillow reads and `decode` rejects, all of them by name.
const REJECTED: [&str; 11] = [
    "grey_float_lzw_mm.tif",
    "grey_signed_16_lzw_mm.tif",
    "grey_signed_32_lzw_mm.tif",
    "group_3.tif",
    "jpeg_ycbcr_planes.tif",
    "lab.tif",
    "one_black.bmp",
    "rle4_odd.bmp",
    "rle8_black_white.bmp",
    "ycbcr_lzw.tif",
    "ycbcr_raw.tif",
];

/// Files that are read here and not by Pillow: BigTIFF in big-endian byte order.
const ONLY_HERE: [&str; 1] = ["big_mm.tif"];

#[test]
fn every_tiff_bmp_and_pnm_has_the_pixels_of_pillow_or_is_rejected_by_name() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let read = |version| {
        let lines = fs::read_to_string(data.join(format!("formats{version}.jsonl"))).unwrap();
        let parse = |line| serde_json::from_str::<Format>(line).unwrap();
        lines.lines().map(parse).collect::<Vec<_>>()
    };
    let limits = Limits::default();
    let (mut wrong, mut compared, mut rejected) = (vec![], 0, 0);
    for (old, new) in std::iter::zip(read(12), read(13)) {
        let name = &old.file;
        assert_eq!(*name, new.file);
        let encoded = fs::read(data.join("formats").join(name)).unwrap();
        match decode(&encoded, &limits) {
            Ok(image) => {
                let rgb = sha256(&image.pixels);
                let read: Vec<&Format> = [&old, &new]
                    .into_iter()
                    .filter(|f| f.rgb.is_some())
                    .collect();
                compared += 1;
                let same = read.iter().all(|format| {
                    let size = [format.width, format.height];
                    size == [image.width, image.height] && format.rgb.as_ref() == Some(&rgb)
                });
                if !same || read.is_empty() && !ONLY_HERE.contains(&name.as_str()) {
                    wrong.push(format!("{name}: decoded to other pixels"));
                }
            }
            Err(error) => {
                rejected += 1;
                let text = error.to_string();
                let by_name = matches!(error, ImageError::Unsupported { .. });
                let read = old.rgb.is_some() || new.rgb.is_some();
                if read && !(by_name && REJECTED.contains(&name.as_str())) {
                    wrong.push(format!("{name}: {text}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {compared} images, {rejected} rejected:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!((compared, rejected), (309, 40));
}

#[test]
fn pixels_match_pillow_12() {
    pixels_agree(Pillow::V12, "pillow12.jsonl");
}

#[test]
fn pixels_match_pillow_13() {
    pixels_agree(Pillow::V13, "pillow13.jsonl");
}
