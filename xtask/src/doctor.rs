//! `cargo xtask doctor`: what is there, what is missing, what to do.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use topk_native::{driver_version, onnxruntime, runtime_version, torch};

use crate::native;

const SET_UP: &str = "run `cargo xtask setup`";
const SET_UP_CUDA: &str = "run `cargo xtask setup --cuda`";

/// The CUDA that the libraries are built for.
const CUDA_MAJOR: u32 = 13;

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
        println!("libtorch            none in {}: {SET_UP}", root.display());
        return None;
    };
    let root = installation.root().display();
    match installation.version() {
        Some(version) if version == torch::VERSION => {
            println!("libtorch            {version} in {root}");
        }
        Some(version) => println!(
            "libtorch            {version} in {root}: version {} is needed; unset LIBTORCH and \
             {SET_UP}",
            torch::VERSION
        ),
        None => println!("libtorch            of unknown version in {root}"),
    }
    Some(installation)
}

fn report_onnxruntime() -> Option<PathBuf> {
    let path = match onnxruntime::locate() {
        Ok(path) => path,
        Err(error) => {
            println!("ONNX Runtime        none: {error}");
            return None;
        }
    };
    match onnxruntime::version(&path) {
        Ok(version) if version == onnxruntime::VERSION => {
            println!("ONNX Runtime        {version} in {}", path.display());
        }
        Ok(version) => println!(
            "ONNX Runtime        {version} in {}: {} is what the evaluator is made for",
            path.display(),
            onnxruntime::VERSION
        ),
        Err(error) => println!("ONNX Runtime        cannot be loaded ({error}): {SET_UP}"),
    }
    Some(path)
}

/// Whether there is a driver that the CUDA libraries can work with.
fn report_driver() -> bool {
    match driver_version() {
        Ok((major, minor)) if major >= CUDA_MAJOR => {
            println!("NVIDIA driver       for CUDA {major}.{minor}");
            true
        }
        Ok((major, minor)) => {
            println!(
                "NVIDIA driver       for CUDA {major}.{minor}: too old for CUDA {CUDA_MAJOR}; \
                 update it to use the GPU"
            );
            false
        }
        Err(error) => {
            println!(
                "NVIDIA driver       none ({error}): the CPU is used. To use a GPU, install \
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
            Err(error) => println!("CUDA runtime        does not load ({error}): {SET_UP}"),
        }
    }
    match libtorch.load_cuda() {
        Ok(()) => println!(
            "libtorch for CUDA   in {}",
            libtorch.cuda_library().display()
        ),
        Err(_) if !driver => println!("libtorch for CUDA   none"),
        Err(error) => println!("libtorch for CUDA   does not load ({error}): {SET_UP_CUDA}"),
    }
}

fn report_onnxruntime_cuda(path: &Path, driver: bool) {
    match onnxruntime::cuda_provider(path) {
        Some(provider) => match onnxruntime::load_cuda_libraries(path) {
            Ok(()) => println!("CUDA provider       in {}", provider.display()),
            Err(error) => println!("CUDA provider       lacks a library ({error}): {SET_UP_CUDA}"),
        },
        None if !driver => println!("CUDA provider       none"),
        None => println!("CUDA provider       none beside ONNX Runtime: {SET_UP_CUDA}"),
    }
}
