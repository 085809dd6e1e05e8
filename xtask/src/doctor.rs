//! `cargo xtask doctor`: reports which native libraries are found, and what to do about missing ones.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use topk_native::{driver_version, onnxruntime, runtime_version, torch};

use crate::{CUDA_MAJOR, native};

const SET_UP: &str = "run `cargo xtask setup`";
const SET_UP_CUDA: &str = "run `cargo xtask setup --cuda`";

pub(crate) fn run() -> Result<()> {
    let libtorch = if let Some(python) = env::var_os("LIBTORCH_USE_PYTORCH") {
        println!(
            "libtorch            from Python: LIBTORCH_USE_PYTORCH={}",
            python.display()
        );
        None
    } else {
        let root = env::var_os("LIBTORCH").map(PathBuf::from);
        report_libtorch(&root.unwrap_or_else(|| native::dir().join("torch")))
    };
    let onnxruntime = report_onnxruntime();
    let driver = report_driver();
    if let Some(libtorch) = libtorch {
        report_libtorch_cuda(&libtorch, driver);
    }
    if let Some(onnxruntime) = onnxruntime {
        report_onnxruntime_cuda(&onnxruntime, driver);
    }
    Ok(())
}

fn report_libtorch(root: &Path) -> Option<torch::Installation> {
    let Some(installation) = torch::Installation::at(root) else {
        println!(
            "libtorch            not found in {}: {SET_UP} (topk-eval does not need it)",
            root.display()
        );
        return None;
    };
    let root = installation.root().display();
    match installation.version() {
        Some(version) if version == torch::VERSION => {
            println!("libtorch            {version} in {root}");
        }
        Some(version) => println!(
            "libtorch            {version} in {root}, but {} is required: unset LIBTORCH and {SET_UP}",
            torch::VERSION
        ),
        None => println!("libtorch            unknown version in {root}"),
    }
    Some(installation)
}

fn report_onnxruntime() -> Option<PathBuf> {
    let path = match onnxruntime::locate() {
        Ok(path) => path,
        Err(error) => {
            println!("ONNX Runtime        not found: {error}");
            return None;
        }
    };
    match onnxruntime::version(&path) {
        Ok(version) if version == onnxruntime::VERSION => {
            println!("ONNX Runtime        {version} in {}", path.display());
        }
        Ok(version) => println!(
            "ONNX Runtime        {version} in {}, but topk-eval is tested with {}",
            path.display(),
            onnxruntime::VERSION
        ),
        Err(error) => println!("ONNX Runtime        cannot be loaded ({error}): {SET_UP}"),
    }
    Some(path)
}

/// Whether the NVIDIA driver is recent enough for the CUDA libraries.
fn report_driver() -> bool {
    match driver_version() {
        Ok((major, minor)) if major >= CUDA_MAJOR => {
            println!("NVIDIA driver       supports CUDA {major}.{minor}");
            true
        }
        Ok((major, minor)) => {
            println!(
                "NVIDIA driver       supports CUDA {major}.{minor}, but CUDA {CUDA_MAJOR} is required to \
                 use the GPU: update the driver"
            );
            false
        }
        Err(error) => {
            println!(
                "NVIDIA driver       not found ({error}): programs use the CPU. To use a GPU, install \
                 NVIDIA's driver"
            );
            false
        }
    }
}

fn report_libtorch_cuda(libtorch: &torch::Installation, driver: bool) {
    if let Some(file) = libtorch.cuda_runtime() {
        match runtime_version(&file) {
            Ok((major, minor)) => {
                println!("CUDA runtime        {major}.{minor} in {}", file.display());
            }
            Err(error) => println!("CUDA runtime        cannot be loaded ({error}): {SET_UP}"),
        }
    }
    match libtorch.load_cuda() {
        Ok(()) => println!(
            "libtorch for CUDA   in {}",
            libtorch.cuda_library().display()
        ),
        Err(_) if !driver => println!("libtorch for CUDA   not found"),
        Err(error) => println!("libtorch for CUDA   cannot be loaded ({error}): {SET_UP_CUDA}"),
    }
}

fn report_onnxruntime_cuda(path: &Path, driver: bool) {
    match onnxruntime::cuda_provider(path) {
        Some(provider) => match onnxruntime::load_cuda_libraries(path) {
            Ok(()) => println!("CUDA provider       in {}", provider.display()),
            Err(error) => println!("CUDA provider       misses a library ({error}): {SET_UP_CUDA}"),
        },
        None if !driver => println!("CUDA provider       not found"),
        None => println!("CUDA provider       not found next to ONNX Runtime: {SET_UP_CUDA}"),
    }
}
