//! Published weights, from their files to the top-5 classes of photographs.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use serde_json::Value;
use topk_export::{ExportOptions, export};
use topk_models::{Checkpoint, images};
use topk_onnx::ModelCard;
use topk_testing::shared;
use topk_weights::StateDict;

/// The top-5 classes of the same weights in onnxruntime, in ONNX files of other programs.
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
fn real_weights_agree_with_onnxruntime_on_photographs() {
    let Some(shared) = shared("") else {
        return;
    };
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
            mean: wanted.normalization.mean.into(),
            std: wanted.normalization.std.into(),
            training: None,
        };
        let checkpoint = Checkpoint::new(card, StateDict::read(&weights).unwrap()).unwrap();
        let onnx = folder.path().join("model.onnx");
        let verification = export(checkpoint, &ExportOptions::default(), &onnx)
            .unwrap()
            .unwrap();
        println!("{file}: {verification}");

        let data = shared.join("data/imagenet-sample");
        let results = topk_eval::evaluate(&onnx, &data, &[1, 5]).unwrap();
        let (mut top1, mut top5) = (0, 0);
        for (image, outcome) in results.images.iter().zip(&results.models[0].outcomes) {
            let expected = golden
                .iter()
                .find(|line| line["file"] == *image.name)
                .unwrap();
            assert_eq!(expected["label"], image.labels[0], "{}", image.name);
            let outcome = outcome.as_ref().unwrap();
            let classes: Vec<u32> = outcome
                .best
                .iter()
                .map(|prediction| prediction.class)
                .collect();
            assert_eq!(
                Value::from(classes),
                expected[name]["top5"],
                "{file}: {}",
                image.name
            );
            top1 += usize::from(outcome.rank < 1);
            top5 += usize::from(outcome.rank < 5);
        }
        let correct = &golden[0]["correct"][name];
        assert_eq!(correct["top1"], top1, "{file}");
        assert_eq!(correct["top5"], top5, "{file}");
        println!(
            "{file}: {top1} and {top5} of {} right",
            results.images.len()
        );
    }
}
