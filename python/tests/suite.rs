//! The Python package, tested with pytest: the folder `py_src` with the libraries that cargo built.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use topk_ops::noise::standard_normal;
use topk_ops::{Loss, Score, SmoothTopkSvm};
use topk_testing::{Emulation, Environment, Requirement, python, root, run, skip};

/// A folder with the package, as it is installed.
fn install() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("topk");
    copy(&root().join("python/py_src/topk"), &package);
    let tests = env::current_exe().unwrap();
    for (built, name) in [
        ("lib_topk.so", "_topk.abi3.so"),
        ("libtopk_ops_ort.so", "libtopk_ops_ort.so"),
    ] {
        let built = tests.with_file_name(built);
        fs::copy(&built, package.join(name))
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", built.display()));
    }
    dir
}

/// Copies the sources of a package, without what was built or cached in its folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && name != "__pycache__" {
            copy(&path, &to.join(name));
        } else if path.is_file() && path.extension() != Some(OsStr::new("so")) {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Runs pytest with these arguments, in the folder `python`, on the package in `installed`.
fn pytest(installed: &Path, arguments: &[&str]) {
    pytest_with(installed, arguments, &[]);
}

/// The same with environment variables.
fn pytest_with(installed: &Path, arguments: &[&str], variables: &[(&str, &OsStr)]) {
    let Some(mut command) = python_with(installed) else {
        return;
    };
    command
        .envs(variables.iter().copied())
        .args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"])
        .args(arguments)
        .current_dir(root().join("python"));
    println!("{}", run(&mut command));
}

/// A Python that has the package in `installed`.
fn python_with(installed: &Path) -> Option<Command> {
    let mut command = python(Environment::PyTorch)?;
    let path = command.get_envs().find(|(name, _)| *name == "PYTHONPATH");
    let path = path
        .and_then(|(_, value)| value)
        .expect("an environment is a value of PYTHONPATH");
    let folders = env::split_paths(path);
    let path = env::join_paths([installed.to_owned()].into_iter().chain(folders)).unwrap();
    command
        .env("PYTHONPATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// One test for each file, so that they run side by side.
macro_rules! files {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let installed = install();
            pytest(installed.path(), &[concat!("tests/", stringify!($name), ".py")]);
        }
    )*};
}

files! {
    test_authors_api
    test_composite
    test_docs
    test_functional
    test_golden
    test_label_smoothing
    test_nn
    test_onnx
    test_stubs
    test_transforms
    test_without_torch
}

/// On a GPU, or through a driver whose device is the CPU.
#[test]
fn test_cuda() {
    let Some(mut command) = python(Environment::PyTorch) else {
        return;
    };
    let found = run(command.args(["-c", "import torch; print(torch.cuda.is_available())"]));
    let installed = install();
    let file = &["tests/test_cuda.py"];
    if found.trim() == "True" {
        return pytest(installed.path(), file);
    }
    skip(Requirement::Gpu, "PyTorch finds no GPU");
    if let Some(driver) = Emulation::Driver.build() {
        let driver = [("TOPK_CUDA_DRIVER", driver.as_os_str())];
        pytest_with(installed.path(), file, &driver);
    }
}

/// The script for machines with a GPU, as far as it runs on the CPU.
#[test]
fn gpu_check_is_rehearsed() {
    let installed = install();
    let script = root().join("xtask/gpu-check/gpu_check.py");
    let report = installed.path().join("report.json");
    let check = |arguments: &[&str]| {
        let mut command = python_with(installed.path())?;
        command
            .arg(&script)
            .args(["--programs", "/nonexistent", "--package"])
            .arg(installed.path())
            .arg("--cases")
            .arg(root().join("ops/tests/data/loss.jsonl"))
            .arg("--out")
            .arg(&report)
            .args(arguments);
        Some(command)
    };
    let Some(mut rehearsal) = check(&["--rehearse", "--parts", "cases,loss,bandwidth"]) else {
        return;
    };
    let table = run(&mut rehearsal);
    assert!(
        table.contains("\nloss        256 x 1000, smooth_topk_svm "),
        "{table}"
    );
    assert!(
        table.contains(" passed, 0 failed; figures are in "),
        "{table}"
    );
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(report["rehearsal"], true);

    // Parts without what they need say so, and the others go on.
    let output = check(&["--rehearse", "--parts", "densenet,bandwidth"])
        .unwrap()
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && table.contains("not run: --cifar is missing"));
    assert!(table.contains("\nbandwidth "), "{table}");
}

#[test]
fn every_file_of_tests_is_run() {
    let this = fs::read_to_string(root().join("python/tests/suite.rs")).unwrap();
    for entry in fs::read_dir(root().join("python/tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name.starts_with("test_") {
            let run = [format!("\n    {name}\n"), format!("\nfn {name}() {{")];
            assert!(run.iter().any(|run| this.contains(run)), "{name}");
        }
    }
}

#[test]
fn examples_in_docstrings() {
    let installed = install();
    let package = installed.path().join("topk");
    pytest(
        installed.path(),
        &["--doctest-modules", package.to_str().unwrap()],
    );
}

/// Scores, labels and results of a batch, as bits.
fn batch<T: Score + Into<f64>>(samples: usize, classes: usize) -> serde_json::Value {
    let scores: Vec<T> = (0..samples * classes)
        .map(|i| T::from_f64(4.0 * standard_normal(1, 0, 0, i as u64)))
        .collect();
    let labels: Vec<i64> = (0..samples).map(|i| (i * 7 % classes) as i64).collect();
    let svm = SmoothTopkSvm::new(5, 0.5, 1.0).unwrap();
    let mut values = vec![T::default(); samples];
    let mut grad = vec![T::default(); samples * classes];
    svm.forward_backward(&scores, &labels, &mut values, &mut grad)
        .unwrap();
    // Every value of these types is a value of f64, and `serde_json` writes and reads those exactly.
    let numbers = |values: &[T]| {
        values
            .iter()
            .map(|&value| value.into())
            .collect::<Vec<f64>>()
    };
    json!({
        "classes": classes,
        "scores": numbers(&scores),
        "labels": labels,
        "values": numbers(&values),
        "grad": numbers(&grad),
    })
}

#[test]
fn results_equal_those_of_the_crate_to_the_bit() {
    let installed = install();
    let file = installed.path().join("results.json");
    let results = json!({
        "float32": [batch::<f32>(3, 7), batch::<f32>(40, 1000)],
        "float64": [batch::<f64>(3, 7), batch::<f64>(40, 1000)],
    });
    fs::write(&file, results.to_string()).unwrap();
    let script = installed.path().join("test_crate.py");
    fs::write(
        &script,
        format!(
            "
import json
import numpy as np
import pytest
import torch
import topk.functional as F

CASES = [(dtype, case) for dtype, cases in json.load(open({file:?})).items() for case in cases]

@pytest.mark.parametrize('dtype, case', CASES)
def test_equal(dtype, case):
    scores = np.array(case['scores'], dtype).reshape(-1, case['classes'])
    labels = np.array(case['labels'])
    options = dict(k=5, tau=0.5, alpha=1.0, reduction='none')
    value, grad = F.value_and_grad(F.smooth_topk_svm, scores, labels, **options)
    tensor = torch.from_numpy(scores).requires_grad_()
    loss = F.smooth_topk_svm(tensor, torch.from_numpy(labels), **options)
    loss.sum().backward()
    for found in (value, loss.detach().numpy()):
        assert np.array_equal(found, np.array(case['values'], dtype))
    for found in (grad, tensor.grad.numpy()):
        assert np.array_equal(found.ravel(), np.array(case['grad'], dtype))
"
        ),
    )
    .unwrap();
    pytest(installed.path(), &[script.to_str().unwrap()]);
}
