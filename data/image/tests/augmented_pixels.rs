//! Augmented pixels of the images in `tests/data`, and mixed batches, compared with torchvision's from
//! `make_augmentations.py`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use topk_image::augment::{Canvas, Mix, Operation};
use topk_image::{Limits, decode};
use topk_preprocessing::Pillow;

/// The first line: operations applied to every image.
#[derive(Deserialize)]
struct Operations {
    operations: Vec<Vec<Operation>>,
}

/// torchvision's result for an image.
#[derive(Deserialize)]
struct Expected {
    file: String,
    /// Operations applied before.
    first: Vec<Operation>,
    /// Operations applied to this image only.
    crops: Vec<Vec<Operation>>,
    sha256: Vec<String>,
}

#[derive(Deserialize)]
struct Numbers {
    mixes: Vec<Mixed>,
}

#[derive(Deserialize)]
struct Mixed {
    kind: String,
    lambda: f64,
    center: Option<[u32; 2]>,
    /// Weight of the image's own label.
    left: Option<f64>,
    values: String,
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
fn pixels_match_torchvision_on_pillow_12() {
    pixels_agree(Pillow::V12, "augmented12.jsonl");
}

#[test]
fn pixels_match_torchvision_on_pillow_13() {
    pixels_agree(Pillow::V13, "augmented13.jsonl");
}

/// The first line of timm.jsonl.
#[derive(Deserialize)]
struct OfTimm {
    operations: Vec<Vec<Operation>>,
    mixtures: Vec<Mixture>,
}

/// Chains of operations, mixed by AugMix.
#[derive(Deserialize)]
struct Mixture {
    chains: Vec<Vec<Operation>>,
    weights: Vec<f32>,
    part: f32,
    /// Weights of chains that are blended one after the other.
    blended: Vec<f32>,
}

/// timm's results for an image, or the part of it between these columns and rows.
#[derive(Deserialize)]
struct PixelsOfTimm {
    file: String,
    r#box: Option<[u32; 4]>,
    sha256: Vec<String>,
}

#[test]
fn pixels_match_timm() {
    let expected = fs::read_to_string(data().join("timm.jsonl")).unwrap();
    let (common, expected) = expected.split_once('\n').unwrap();
    let common: OfTimm = serde_json::from_str(common).unwrap();
    let added = common.mixtures.iter().map(|mixture| {
        let mut operations = vec![Operation::BeginMix];
        for (chain, &weight) in mixture.chains.iter().zip(&mixture.weights) {
            operations.extend(chain);
            operations.push(Operation::AddToMix(weight));
        }
        operations.push(Operation::EndMix(mixture.part));
        operations
    });
    let blended = common.mixtures.iter().map(|mixture| {
        let mut operations = vec![Operation::BeginMix];
        for (chain, &weight) in mixture.chains.iter().zip(&mixture.blended) {
            operations.extend(chain);
            operations.push(Operation::BlendIntoMix(weight));
        }
        operations.push(Operation::EndBlendedMix);
        operations
    });
    let mixtures = added.chain(blended);
    let chains: Vec<_> = common.operations.into_iter().chain(mixtures).collect();
    let mut canvas = Canvas::new(Pillow::V13, Limits::default());
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in expected.lines() {
        let expected: PixelsOfTimm = serde_json::from_str(line).unwrap();
        let encoded = fs::read(data().join("images").join(&expected.file)).unwrap();
        let mut image = decode(&encoded, &Limits::default()).unwrap();
        if let Some([left, top, right, bottom]) = expected.r#box {
            let part = Operation::Crop {
                x: left.into(),
                y: top.into(),
                size: [right - left, bottom - top],
            };
            image = canvas.apply(&[part], &image).unwrap().clone();
        }
        assert_eq!(chains.len(), expected.sha256.len());
        for (chain, sha256_of_timm) in chains.iter().zip(&expected.sha256) {
            let found = canvas.apply(chain, &image).unwrap();
            if sha256(&found.pixels) != *sha256_of_timm {
                let size = [image.width, image.height];
                wrong.push(format!("{} {size:?}: {chain:?}", expected.file));
            }
            count += 1;
        }
    }
    let number = wrong.len();
    assert!(
        wrong.is_empty(),
        "{number} of {count}:\n{}",
        wrong.join("\n")
    );
    assert_eq!(count, 11 * 126);
}

/// torchvision adds in `f32`, in an order that depends on the processor: values near a half may be rounded to the other
/// side.
#[test]
fn blurs_match_torchvision_but_for_values_near_a_half() {
    #[derive(Deserialize)]
    struct Blur {
        file: String,
        kernel: u32,
        sigma: f64,
        pixels: String,
    }
    #[derive(Deserialize)]
    struct Blurs {
        blurs: Vec<Blur>,
    }
    let numbers = fs::read_to_string(data().join("timm.json")).unwrap();
    let numbers: Blurs = serde_json::from_str(&numbers).unwrap();
    let mut canvas = Canvas::new(Pillow::V13, Limits::default());
    let (mut values, mut different) = (0, 0);
    for blur in numbers.blurs {
        let encoded = fs::read(data().join("images").join(&blur.file)).unwrap();
        let image = decode(&encoded, &Limits::default()).unwrap();
        let (kernel, sigma) = (blur.kernel, blur.sigma);
        let operation = Operation::GaussianKernel { kernel, sigma };
        let found = canvas.apply(&[operation], &image).unwrap();
        let digits = blur.pixels.as_bytes().as_chunks::<2>().0.iter();
        let expected = digits.map(|digits| {
            let digits = std::str::from_utf8(digits).unwrap();
            u8::from_str_radix(digits, 16).unwrap()
        });
        assert_eq!(blur.pixels.len(), 2 * found.pixels.len());
        for (&found, expected) in found.pixels.iter().zip(expected) {
            values += 1;
            different += u32::from(found != expected);
            assert!(found.abs_diff(expected) <= 1, "{} {sigma}", blur.file);
        }
    }
    assert_eq!(values, 4 * 3 * (33 * 65 + 17 * 15));
    assert!(different <= 2, "{different} of {values}");
}

#[test]
fn batches_are_mixed_as_torchvision_mixes_them() {
    const IMAGE: usize = 3 * 6 * 10;
    let batch: Vec<f32> = (0..4 * IMAGE)
        .map(|i| (i * 7919 % 1009) as f32 / 1009.0)
        .collect();
    let numbers = fs::read_to_string(data().join("augmentation.json")).unwrap();
    let numbers: Numbers = serde_json::from_str(&numbers).unwrap();
    assert_eq!(numbers.mixes.len(), 30);
    // Partners are the previous images, as in torchvision.
    let partners = vec![3, 0, 1, 2];
    for expected in numbers.mixes {
        let lambda = expected.lambda;
        let mix = match (expected.kind.as_str(), expected.center) {
            ("mixup", None) => Mix::mixup(partners.clone(), lambda),
            ("cutmix", Some(center)) => Mix::cutmix(partners.clone(), lambda, center, [10, 6]),
            other => panic!("{other:?}"),
        };
        let left = expected.left.unwrap_or(lambda);
        assert!((mix.lambda() - left).abs() < 1e-7, "{lambda} {left}");
        let mut mixed = vec![f32::NAN; batch.len()];
        for (index, out) in mixed.chunks_exact_mut(IMAGE).enumerate() {
            mix.write(index, &batch, [10, 6], out);
        }
        let bytes: Vec<u8> = mixed.iter().flat_map(|value| value.to_le_bytes()).collect();
        let center = expected.center;
        assert_eq!(sha256(&bytes), expected.values, "{lambda} {center:?}");
    }
}
