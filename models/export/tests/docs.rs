//! The examples in `docs/onnx-operators.md`. The Rust example is a test of
//! `topk-ops-ort`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use topk_ops::{Loss, SmoothTopkSvm};
use topk_testing::{Environment, Site, browse, python, run};

const PAGE: &str = include_str!("../../../docs/onnx-operators.md");

/// The first example in a language.
fn example(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// A folder with the model that the page's command writes.
fn folder_with_model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut words = example("sh").split_whitespace();
    assert_eq!(words.next(), Some("topk-export"));
    let export = env!("CARGO_BIN_EXE_topk-export");
    run(Command::new(export).args(words).current_dir(&folder));
    folder
}

/// Checks the losses and gradients, separated by blanks, of the examples' batch.
fn check(printed: &str) {
    let scores = [2.0f32, 0.5, -1.0, 0.3, 0.1, 0.2, 0.0, 1.5];
    let (mut losses, mut grad) = ([0.0; 2], [0.0; 8]);
    SmoothTopkSvm::new(2, 1.0, 1.0)
        .unwrap()
        .forward_backward(&scores, &[0, 2], &mut losses, &mut grad)
        .unwrap();
    let found: Vec<f32> = printed
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let expected: Vec<f32> = losses.iter().chain(&grad).copied().collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

#[test]
fn the_example_in_python() {
    let library = "libtopk_ops_ort.so";
    let built = std::env::current_exe().unwrap().with_file_name(library);
    let native = example("python");
    let registration = native.lines().find(|line| line.contains(library)).unwrap();
    let portable = native.replace(registration, "");
    for environment in [Environment::OnnxRuntime, Environment::OnnxRuntimeNewest] {
        let folder = folder_with_model();
        let release = folder.path().join("target/release");
        fs::create_dir_all(&release).unwrap();
        symlink(&built, release.join(library)).unwrap();
        for script in [native, &portable] {
            let Some(mut python) = python(environment) else {
                return;
            };
            check(&run(python.args(["-c", script]).current_dir(&folder)));
        }
    }
}

#[test]
fn the_example_in_a_browser() {
    let folder = folder_with_model();
    let script = example("js");
    let page = format!(
        r#"<!doctype html>
<script>
addEventListener("error", (event) => {{
  fetch("/error", {{ method: "POST", body: String(event.message ?? event.target.src) }});
}}, true);
</script>
<script type="importmap">{{"imports": {{"onnxruntime-web": "/ort/ort.wasm.min.mjs"}}}}</script>
<body>
<script type="module">
{script}
fetch("/result", {{ method: "POST", body: document.body.textContent }});
</script>"#
    );
    let model = fs::read(folder.path().join(Path::new("loss.onnx"))).unwrap();
    let site = Site::new()
        .file("/index.html", page)
        .file("/loss.onnx", model);
    if let Some(printed) = browse(&site, "/index.html") {
        check(&printed);
    }
}
