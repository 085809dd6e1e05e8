use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};
use rayon::prelude::*;
use thiserror::Error;
use topk_native::Runtime;
use topk_onnx::{CardError, ModelCard};

use crate::assignment::{Assignment, RECORD, assignment};
use crate::input::{CHANNELS, InputKind, InputTensor};
use crate::provider::Provider;
use crate::worker::SessionWorker;

/// Limit in bytes for all copies of the weights, unless the number of sessions is set.
const MAX_COPIES: u64 = 1 << 30;

/// A model that cannot be loaded or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the model {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// ONNX Runtime cannot load the file.
    #[error("cannot load the ONNX model {}: {reason}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// ONNX Runtime's message.
        reason: String,
    },
    /// The inputs or outputs are not those of an image classifier.
    #[error("{} is not a supported image classifier: {reason}", path.display())]
    Signature {
        /// The file.
        path: PathBuf,
        /// The mismatch.
        reason: String,
    },
    /// The metadata is invalid.
    #[error("{}: {error}", path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: CardError,
    },
    /// The requested execution provider is not available.
    #[error(
        "cannot use provider {provider}: {reason}. `cargo xtask doctor` reports missing libraries; \
         --provider cpu runs on the CPU"
    )]
    Provider {
        /// The provider.
        provider: Provider,
        /// The cause.
        reason: String,
    },
    /// A run failed.
    #[error("{} failed while running: {reason}", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// ONNX Runtime's message.
        reason: String,
    },
}

/// How to run models.
#[derive(Clone, Copy, Debug, Default)]
pub struct Execution {
    /// The execution provider.
    pub provider: Provider,
    /// Number of CPU threads of all sessions together; `None` is the number of CPUs.
    pub threads: Option<usize>,
    /// Concurrent sessions per model, each with its own copy of the weights and its share of the threads.
    /// `None` is one on a GPU; on the CPU it is one per thread, as long as the copies of all models opened
    /// together fit into 1 GiB.
    pub sessions: Option<usize>,
    /// Whether TF32 is allowed on NVIDIA GPUs.
    pub tf32: bool,
}

impl Execution {
    /// Number of threads of all sessions together.
    pub(crate) fn all_threads(&self) -> usize {
        self.threads.unwrap_or_else(processors)
    }
}

/// Number of CPUs that this process may use.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A loaded ONNX image classifier: one image input, and scores `[batch, classes]` in `f32` or `f16` as its
/// first output.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    sha256: String,
    workers: Vec<SessionWorker>,
    kind: InputKind,
    input_size: [Option<usize>; 2],
    batch: Option<usize>,
    classes: Option<usize>,
    card: Option<ModelCard>,
    execution: Execution,
    assignment: Assignment,
}

impl Model {
    /// Loads a model.
    ///
    /// # Errors
    /// If the file cannot be read, is not an ONNX model or not an image classifier, or if the provider is not
    /// available. [`Provider::Auto`] falls back to the CPU.
    pub fn open(runtime: &Runtime, path: &Path, execution: Execution) -> Result<Self, ModelError> {
        Self::open_in(runtime, path, execution, MAX_COPIES)
    }

    /// Loads models that run together.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_all(
        runtime: &Runtime,
        paths: &[PathBuf],
        execution: Execution,
    ) -> Result<Vec<Self>, ModelError> {
        let room = MAX_COPIES / paths.len().max(1) as u64;
        let models = paths.iter();
        models
            .map(|path| Self::open_in(runtime, path, execution, room))
            .collect()
    }

    /// Loads a model, with at most `room` bytes for copies of its weights.
    fn open_in(
        runtime: &Runtime,
        path: &Path,
        mut execution: Execution,
        room: u64,
    ) -> Result<Self, ModelError> {
        let (sha256, bytes) = hash(path)?;
        if execution.provider == Provider::Auto {
            execution.provider = match Provider::Cuda(0).dispatch(runtime, execution.tf32) {
                Ok(_) => Provider::Cuda(0),
                Err(_) => Provider::Cpu,
            };
        }
        let sessions = execution.sessions.unwrap_or(match execution.provider {
            Provider::Cpu => execution.all_threads().min((room / bytes.max(1)) as usize),
            _ => 1,
        });
        let sessions = sessions.max(1);
        execution.sessions = Some(sessions);
        let sessions: Vec<Session> = (0..sessions)
            .into_par_iter()
            .map(|_| open_session(runtime, path, execution))
            .collect::<Result<_, _>>()?;
        let session = &sessions[0];
        let assignment = assignment(session).map_err(|reason| load_error(path, reason))?;

        let signature = |reason| ModelError::Signature {
            path: path.to_owned(),
            reason,
        };
        let [input] = session.inputs() else {
            let names: Vec<_> = session.inputs().iter().map(Outlet::name).collect();
            return Err(signature(format!(
                "expected 1 input, got {} {names:?}",
                names.len()
            )));
        };
        let expected = "f32 or f16 [batch, 3, height, width], or u8 [batch, height, width, 3]";
        let Some((kind, batch, input_size)) = image_input(input.dtype()) else {
            return Err(signature(unexpected(input, expected)));
        };
        let output = session
            .outputs()
            .first()
            .ok_or_else(|| signature("it has no outputs".to_owned()))?;
        let classes = classes(output.dtype())
            .ok_or_else(|| signature(unexpected(output, "f32 or f16 [batch, classes]")))?;
        let (input, output) = (input.name().to_owned(), output.name().to_owned());
        let card = read_card(session, path)?;
        let named = card.as_ref().and_then(|card| card.class_names.as_ref());
        if let (Some(class_names), Some(classes)) = (named, classes)
            && class_names.len() != classes
        {
            return Err(signature(format!(
                "its metadata lists {} classes, but its output has {classes}",
                class_names.len()
            )));
        }
        let workers = sessions
            .into_iter()
            .map(|session| SessionWorker::new(session, execution.provider, &input, &output, batch))
            .collect::<ort::Result<_>>()
            .map_err(|error| load_error(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            sha256,
            workers,
            kind,
            input_size,
            batch,
            classes,
            card,
            execution,
            assignment,
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

    /// Type and layout of its input.
    pub fn kind(&self) -> InputKind {
        self.kind
    }

    /// Height and width of the input, where fixed.
    pub fn input_size(&self) -> [Option<usize>; 2] {
        self.input_size
    }

    /// Batch size, if fixed.
    pub fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// Number of classes, if fixed.
    pub fn classes(&self) -> Option<usize> {
        self.classes
    }

    /// The metadata, if the model was written by these tools.
    pub fn card(&self) -> Option<&ModelCard> {
        self.card.as_ref()
    }

    /// How it runs, with [`Provider::Auto`] resolved.
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// Operators by execution provider.
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Scores `[count, classes]` of `count` images, row-major.
    ///
    /// # Errors
    /// If the run fails, for example because of the type or size of the images, or does not return one row of
    /// scores per image.
    pub fn scores(&mut self, images: &InputTensor) -> Result<Vec<f32>, ModelError> {
        let Self { workers, path, .. } = self;
        workers[0].scores(images).map_err(|reason| ModelError::Run {
            path: path.clone(),
            reason,
        })
    }

    /// Its sessions.
    pub(crate) fn workers_mut(&mut self) -> &mut [SessionWorker] {
        &mut self.workers
    }

    /// Allocator for its input tensors.
    pub(crate) fn allocator(&self) -> Result<Allocator, ModelError> {
        let allocator = self.workers[0].allocator(self.execution.provider);
        allocator.map_err(|error| ModelError::Run {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

/// SHA-256 of a file, in hexadecimal, and its length in bytes.
fn hash(path: &Path) -> Result<(String, u64), ModelError> {
    topk_files::sha256(path).map_err(|error| ModelError::Read {
        path: path.to_owned(),
        error,
    })
}

fn open_session(
    runtime: &Runtime,
    path: &Path,
    execution: Execution,
) -> Result<Session, ModelError> {
    let Execution { provider, tf32, .. } = execution;
    let missing = |reason: String| ModelError::Provider {
        provider,
        // ONNX Runtime's messages end with a full stop, but this sentence continues.
        reason: reason.trim_end_matches(['.', ' ']).to_owned(),
    };
    let providers = provider.dispatch(runtime, tf32).map_err(missing)?;
    let load = |error: ort::Error| load_error(path, error);
    let mut builder = Session::builder(runtime.environment())
        // Spinning threads would slow down decoding.
        .and_then(|builder| Ok(builder.with_intra_op_spinning(false)?))
        .and_then(|builder| Ok(builder.with_config_entry(RECORD, "1")?))
        .map_err(load)?;
    let sessions = execution.sessions.unwrap_or(1);
    if execution.threads.is_some() || sessions > 1 {
        let share = (execution.all_threads() / sessions).max(1);
        let with_threads = builder.with_intra_threads(share);
        builder = with_threads.map_err(|error| load_error(path, error))?;
    }
    if !providers.is_empty() {
        let with_providers = builder.with_execution_providers(providers);
        builder = with_providers.map_err(|error| missing(error.to_string()))?;
    }
    builder.commit_from_file(path).map_err(load)
}

fn load_error(path: &Path, reason: impl ToString) -> ModelError {
    ModelError::Load {
        path: path.to_owned(),
        reason: without_path(reason.to_string()),
    }
}

/// ONNX Runtime's message without the path, which the error contains already: `Load model from PATH failed:REASON`.
fn without_path(message: String) -> String {
    let rest = message.strip_prefix("Load model from ");
    match rest.and_then(|rest| rest.split_once(" failed:")) {
        Some((_, reason)) => reason.trim_start().to_owned(),
        None => message,
    }
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

/// Type, batch size, and height and width, if it is an image input.
fn image_input(value: &ValueType) -> Option<(InputKind, Option<usize>, [Option<usize>; 2])> {
    let ValueType::Tensor { ty, shape, .. } = value else {
        return None;
    };
    let kind = match ty {
        TensorElementType::Float32 => InputKind::F32,
        TensorElementType::Float16 => InputKind::F16,
        TensorElementType::Uint8 => InputKind::U8,
        _ => return None,
    };
    let &[batch, a, b, c] = &**shape else {
        return None;
    };
    let (channels, size) = match kind {
        InputKind::U8 => (c, [a, b]),
        InputKind::F32 | InputKind::F16 => (a, [b, c]),
    };
    // Dynamic dimensions are −1.
    let known = |dim: i64| usize::try_from(dim).ok();
    let good = known(channels).is_none_or(|channels| channels == CHANNELS);
    let some = [batch, size[0], size[1]].iter().all(|&dim| dim != 0);
    (good && some).then(|| (kind, known(batch), size.map(known)))
}

/// The number of classes; `Some(None)` if it is dynamic.
fn classes(value: &ValueType) -> Option<Option<usize>> {
    match value {
        ValueType::Tensor {
            ty: TensorElementType::Float32 | TensorElementType::Float16,
            shape,
            ..
        } => match **shape {
            [_, classes] => Some(usize::try_from(classes).ok()),
            _ => None,
        },
        _ => None,
    }
}

fn unexpected(outlet: &Outlet, expected: &str) -> String {
    format!(
        "expected `{}` to be {expected}, got {}",
        outlet.name(),
        outlet.dtype()
    )
}
