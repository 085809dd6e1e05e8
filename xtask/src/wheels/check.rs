//! Installs a wheel into a new Python environment and runs its programs there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use topk_onnx::proto::DataType;
use topk_onnx::{Dim, GraphBuilder, ModelCard, attribute};
use topk_testing::root;

use super::programs::Programs;
use crate::cargo;

/// The number of classes of the bundled images, and of pixels on a side.
const CLASSES: usize = 20;
const SIDE: usize = 32;

/// A new Python environment in a temporary folder.
pub(crate) struct Environment {
    folder: TempDir,
}

impl Environment {
    /// An environment without pip.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        let environment = Self { folder };
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--without-pip"]);
        cargo::run(command.arg(environment.venv()))?;
        Ok(environment)
    }

    fn venv(&self) -> PathBuf {
        self.path("venv")
    }

    /// A file beside the environment.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Installs a wheel. `flags` are those of `pip install`.
    pub(crate) fn install(&self, wheel: &Path, flags: &[&str]) -> Result<()> {
        let mut command = Command::new("python3");
        command
            .args(["-m", "pip", "--disable-pip-version-check", "--python"])
            .arg(self.venv().join("bin/python"))
            .args(["install", "--quiet", "--root-user-action=ignore"])
            .args(flags);
        cargo::run(command.arg(wheel))
    }

    /// A program of the environment, in another folder and without environment variables.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.venv().join("bin").join(name));
        command.current_dir("/").env_clear();
        command
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin");
        command
    }
}

/// Installs a wheel with everything that it depends on, which pip may have to download, and runs each of
/// its programs.
pub(crate) fn run(wheel: &Path, programs: &Programs) -> Result<()> {
    let environment = Environment::new()?;
    println!("Installing {} into a new environment", wheel.display());
    environment.install(wheel, &[])?;
    for program in programs.packages {
        try_program(&environment, program)?;
    }
    Ok(())
}

/// A program for the Python package, on arrays, without PyTorch.
const EXAMPLE: &str = "
import os
import numpy
import topk

scores = numpy.array([[2.0, 0.5, -1.0, 0.3], [0.1, 0.2, 0.0, 1.5]], numpy.float32)
loss, grad = topk.functional.value_and_grad(topk.functional.smooth_topk_svm, scores, numpy.array([0, 2]), 2)
assert abs(loss - 1.1079) < 1e-4, loss
assert grad.shape == scores.shape and abs(grad.sum()) < 1e-6, grad
assert os.path.isfile(topk.onnx.custom_ops_library())
";

/// Installs the wheel of the Python package with what it depends on, and computes a loss.
pub(crate) fn run_extension(wheel: &Path) -> Result<()> {
    let environment = Environment::new()?;
    println!("Installing {} into a new environment", wheel.display());
    environment.install(wheel, &[])?;
    cargo::run(environment.program("python").args(["-c", EXAMPLE]))
}

/// Runs a program on the bundled images, and checks its results.
pub(crate) fn try_program(environment: &Environment, program: &str) -> Result<()> {
    let data = root().join("tests/data/cifar100-sample");
    let mut command = environment.program(program);
    match program {
        "topk-eval" => {
            let (model, json) = (environment.path("model.onnx"), environment.path("out.json"));
            write_model(&model)?;
            command.arg("--model").arg(&model).arg("--data").arg(&data);
            cargo::run(command.args(["--device=cpu", "--json"]).arg(&json))?;
            let metrics = &read_json(&json)?["models"][0]["metrics"];
            // The model always chooses the first class, which is that of a twentieth of the images.
            ensure!(
                metrics["images"] == 2000 && metrics["topk"][0]["correct"] == 100,
                "topk-eval found other images, or another accuracy: {metrics}"
            );
        }
        "topk-export" => {
            let model = environment.path("loss.onnx");
            cargo::run(
                command
                    .args(["loss", "--topk=5", "--num-classes=10", "--out"])
                    .arg(&model),
            )?;
        }
        "topk-train" => {
            let run = environment.path("run");
            command.arg("--data").arg(&data).arg("--out").arg(&run);
            cargo::run(command.args(["--model=basic-16", "--epochs=1", "--device=cpu"]))?;
            let log = run.join("log.jsonl");
            let text = fs::read_to_string(&log)
                .with_context(|| format!("cannot read {}", log.display()))?;
            let end: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
                .with_context(|| format!("cannot read {}", log.display()))?;
            let test = &end["checkpoints"][0]["test"];
            ensure!(
                test["images"] == 2000,
                "the final test of topk-train found other images: {test}"
            );
        }
        _ => {
            cargo::run(command.arg("--version"))?;
        }
    }
    Ok(())
}

/// Writes a model that gives every image the same scores, highest for the first class.
fn write_model(path: &Path) -> Result<()> {
    let features = 3 * SIDE * SIDE;
    let mut graph = GraphBuilder::new("constant");
    let (batch, side) = (Dim::Dynamic("batch"), Dim::Fixed(SIDE));
    let image = [batch, Dim::Fixed(3), side, side];
    graph.input("input", DataType::Float, &image, "");
    graph.initializer(
        "weight",
        &[features, CLASSES],
        &vec![0.0; features * CLASSES],
    );
    let bias: Vec<f32> = (0..CLASSES).map(|class| -(class as f32)).collect();
    graph.initializer("bias", &[CLASSES], &bias);
    graph.node("Flatten", "flat", &["input"], [attribute::int("axis", 1)]);
    graph.node("Gemm", "logits", &["flat", "weight", "bias"], []);
    graph.output("logits", DataType::Float, &[batch, Dim::Fixed(CLASSES)], "");
    let card = ModelCard {
        format: ModelCard::FORMAT,
        architecture: "constant".to_owned(),
        class_names: None,
        input_size: [3, SIDE, SIDE],
        resize: None,
        mean: [0.5; 3].into(),
        std: [0.25; 3].into(),
        training: None,
    };
    let model = topk_onnx::model(graph.finish(), "", card.to_metadata());
    topk_onnx::save(&model, path).with_context(|| format!("cannot write {}", path.display()))
}

fn read_json(path: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}
