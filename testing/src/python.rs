//! Python environments: folders of packages in `.native/python`, each installed once and listed in
//! `PYTHONPATH`.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{Requirement, native, skip};

/// The packages that a Python script can import. Each environment has `onnx` and `numpy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Only those two: the checker, shape inference and `ReferenceEvaluator`.
    Onnx,
    /// ONNX Runtime in the version that this project supports.
    OnnxRuntime,
    /// The latest ONNX Runtime.
    OnnxRuntimeNewest,
    /// OpenVINO, an inference engine independent of ONNX Runtime.
    OpenVino,
    /// OpenCV, whose DNN module has two inference engines.
    OpenCv,
    /// PyTorch with its ONNX exporter, ONNX Runtime and pytest.
    PyTorch,
    /// TensorBoard, to read event files.
    TensorBoard,
}

/// Python packages installed in one folder.
#[derive(Debug)]
pub struct Packages {
    /// The name of the folder.
    pub name: &'static str,
    /// The packages in pip's syntax, with all their dependencies, so that pip need not resolve any.
    pub requirements: &'static [&'static str],
}

const ONNX: Packages = Packages {
    name: "onnx",
    requirements: &[
        "onnx==1.23.2",
        "numpy==2.4.6",
        "ml_dtypes==0.6.0",
        "protobuf==7.36.2",
        "typing_extensions==4.16.0",
    ],
};

const ONNXRUNTIME: Packages = Packages {
    name: "onnxruntime-1.31.1",
    requirements: &["onnxruntime==1.31.1"],
};

const ONNXRUNTIME_NEWEST: Packages = Packages {
    name: "onnxruntime-1.32.0",
    requirements: &["onnxruntime==1.32.0"],
};

const OPENVINO: Packages = Packages {
    name: "openvino-2026.4.1",
    requirements: &["openvino==2026.4.1"],
};

const OPENCV: Packages = Packages {
    name: "opencv-5.0.0.93",
    requirements: &["opencv-python-headless==5.0.0.93"],
};

/// The build for GPUs, which the package index has, with the CUDA libraries that it loads even without a GPU.
const PYTORCH: Packages = Packages {
    name: "torch-2.11.0",
    requirements: &[
        "torch==2.11.0",
        "filelock==4.3.1",
        "fsspec==2026.9.0",
        "jinja2==3.1.6",
        "markupsafe==3.0.4",
        "mpmath==1.3.0",
        "networkx==3.6.1",
        "sympy==1.14.0",
        "nvidia-cublas==13.1.0.3",
        "nvidia-cuda-cupti==13.0.85",
        "nvidia-cuda-runtime==13.0.96",
        "nvidia-cudnn-cu13==9.19.0.56",
        "nvidia-cufft==12.0.0.61",
        "nvidia-cufile==1.15.1.6",
        "nvidia-curand==10.4.0.35",
        "nvidia-cusparse==12.6.3.3",
        "nvidia-cusparselt-cu13==0.8.0",
        "nvidia-nccl-cu13==2.28.9",
        "nvidia-nvjitlink==13.0.88",
        "nvidia-nvshmem-cu13==3.4.5",
        "onnx-ir==1.1.0",
        "onnxscript==0.7.2",
        "lightning==2.6.6",
        "lightning-utilities==0.15.3",
        "torchmetrics==1.9.0",
        "pyyaml==6.0.4",
        "tqdm==4.70.1",
    ],
};

const PYTEST: Packages = Packages {
    name: "pytest-9.2.0",
    requirements: &[
        "pytest==9.2.0",
        "iniconfig==2.3.1",
        "packaging==26.4",
        "pluggy==1.7.0",
        "pygments==2.21.0",
    ],
};

/// The compiler of the version that libtorch uses, and the linker, which compiles PTX as drivers do.
pub const NVRTC: Packages = Packages {
    name: "nvrtc-13.0.88",
    requirements: &["nvidia-cuda-nvrtc==13.0.88", "nvidia-nvjitlink==13.0.88"],
};

const TENSORBOARD: Packages = Packages {
    name: "tensorboard-2.21.0",
    requirements: &["tensorboard==2.21.0", "absl-py==2.5.1"],
};

/// An execution provider that ONNX Runtime loads as a plugin.
pub const WEBGPU_PLUGIN: Packages = Packages {
    name: "onnxruntime-ep-webgpu-0.4.0",
    requirements: &["onnxruntime-ep-webgpu==0.4.0"],
};

impl Packages {
    /// The packages of all environments.
    pub const ALL: [&Packages; 10] = [
        &ONNX,
        &ONNXRUNTIME,
        &ONNXRUNTIME_NEWEST,
        &OPENVINO,
        &OPENCV,
        &PYTORCH,
        &PYTEST,
        &NVRTC,
        &TENSORBOARD,
        &WEBGPU_PLUGIN,
    ];

    /// The folder of these packages for the installed `python3`; `None` if Python is not installed.
    ///
    /// Packages with compiled extensions work with one version of Python only.
    pub fn folder(&self) -> Option<PathBuf> {
        static TAG: OnceLock<Option<String>> = OnceLock::new();
        let tag = TAG.get_or_init(|| {
            let output = Command::new("python3")
                .args(["-c", "import sys; print(sys.implementation.cache_tag)"])
                .output()
                .ok()?;
            let tag = String::from_utf8(output.stdout).ok()?.trim().to_owned();
            (!tag.is_empty()).then_some(tag)
        });
        Some(
            native()
                .join("python")
                .join(tag.as_deref()?)
                .join(self.name),
        )
    }

    /// The file that lists the folder's packages, one requirement per line.
    pub const STAMP: &str = "installed";

    /// The content of [`Packages::STAMP`].
    pub fn stamp(&self) -> String {
        self.requirements.join("\n")
    }

    /// Whether exactly these packages are installed.
    pub fn are_installed(&self) -> bool {
        self.folder()
            .and_then(|folder| fs::read_to_string(folder.join(Self::STAMP)).ok())
            .is_some_and(|stamp| stamp == self.stamp())
    }
}

impl Environment {
    /// The packages that the environment consists of.
    fn packages(self) -> &'static [&'static Packages] {
        match self {
            Self::Onnx => &[&ONNX],
            Self::OnnxRuntime => &[&ONNX, &ONNXRUNTIME],
            Self::OnnxRuntimeNewest => &[&ONNX, &ONNXRUNTIME_NEWEST],
            Self::OpenVino => &[&ONNX, &OPENVINO],
            Self::OpenCv => &[&ONNX, &OPENCV],
            Self::PyTorch => &[&ONNX, &ONNXRUNTIME, &PYTEST, &PYTORCH],
            Self::TensorBoard => &[&ONNX, &TENSORBOARD],
        }
    }

    /// The value of `PYTHONPATH`; `None` if a package is not installed.
    fn path(self) -> Option<OsString> {
        let folders: Option<Vec<PathBuf>> = self
            .packages()
            .iter()
            .filter(|packages| packages.are_installed())
            .map(|packages| packages.folder())
            .collect();
        let folders = folders.filter(|folders| folders.len() == self.packages().len())?;
        std::env::join_paths(folders).ok()
    }
}

/// `python3` with the packages of an environment; `None`, after a call of [`skip()`], if they are not
/// installed.
pub fn python(environment: Environment) -> Option<Command> {
    let Some(path) = environment.path() else {
        skip(
            Requirement::Python,
            &format!(
                "the Python packages for {environment:?} are not installed: run `cargo xtask test`"
            ),
        );
        return None;
    };
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", path);
    Some(command)
}

/// Runs a command and returns its standard output.
///
/// # Panics
///
/// If the command fails, with its standard error in the message.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{} ended with {}:\n{}",
        command.get_program().display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_environment_has_its_own_version() {
        for (environment, module) in [
            (Environment::Onnx, "onnx"),
            (Environment::OnnxRuntime, "onnxruntime"),
            (Environment::OnnxRuntimeNewest, "onnxruntime"),
            (Environment::OpenVino, "openvino"),
            (Environment::OpenCv, "cv2"),
            (Environment::PyTorch, "torch"),
            (Environment::TensorBoard, "tensorboard"),
        ] {
            let Some(mut python) = python(environment) else {
                return;
            };
            let own = environment.packages().last().unwrap().requirements[0];
            let (name, version) = own.split_once("==").unwrap();
            let script = format!(
                "import onnx, numpy, {module}, importlib.metadata as packages
print(packages.version('{name}'))"
            );
            let printed = run(python.args(["-c", &script]));
            assert_eq!(printed.trim_end(), version, "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "no good")]
    fn the_error_of_a_failed_script_is_shown() {
        run(Command::new("sh").args(["-c", "echo no good >&2; exit 1"]));
    }
}
