//! Kinds of images.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use topk_onnx::proto::DataType;
use topk_onnx::{Dim, GraphBuilder, ModelCard, attribute, model};

const SIDE: usize = 32;

/// Grey values of an image whose left (class 0) or right half is bright.
fn half(bright: usize) -> Vec<u8> {
    let column = |x: usize| if x / (SIDE / 2) == bright { 220 } else { 30 };
    (0..SIDE * SIDE).map(|i| column(i % SIDE)).collect()
}

/// A model that predicts which half is brighter, and empty folders `data/left` and `data/right`.
fn case() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for class in ["left", "right"] {
        fs::create_dir_all(folder.path().join("data").join(class)).unwrap();
    }
    let mut graph = GraphBuilder::new("halves");
    let batch = Dim::Dynamic("batch");
    let sizes = [batch, Dim::Fixed(3), Dim::Fixed(SIDE), Dim::Fixed(SIDE)];
    graph.input("input", DataType::Float, &sizes, "");
    let features = 3 * SIDE * SIDE;
    let weights: Vec<f32> = (0..2 * features)
        .map(|i| {
            let (class, x) = (i / features, i % SIDE);
            if x / (SIDE / 2) == class { 0.01 } else { 0.0 }
        })
        .collect();
    graph.initializer("weight", &[2, features], &weights);
    graph.initializer("bias", &[2], &[0.0; 2]);
    graph.node("Flatten", "flat", &["input"], [attribute::int("axis", 1)]);
    let inputs = ["flat", "weight", "bias"];
    graph.node("Gemm", "logits", &inputs, [attribute::int("transB", 1)]);
    let batch = Dim::Dynamic("batch");
    graph.output("logits", DataType::Float, &[batch, Dim::Fixed(2)], "");
    let card = ModelCard {
        format: ModelCard::FORMAT,
        architecture: "halves".to_owned(),
        class_names: Some(vec!["left".to_owned(), "right".to_owned()]),
        input_size: [3, SIDE, SIDE],
        resize: None,
        mean: [0.5; 3].into(),
        std: [0.25; 3].into(),
        training: None,
    };
    let file = model(graph.finish(), "", card.to_metadata());
    let encoded = prost::Message::encode_to_vec(&file);
    fs::write(folder.path().join("model.onnx"), encoded).unwrap();
    folder
}

fn run(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_topk-eval"))
        .arg("--model")
        .arg(folder.join("model.onnx"))
        .arg("--data")
        .arg(folder.join("data"))
        .args(["--topk", "1", "--json"])
        .arg(folder.join("out.json"))
        .output()
        .unwrap()
}

/// The ranks of the true classes.
fn ranks(folder: &Path) -> Vec<u64> {
    let output = run(folder);
    assert!(output.status.success(), "{output:?}");
    let results: Value =
        serde_json::from_slice(&fs::read(folder.join("out.json")).unwrap()).unwrap();
    let outcomes = &results["models"][0]["outcomes"]["rank"];
    let ranks = outcomes.as_array().unwrap_or_else(|| panic!("{results:#}"));
    ranks.iter().map(|rank| rank.as_u64().unwrap()).collect()
}

fn pnm(kind: &str, maximum: &str, samples: &[u8]) -> Vec<u8> {
    let head = format!("P{kind}\n# made up\n{SIDE} {SIDE}\n{maximum}");
    [head.as_bytes(), samples].concat()
}

/// A grey TIFF with an orientation: one strip, uncompressed, little-endian.
fn tiff(orientation: u32, samples: &[u8]) -> Vec<u8> {
    let side = SIDE as u32;
    let tags = [
        (256, side),
        (257, side),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (274, orientation),
        (277, 1),
        (278, side),
        (279, side * side),
    ];
    let mut file = [&b"II*\0"[..], &(8 + side * side).to_le_bytes(), samples].concat();
    file.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        let kind = 4;
        file.extend([tag, kind].map(u16::to_le_bytes).as_flattened());
        file.extend([1, value].map(u32::to_le_bytes).as_flattened());
    }
    file.extend([0; 4]);
    file
}

#[test]
fn tiff_files_are_turned_by_their_orientation() {
    let folder = case();
    for (bright, class) in ["left", "right"].into_iter().enumerate() {
        let at = |name: &str| folder.path().join("data").join(class).join(name);
        fs::write(at("as_stored.tif"), tiff(1, &half(bright))).unwrap();
        // Stored mirrored, or turned by 180 degrees.
        fs::write(at("mirrored.tif"), tiff(2, &half(1 - bright))).unwrap();
        fs::write(at("turned.tif"), tiff(3, &half(1 - bright))).unwrap();
    }
    assert_eq!(ranks(folder.path()), [0; 6]);
}

#[test]
fn folders_of_portable_bitmaps_are_evaluated() {
    let folder = case();
    for (bright, class) in ["left", "right"].into_iter().enumerate() {
        let at = |name: &str| folder.path().join("data").join(class).join(name);
        let grey = half(bright);
        let colors: Vec<u8> = grey.iter().flat_map(|&value| [value; 3]).collect();
        let words: Vec<String> = grey.iter().map(u8::to_string).collect();
        fs::write(at("binary.ppm"), pnm("6", "255\n", &colors)).unwrap();
        fs::write(at("binary.pgm"), pnm("5", "255\n", &grey)).unwrap();
        fs::write(
            at("plain.pgm"),
            pnm("2", "240\n", words.join("\n").as_bytes()),
        )
        .unwrap();
    }
    assert_eq!(ranks(folder.path()), [0; 6]);
}

#[test]
fn images_that_were_not_downloaded_are_named_as_such() {
    for (content, expected) in [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
            "the file is a Git LFS pointer, not the file itself; run `git lfs pull`",
        ),
        (
            "<!DOCTYPE html><html><body>Sign in</body></html>",
            "the file is an HTML page, not the file itself",
        ),
        ("", "the file is empty; download or copy it again"),
    ] {
        let folder = case();
        let data = folder.path().join("data");
        fs::write(data.join("left/a.ppm"), pnm("5", "255\n", &half(0))).unwrap();
        fs::write(data.join("right/b.jpg"), content).unwrap();
        let output = run(folder.path());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        let named = error.contains("b.jpg") && error.contains(expected);
        assert!(named, "{error}");
    }
}
