//! Pixels of real images compared with torchvision on Pillow 12 and 13.

use std::fs;

use serde_json::Value;
use sha2::{Digest, Sha256};
use topk_image::{Limits, Preprocessor, decode};
use topk_preprocessing::{Interpolation, Pillow, Preprocessing};
use topk_testing::shared;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn pixels_agree(pillow: Pillow, golden: &str) {
    let Some(shared) = shared("") else { return };
    let golden = fs::read_to_string(shared.join("golden").join(golden)).unwrap();
    let preprocessing = Preprocessing {
        pillow,
        ..Preprocessing::torchvision(256, 224)
    };
    let limits = Limits::default();
    let mut bilinear = Preprocessor::new(preprocessing, limits).unwrap();
    let mut bicubic = Preprocessor::new(
        Preprocessing {
            interpolation: Interpolation::Bicubic,
            ..preprocessing
        },
        limits,
    )
    .unwrap();
    let images = golden.lines().skip(1);
    let mut count = 0;
    for line in images {
        let expected: Value = serde_json::from_str(line).unwrap();
        let file = expected["file"].as_str().unwrap();
        let encoded = fs::read(shared.join("data/imagenet-sample").join(file)).unwrap();
        let image = decode(&encoded, &limits).unwrap();
        assert_eq!(
            [image.width, image.height].map(Value::from),
            [expected["width"].clone(), expected["height"].clone()]
        );
        assert_eq!(sha256(&image.pixels), expected["rgb"], "{file} decoded");
        let crops = [
            ("crop_bilinear", &mut bilinear),
            ("crop_bicubic", &mut bicubic),
        ];
        for (name, preprocessor) in crops {
            let crops = preprocessor.crops(&encoded).unwrap();
            assert_eq!(sha256(crops.pixels()), expected[name], "{file} {name}");
        }
        count += 1;
    }
    assert_eq!(count, 300);
}

#[test]
fn pixels_match_pillow_12() {
    pixels_agree(Pillow::V12, "imagenet-sample.pillow12.jsonl");
}

#[test]
fn pixels_match_pillow_13() {
    pixels_agree(Pillow::V13, "imagenet-sample.pillow13.jsonl");
}
