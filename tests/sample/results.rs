//! What a run leaves in its folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The files in the folder of a run that are the same with and without interruptions.
pub fn results(folder: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let names = [
        "log.jsonl",
        "steps.jsonl",
        "summary.csv",
        "best1.safetensors",
        "bestk.safetensors",
        "best1.onnx",
        "bestk.onnx",
    ];
    let read = |name| (name, fs::read(folder.join(name)).unwrap());
    names.into_iter().map(read).collect()
}
