//! Evaluations of real models on the photographs in the folder `shared`.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use lzma_rust2::XzReader;

/// Evaluates these models of the folder and returns the file of results, in `folder`.
pub fn evaluate(shared: &Path, folder: &Path, models: &[&str], flags: &[&str]) -> PathBuf {
    let json = folder.join("results.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
    command.args(["--preset", "torchvision"]);
    for model in models {
        command.arg("--model").arg(file(shared, folder, model));
    }
    let output = command
        .arg("--data")
        .arg(shared.join("data/imagenet-sample"))
        .arg("--json")
        .arg(&json)
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{flags:?}: {output:?}");
    json
}

/// The file of a model, which is unpacked into `folder` if it is compressed.
fn file(shared: &Path, folder: &Path, model: &str) -> PathBuf {
    let plain = shared.join(format!("models/{model}.onnx"));
    if plain.exists() {
        return plain;
    }
    let unpacked = folder.join(format!("{model}.onnx"));
    if !unpacked.exists() {
        let packed = File::open(shared.join(format!("models/{model}.onnx.xz"))).unwrap();
        let mut reader = XzReader::new(BufReader::new(packed), false);
        io::copy(&mut reader, &mut File::create(&unpacked).unwrap()).unwrap();
    }
    unpacked
}
