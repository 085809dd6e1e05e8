use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use thiserror::Error;

use crate::{ProviderLibrary, onnxruntime};

/// ONNX Runtime was not found or cannot be loaded.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct RuntimeError(String);

impl RuntimeError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Libraries that were loaded as plugins, and whether they may offer virtual devices; there is one environment per process.
static REGISTERED: Mutex<Vec<(ProviderLibrary, bool)>> = Mutex::new(Vec::new());

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

    /// Loads the library of an execution provider, once per process, so that its devices are among those of the
    /// environment. With `compile_only`, it may offer virtual devices too: those of other machines, for which models can
    /// be compiled.
    ///
    /// # Errors
    /// If the library or one that it needs cannot be loaded, or is not one of an execution provider.
    pub fn register(
        &self,
        library: &ProviderLibrary,
        compile_only: bool,
    ) -> Result<(), RuntimeError> {
        let failed = |error: &dyn std::error::Error| {
            let path = library.path().display();
            let error = error.to_string();
            // ONNX Runtime's message has the path too.
            let of_library = format!("Failed to load library {path} with error: ");
            let reason = error.strip_prefix(&of_library).unwrap_or(&error);
            RuntimeError(format!(
                "cannot load the execution provider in {path}: {reason}"
            ))
        };
        let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = (library.clone(), compile_only);
        if registered.contains(&entry) {
            return Ok(());
        }
        library
            .load_dependencies()
            .map_err(|error| failed(&error))?;
        // ONNX Runtime allows virtual devices to names with this end. Names are unique.
        let suffix = if compile_only { ".virtual" } else { "" };
        let number = match registered.len() {
            0 => String::new(),
            number => format!(".{number}"),
        };
        let name = format!("{}{number}{suffix}", library.name());
        let loaded = self.environment.register_ep_library(name, library.path());
        loaded.map_err(|error| failed(&error))?;
        registered.push(entry);
        Ok(())
    }

    /// The libraries of execution providers that were loaded with [`register`](Self::register).
    pub fn registered(&self) -> Vec<ProviderLibrary> {
        let registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut libraries: Vec<_> = registered
            .iter()
            .map(|(library, _)| library.clone())
            .collect();
        libraries.dedup();
        libraries
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
