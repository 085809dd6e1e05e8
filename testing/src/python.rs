//! Python environments: folders of packages in `.native/python`, each filled once and used by
//! naming several in `PYTHONPATH`.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{native, skip};

/// What a Python script can import. Each environment has `onnx` and `numpy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Nothing else: the checker, shape inference and `ReferenceEvaluator`.
    Onnx,
    /// ONNX Runtime of the version that this project is built for.
    OnnxRuntime,
    /// The newest ONNX Runtime.
    OnnxRuntimeNewest,
    /// OpenVINO, an engine that is not ONNX Runtime.
    OpenVino,
    /// OpenCV, whose DNN module has two engines of its own.
    OpenCv,
    /// TensorBoard, to read event files.
    TensorBoard,
}

/// Python packages that lie in one folder.
#[derive(Debug)]
pub struct Packages {
    /// Name of the folder.
    pub name: &'static str,
    /// The packages, as pip takes them: all that a script needs, so that pip need not look for
    /// what they depend on.
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

const TENSORBOARD: Packages = Packages {
    name: "tensorboard-2.21.0",
    requirements: &["tensorboard==2.21.0", "absl-py==2.5.1"],
};

impl Packages {
    /// The packages of all environments.
    pub const ALL: [&Packages; 6] = [
        &ONNX,
        &ONNXRUNTIME,
        &ONNXRUNTIME_NEWEST,
        &OPENVINO,
        &OPENCV,
        &TENSORBOARD,
    ];

    /// The folder of the packages for the `python3` at hand; `None` if there is none.
    ///
    /// Packages with compiled parts fit one version of Python only.
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

    /// The file of the folder that says what is in it: the requirements, one a line.
    ///
    /// A folder gets its name when all is in it, so one without this file has another origin.
    pub const STAMP: &str = "installed";

    /// What [`Packages::STAMP`] says.
    pub fn stamp(&self) -> String {
        self.requirements.join("\n")
    }

    /// Whether the folder is there, with these packages.
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
            Self::TensorBoard => &[&ONNX, &TENSORBOARD],
        }
    }

    /// The value of `PYTHONPATH`; `None` if a part is not installed.
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

/// `python3` with the packages of an environment; `None`, after saying that `test` is skipped, if
/// they are not installed.
pub fn python(test: &str, environment: Environment) -> Option<Command> {
    let Some(path) = environment.path() else {
        skip(test, "run `cargo xtask test`, which fetches what it needs");
        return None;
    };
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", path);
    Some(command)
}

/// Runs a command to its end and returns what it printed.
///
/// # Panics
///
/// If the command fails, with what it wrote to standard error.
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
    String::from_utf8(output.stdout).expect("what it prints is text")
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
            (Environment::TensorBoard, "tensorboard"),
        ] {
            let Some(mut python) = python("each_environment_has_its_own_version", environment)
            else {
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
    fn what_a_failed_script_says_is_seen() {
        run(Command::new("sh").args(["-c", "echo no good >&2; exit 1"]));
    }
}
