use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ort::ep;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use sha2::{Digest, Sha256};
use thiserror::Error;
use topk_native::{Device, Runtime, driver_version, onnxruntime};
use topk_onnx::{CardError, ModelCard};

/// Where a model runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Provider {
    /// ONNX Runtime's CPU execution provider.
    Cpu,
    /// The CUDA execution provider on the GPU of this index, with TF32 off.
    Cuda(usize),
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Why a model cannot be loaded or run. Every message names its file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the model {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// ONNX Runtime does not take it.
    #[error("{} is not an ONNX model that can be run: {reason}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// Its inputs or outputs are not those of an image classifier.
    #[error("{} is not an image classifier that can be evaluated: {reason}", path.display())]
    Signature {
        /// The file.
        path: PathBuf,
        /// What is unexpected.
        reason: String,
    },
    /// Its metadata is broken.
    #[error("{}: {error}", path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: CardError,
    },
    /// CUDA was asked for and cannot be used.
    #[error(
        "cuda:{index} was asked for, but ONNX Runtime cannot use it: {reason}. `cargo xtask doctor` \
         says what is missing; --device cpu goes without"
    )]
    Cuda {
        /// Index of the GPU.
        index: usize,
        /// What is missing.
        reason: String,
    },
    /// A run failed.
    #[error("{} failed while running: {reason}", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// ONNX Runtime's words.
        reason: String,
    },
}

/// An ONNX image classifier, ready to run: one `f32` input `[batch, 3, height, width]`, and scores
/// `[batch, classes]` as its first output.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    sha256: String,
    session: Session,
    input: String,
    input_size: [usize; 3],
    classes: Option<usize>,
    card: Option<ModelCard>,
    provider: Provider,
}

impl Model {
    /// Loads a model for a device; `threads` of `None` lets ONNX Runtime choose.
    ///
    /// # Errors
    /// If the file cannot be read, is no ONNX model, or no image classifier; or if a GPU was asked
    /// for by name and cannot be used. `auto` takes the CPU then.
    pub fn open(
        runtime: &Runtime,
        path: &Path,
        device: Device,
        threads: Option<usize>,
    ) -> Result<Self, ModelError> {
        let bytes = fs::read(path).map_err(|error| ModelError::Read {
            path: path.to_owned(),
            error,
        })?;
        let sha256 = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        drop(bytes);

        let (session, provider) = match device {
            Device::Cpu => (cpu_session(runtime, path, threads)?, Provider::Cpu),
            Device::Cuda(index) => (
                cuda_session(runtime, path, threads, index)?,
                Provider::Cuda(index),
            ),
            Device::Auto => match cuda_session(runtime, path, threads, 0) {
                Ok(session) => (session, Provider::Cuda(0)),
                Err(ModelError::Cuda { .. }) => {
                    (cpu_session(runtime, path, threads)?, Provider::Cpu)
                }
                Err(error) => return Err(error),
            },
        };

        let signature = |reason| ModelError::Signature {
            path: path.to_owned(),
            reason,
        };
        let [input] = session.inputs() else {
            let names: Vec<_> = session.inputs().iter().map(Outlet::name).collect();
            return Err(signature(format!(
                "it has {} inputs {names:?}, expected one",
                names.len()
            )));
        };
        let input_size = input_size(input.dtype())
            .ok_or_else(|| signature(unexpected(input, "f32 [dynamic, 3, height, width]")))?;
        let output = session
            .outputs()
            .first()
            .ok_or_else(|| signature("it has no outputs".to_owned()))?;
        let classes = classes(output.dtype())
            .ok_or_else(|| signature(unexpected(output, "f32 [dynamic, classes]")))?;
        let input = input.name().to_owned();
        let card = read_card(&session, path)?;
        let named = card.as_ref().and_then(|card| card.class_names.as_ref());
        if let (Some(class_names), Some(classes)) = (named, classes)
            && class_names.len() != classes
        {
            return Err(signature(format!(
                "its metadata names {} classes, but it has {classes} scores",
                class_names.len()
            )));
        }
        let path = path.to_owned();
        Ok(Self {
            path,
            sha256,
            session,
            input,
            input_size,
            classes,
            card,
            provider,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Channels, height and width of an input image.
    pub fn input_size(&self) -> [usize; 3] {
        self.input_size
    }

    /// Number of scores, if the file fixes it.
    pub fn classes(&self) -> Option<usize> {
        self.classes
    }

    /// What the model says of itself, if it was written by these tools.
    pub fn card(&self) -> Option<&ModelCard> {
        self.card.as_ref()
    }

    /// Where it runs.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Scores `[count, classes]`, row-major, of normalised images `[count, channels, height, width]`.
    ///
    /// # Errors
    /// If the run fails, or does not give one row of scores an image.
    ///
    /// # Panics
    /// If `images` is not of that shape.
    pub fn scores(&mut self, images: &[f32], count: usize) -> Result<Vec<f32>, ModelError> {
        let [channels, height, width] = self.input_size;
        let failed = |reason: String| ModelError::Run {
            path: self.path.clone(),
            reason,
        };
        let input = TensorRef::from_array_view(([count, channels, height, width], images))
            .expect("the caller gives images of the model's size");
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => input])
            .map_err(|error| failed(error.to_string()))?;
        let (shape, scores) = outputs[0]
            .try_extract_tensor::<f32>()
            .map_err(|error| failed(error.to_string()))?;
        match **shape {
            [rows, classes] if rows == count as i64 && classes > 0 => Ok(scores.to_vec()),
            ref shape => Err(failed(format!(
                "{count} images gave scores of shape {shape:?}"
            ))),
        }
    }
}

fn session_builder(runtime: &Runtime, threads: Option<usize>) -> Result<SessionBuilder, String> {
    let builder = Session::builder(runtime.environment()).map_err(|error| error.to_string())?;
    match threads {
        Some(threads) => builder
            .with_intra_threads(threads)
            .map_err(|error| error.to_string()),
        None => Ok(builder),
    }
}

fn cpu_session(
    runtime: &Runtime,
    path: &Path,
    threads: Option<usize>,
) -> Result<Session, ModelError> {
    let builder = session_builder(runtime, threads).map_err(|reason| load_error(path, reason))?;
    load(builder, path)
}

fn load(mut builder: SessionBuilder, path: &Path) -> Result<Session, ModelError> {
    builder
        .commit_from_file(path)
        .map_err(|error| load_error(path, error))
}

fn load_error(path: &Path, reason: impl ToString) -> ModelError {
    ModelError::Load {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn cuda_session(
    runtime: &Runtime,
    path: &Path,
    threads: Option<usize>,
    index: usize,
) -> Result<Session, ModelError> {
    let missing = |reason| ModelError::Cuda { index, reason };
    driver_version().map_err(|error| missing(format!("there is no NVIDIA driver ({error})")))?;
    onnxruntime::cuda_provider(runtime.path()).ok_or_else(|| {
        missing(format!(
            "{} has no CUDA provider beside it (run `cargo xtask setup --cuda`)",
            runtime.path().display()
        ))
    })?;
    onnxruntime::load_cuda_libraries(runtime.path()).map_err(|error| missing(error.to_string()))?;
    let device_id = i32::try_from(index).map_err(|_| missing("no such GPU".to_owned()))?;
    // ONNX Runtime would turn TF32 on and fall back to the CPU in silence.
    let provider = ep::CUDA::default()
        .with_device_id(device_id)
        .with_tf32(false)
        .build()
        .error_on_failure();
    let builder = session_builder(runtime, threads)
        .and_then(|builder| {
            builder
                .with_execution_providers([provider])
                .map_err(|error| error.to_string())
        })
        .map_err(missing)?;
    load(builder, path)
}

fn read_card(session: &Session, path: &Path) -> Result<Option<ModelCard>, ModelError> {
    let failed = |error: ort::Error| load_error(path, error);
    let metadata = session.metadata().map_err(failed)?;
    let entries: Vec<(String, String)> = metadata
        .custom_keys()
        .map_err(failed)?
        .into_iter()
        .filter_map(|key| metadata.custom(&key).map(|value| (key, value)))
        .collect();
    ModelCard::from_metadata(
        entries
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
    .map_err(|error| ModelError::Card {
        path: path.to_owned(),
        error,
    })
}

/// Shape of a tensor of `f32`.
fn float_shape(value: &ValueType) -> Option<&[i64]> {
    match value {
        ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape,
            ..
        } => Some(shape),
        _ => None,
    }
}

/// The images that a model takes, if it takes a batch of any size of images of one size.
fn input_size(value: &ValueType) -> Option<[usize; 3]> {
    match *float_shape(value)? {
        [..0, channels, height, width] if channels == 3 && height > 0 && width > 0 => {
            Some([channels as usize, height as usize, width as usize])
        }
        _ => None,
    }
}

/// The number of scores; `Some(None)` if it is known only at run time.
fn classes(value: &ValueType) -> Option<Option<usize>> {
    match *float_shape(value)? {
        [_, classes] => Some(usize::try_from(classes).ok()),
        _ => None,
    }
}

fn unexpected(outlet: &Outlet, expected: &str) -> String {
    format!(
        "`{}` is {}, expected {expected}",
        outlet.name(),
        outlet.dtype()
    )
}
