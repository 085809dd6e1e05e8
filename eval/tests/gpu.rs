//! Evaluations on an NVIDIA GPU are those on the CPU: without TF32, the true class of every image has the same rank.

mod photographs;

use std::fs;
use std::path::{Path, PathBuf};

use photographs::evaluate;
use topk_native::{driver_version, onnxruntime};
use topk_results::{Comparison, Results};
use topk_testing::{Requirement, shared, skip};

/// The folder with models and images, on a machine with a GPU that ONNX Runtime can use.
fn on_gpu() -> Option<PathBuf> {
    if let Err(error) = driver_version() {
        skip(Requirement::Gpu, &format!("no NVIDIA driver ({error})"));
        return None;
    }
    let runtime = onnxruntime::locate().unwrap();
    if onnxruntime::cuda_provider(&runtime).is_none() {
        skip(Requirement::Gpu, "ONNX Runtime has no CUDA provider");
        return None;
    }
    shared("")
}

/// The results of two models on 300 photographs.
fn run(shared: &Path, folder: &Path, flags: &[&str]) -> Results {
    let json = evaluate(shared, folder, &["squeezenet1_1", "resnet18_pqf"], flags);
    let results = Results::read(&json).unwrap();
    fs::remove_file(&json).unwrap();
    results
}

#[test]
fn ranks_on_a_gpu_are_those_on_the_cpu() {
    let Some(shared) = on_gpu() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let cpu = run(&shared, folder.path(), &["--device", "cpu"]);
    // The last batch is filled up, except with batches of 1 and 50.
    for flags in [
        &["--device", "cuda"][..],
        &["--device", "cuda", "--batch-size", "1"],
        &["--device", "cuda", "--batch-size", "50", "--in-flight", "1"],
        &[
            "--device",
            "cuda",
            "--batch-size",
            "256",
            "--in-flight",
            "3",
        ],
        &["--device", "cuda", "--sessions", "2"],
        &["--device", "cuda", "--cudnn-search", "heuristic"],
        &["--device", "cuda", "--channels-last"],
        &["--devices", "all"],
    ] {
        let gpu = run(&shared, folder.path(), flags);
        for model in 0..2 {
            let info = &gpu.models[model].model;
            assert!(info.nodes.contains_key("CUDAExecutionProvider"), "{info:?}");
            let comparison = Comparison::new((&cpu, model), (&gpu, model)).unwrap();
            assert_eq!(comparison.check_ranks(), Ok(()), "{flags:?}");
        }
    }
}

#[test]
fn engines_of_tensorrt_are_kept() {
    let Some(shared) = on_gpu() else {
        return;
    };
    if let Err(error) = onnxruntime::load_tensorrt(&onnxruntime::locate().unwrap()) {
        return skip(Requirement::Gpu, &error.to_string());
    }
    let folder = tempfile::tempdir().unwrap();
    let engines = folder.path().join("engines");
    let flags = [
        "--device",
        "tensorrt",
        "--tensorrt-cache",
        engines.to_str().unwrap(),
    ];
    let count = || -> usize {
        let models = fs::read_dir(&engines).unwrap();
        let files = models.flat_map(|model| fs::read_dir(model.unwrap().path()).unwrap());
        let names = files.map(|file| file.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().ends_with(".engine"))
            .count()
    };
    let cpu = run(&shared, folder.path(), &["--device", "cpu"]);
    let first = run(&shared, folder.path(), &flags);
    let built = count();
    assert!(built >= 2, "one for each model, at least");
    let again = run(&shared, folder.path(), &flags);
    assert_eq!(count(), built, "the last batch needs no other engine");
    for model in 0..2 {
        let info = &first.models[model].model;
        assert!(
            info.nodes.contains_key("TensorrtExecutionProvider"),
            "{info:?}"
        );
        for gpu in [&first, &again] {
            let comparison = Comparison::new((&cpu, model), (gpu, model)).unwrap();
            assert_eq!(comparison.check_ranks(), Ok(()));
        }
    }
    let half = run(
        &shared,
        folder.path(),
        &[&flags[..], &["--tensorrt-fp16"]].concat(),
    );
    assert!(half.models.iter().all(|model| model.model.fp16));
    assert!(
        count() > built,
        "engines of another precision are kept apart"
    );
}
