use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::logging::LogLevel;
use thiserror::Error;

use crate::onnxruntime;

/// ONNX Runtime was not found or cannot be loaded.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct RuntimeError(String);

/// ONNX Runtime, loaded into the process.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
    path: PathBuf,
    version: String,
}

impl Runtime {
    /// Loads the library that [`onnxruntime::locate`] finds, once per process. Call
    /// [`onnxruntime::disable_telemetry`] before.
    ///
    /// # Errors
    /// If the library is not found, cannot be loaded, or is too old.
    pub fn load() -> Result<Self, RuntimeError> {
        static RUNTIME: OnceLock<Result<Runtime, RuntimeError>> = OnceLock::new();
        RUNTIME.get_or_init(Self::load_now).clone()
    }

    fn load_now() -> Result<Self, RuntimeError> {
        let path = onnxruntime::locate().map_err(|error| RuntimeError(error.to_string()))?;
        let failed = |error: &dyn std::error::Error| {
            RuntimeError(format!(
                "cannot load ONNX Runtime from {}: {error}. Install version {} or newer (`python3 -m pip install \
                 --upgrade onnxruntime`), or set {} to its library file",
                path.display(),
                onnxruntime::VERSION,
                onnxruntime::PATH_VARIABLE
            ))
        };
        let version = onnxruntime::version(&path).map_err(|error| failed(&error))?;
        let environment = ort::init_from(&path)
            .map_err(|error| failed(&error))?
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(&error))?;
        // Errors are reported once, by this crate.
        environment.set_log_level(LogLevel::Fatal);
        Ok(Self {
            environment,
            path,
            version,
        })
    }

    /// The environment in which sessions are created.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The library file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The library's version, such as `1.31.1`.
    pub fn version(&self) -> &str {
        &self.version
    }
}
