//! Real weights, from their files to the classes that they find in real images.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use serde_json::Value;
use topk_eval::Model;
use topk_image::{Limits, Preprocessing, Preprocessor};
use topk_models::{Checkpoint, ExportOptions, export, images};
use topk_native::{Device, Runtime};
use topk_onnx::ModelCard;
use topk_testing::skip;
use topk_weights::StateDict;

const BATCH: usize = 25;

/// The classes that onnxruntime finds in the images with the same weights, in files that others made.
fn golden(shared: &Path) -> Vec<Value> {
    let golden = shared.join("golden/imagenet-sample.pillow13.jsonl");
    let lines = fs::read_to_string(golden).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A file of weights, unpacked into `folder` if need be.
fn unpacked(file: &Path, folder: &Path) -> PathBuf {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return file.to_owned();
    }
    let out = folder.join(file.file_stem().unwrap());
    let mut reader = XzReader::new(BufReader::new(File::open(file).unwrap()), false);
    io::copy(&mut reader, &mut File::create(&out).unwrap()).unwrap();
    out
}

#[test]
fn real_weights_find_the_same_classes_in_real_images() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    if !shared.is_dir() {
        skip(
            "real_weights_find_the_same_classes_in_real_images",
            "../shared is absent",
        );
        return;
    }
    let golden = golden(&shared);
    let folder = tempfile::tempdir().unwrap();
    for (name, architecture, file) in [
        (
            "squeezenet1_1",
            "squeezenet1_1",
            "squeezenet1_1.safetensors",
        ),
        ("resnet18_pqf", "resnet18", "resnet18_pqf.safetensors.xz"),
        ("resnet18_pqf", "resnet18", "resnet18_pqf.pth.xz"),
    ] {
        let weights = unpacked(&shared.join("models").join(file), folder.path());
        let wanted = images(architecture).unwrap();
        let card = ModelCard {
            format: ModelCard::FORMAT,
            architecture: architecture.to_owned(),
            class_names: None,
            input_size: wanted.size,
            resize: wanted.resize,
            mean: wanted.normalization.mean,
            std: wanted.normalization.std,
            training: None,
        };
        let checkpoint = Checkpoint::new(card, StateDict::read(&weights).unwrap()).unwrap();
        let onnx = folder.path().join("model.onnx");
        let verification = export(checkpoint, &ExportOptions::default(), &onnx)
            .unwrap()
            .unwrap();
        println!("{file}: {verification}");

        let resize = wanted.resize.unwrap().shorter_side as u32;
        let crop = wanted.size[1] as u32;
        let preprocessing = Preprocessing::torchvision(resize, crop);
        let mut preprocessor = Preprocessor::new(preprocessing, Limits::default()).unwrap();
        let table = wanted.normalization.table();
        let mut model = Model::open(&Runtime::load().unwrap(), &onnx, Device::Cpu, None).unwrap();
        let (mut top1, mut top5) = (0, 0);
        for batch in golden[1..].chunks(BATCH) {
            let mut input = vec![0.0; batch.len() * 3 * (crop * crop) as usize];
            for (line, input) in batch
                .iter()
                .zip(input.chunks_mut(3 * (crop * crop) as usize))
            {
                let file = line["file"].as_str().unwrap();
                let encoded = fs::read(shared.join("data/imagenet-sample").join(file)).unwrap();
                preprocessor
                    .crops(&encoded)
                    .unwrap()
                    .normalize(&table, input);
            }
            let logits = model.scores(&input, batch.len()).unwrap();
            for (line, logits) in batch.iter().zip(logits.chunks(logits.len() / batch.len())) {
                let mut classes: Vec<usize> = (0..logits.len()).collect();
                classes.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
                let expected = &line[name];
                assert_eq!(
                    Value::from(&classes[..5]),
                    expected["top5"],
                    "{file}: {}",
                    line["file"]
                );
                let logit = expected["logit"].as_f64().unwrap();
                assert!(
                    (f64::from(logits[classes[0]]) - logit).abs() < 1e-4,
                    "{line}"
                );
                let label = line["label"].as_u64().unwrap() as usize;
                top1 += usize::from(classes[0] == label);
                top5 += usize::from(classes[..5].contains(&label));
            }
        }
        let correct = &golden[0]["correct"][name];
        assert_eq!(correct["top1"], top1, "{file}");
        assert_eq!(correct["top5"], top5, "{file}");
        println!("{file}: {top1} and {top5} of {} right", golden.len() - 1);
    }
}
