use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use half::f16;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType};
use sha2::{Digest, Sha256};
use thiserror::Error;
use topk_native::Runtime;
use topk_onnx::{CardError, ModelCard};

use crate::assignment::{Assignment, RECORD, assignment};
use crate::provider::Provider;

/// Channels of an image: red, green, blue.
const CHANNELS: usize = 3;

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
    /// The provider that was asked for cannot be used.
    #[error(
        "{provider} was asked for, but ONNX Runtime cannot use it: {reason}. `cargo xtask doctor` says \
         what is missing; --provider cpu goes without"
    )]
    Provider {
        /// The provider.
        provider: Provider,
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

/// How models are run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Execution {
    /// The execution provider.
    pub provider: Provider,
    /// Threads of the CPU; `None` lets ONNX Runtime choose.
    pub threads: Option<usize>,
    /// Whether a GPU may round the factors of products to TF32's 11 bits.
    pub tf32: bool,
}

/// What a model wants its images to be.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum InputKind {
    /// Normalised, `f32` `[batch, channels, height, width]`.
    F32,
    /// Normalised, `f16` `[batch, channels, height, width]`.
    F16,
    /// As decoded, `u8` `[batch, height, width, channels]`.
    U8,
}

/// Images in the form that a model wants.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum InputTensor {
    F32(Vec<f32>),
    F16(Vec<f16>),
    U8(Vec<u8>),
}

/// An ONNX image classifier, ready to run: one input of images, and scores `[batch, classes]`, `f32` or
/// `f16`, as its first output.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    sha256: String,
    session: Session,
    input: String,
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
    /// If the file cannot be read, is no ONNX model, or no image classifier; or if a provider was asked
    /// for by name and cannot be used. [`Provider::Auto`] takes the CPU then.
    pub fn open(
        runtime: &Runtime,
        path: &Path,
        mut execution: Execution,
    ) -> Result<Self, ModelError> {
        let sha256 = sha256(path)?;
        let session = match execution.provider {
            Provider::Auto => {
                execution.provider = Provider::Cuda(0);
                match open_session(runtime, path, execution) {
                    Err(ModelError::Provider { .. }) => {
                        execution.provider = Provider::Cpu;
                        open_session(runtime, path, execution)
                    }
                    session => session,
                }
            }
            _ => open_session(runtime, path, execution),
        }?;
        let assignment = assignment(&session).map_err(|reason| load_error(path, reason))?;

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
        Ok(Self {
            path: path.to_owned(),
            sha256,
            session,
            input,
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

    /// What its images are to be.
    pub fn kind(&self) -> InputKind {
        self.kind
    }

    /// Height and width of an input image, as far as the file fixes them.
    pub fn input_size(&self) -> [Option<usize>; 2] {
        self.input_size
    }

    /// Number of images in a batch, if the file fixes it.
    pub fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// Number of scores, if the file fixes it.
    pub fn classes(&self) -> Option<usize> {
        self.classes
    }

    /// What the model says of itself, if it was written by these tools.
    pub fn card(&self) -> Option<&ModelCard> {
        self.card.as_ref()
    }

    /// How it runs; [`Provider::Auto`] has been decided.
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// Which provider runs which operators.
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Scores `[count, classes]`, row-major, of `count` images of this height and width.
    ///
    /// # Errors
    /// If the run fails, or does not give one row of scores an image.
    ///
    /// # Panics
    /// If `images` is not of that shape and of this model's kind.
    pub fn scores(
        &mut self,
        images: &InputTensor,
        count: usize,
        [height, width]: [usize; 2],
    ) -> Result<Vec<f32>, ModelError> {
        match self.batch {
            Some(batch) if batch != count => self.scores_in_parts(images, count, [height, width]),
            _ => self.run(images, count, [height, width]),
        }
    }

    /// For a model whose batch has a fixed size: the last one is filled up with its first image.
    fn scores_in_parts(
        &mut self,
        images: &InputTensor,
        count: usize,
        size: [usize; 2],
    ) -> Result<Vec<f32>, ModelError> {
        let batch = self.batch.unwrap_or(count);
        let mut scores = Vec::new();
        for start in (0..count).step_by(batch) {
            let part = (count - start).min(batch);
            let padded = images.padded(start, part, batch, 3 * size[0] * size[1]);
            let found = self.run(&padded, batch, size)?;
            scores.extend(&found[..found.len() / batch * part]);
        }
        Ok(scores)
    }

    fn run(
        &mut self,
        images: &InputTensor,
        count: usize,
        [height, width]: [usize; 2],
    ) -> Result<Vec<f32>, ModelError> {
        let failed = |reason: String| ModelError::Run {
            path: self.path.clone(),
            reason,
        };
        let planes = [count, CHANNELS, height, width];
        let rows = [count, height, width, CHANNELS];
        let input: SessionInputValue = match (images, self.kind) {
            (InputTensor::F32(images), InputKind::F32) => {
                TensorRef::from_array_view((planes, &**images)).map(Into::into)
            }
            (InputTensor::F16(images), InputKind::F16) => {
                TensorRef::from_array_view((planes, &**images)).map(Into::into)
            }
            (InputTensor::U8(images), InputKind::U8) => {
                TensorRef::from_array_view((rows, &**images)).map(Into::into)
            }
            _ => panic!("the caller gives images of the model's kind"),
        }
        .expect("the caller gives images of the model's size");
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => input])
            .map_err(|error| failed(error.to_string()))?;
        let (shape, scores) = floats(&outputs[0]).map_err(|error| failed(error.to_string()))?;
        match *shape {
            [rows, classes] if rows == count as i64 && classes > 0 => Ok(scores),
            ref shape => Err(failed(format!(
                "{count} images gave scores of shape {shape:?}"
            ))),
        }
    }
}

impl InputTensor {
    /// Room for so many values.
    pub fn zeros(kind: InputKind, len: usize) -> Self {
        match kind {
            InputKind::F32 => Self::F32(vec![0.0; len]),
            InputKind::F16 => Self::F16(vec![f16::ZERO; len]),
            InputKind::U8 => Self::U8(vec![0; len]),
        }
    }

    /// `part` images from `start` on, and then the first of them, `batch` in all.
    fn padded(&self, start: usize, part: usize, batch: usize, len: usize) -> Self {
        fn padded<T: Copy>(values: &[T], part: usize, batch: usize, len: usize) -> Vec<T> {
            let mut padded = values[..part * len].to_vec();
            for _ in part..batch {
                padded.extend_from_slice(&values[..len]);
            }
            padded
        }
        match self {
            Self::F32(values) => Self::F32(padded(&values[start * len..], part, batch, len)),
            Self::F16(values) => Self::F16(padded(&values[start * len..], part, batch, len)),
            Self::U8(values) => Self::U8(padded(&values[start * len..], part, batch, len)),
        }
    }
}

fn sha256(path: &Path) -> Result<String, ModelError> {
    let hash = || {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut part = vec![0; 1 << 20];
        loop {
            match file.read(&mut part)? {
                0 => return Ok(hash.finalize()),
                count => hash.update(&part[..count]),
            }
        }
    };
    let hash = hash().map_err(|error| ModelError::Read {
        path: path.to_owned(),
        error,
    })?;
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn open_session(
    runtime: &Runtime,
    path: &Path,
    execution: Execution,
) -> Result<Session, ModelError> {
    let Execution {
        provider,
        threads,
        tf32,
    } = execution;
    let missing = |reason: String| ModelError::Provider {
        provider,
        // ONNX Runtime ends its sentences; this one goes on.
        reason: reason.trim_end_matches(['.', ' ']).to_owned(),
    };
    let providers = provider.dispatch(runtime, tf32).map_err(missing)?;
    let load = |error: ort::Error| load_error(path, error);
    let mut builder = Session::builder(runtime.environment())
        // Threads that wait by spinning would take the time of those that decode.
        .and_then(|builder| Ok(builder.with_intra_op_spinning(false)?))
        .and_then(|builder| Ok(builder.with_config_entry(RECORD, "1")?))
        .map_err(load)?;
    if let Some(threads) = threads {
        let with_threads = builder.with_intra_threads(threads);
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
        reason: reason.to_string(),
    }
}

/// Shape and values of an output of `f32` or `f16`.
fn floats(value: &DynValue) -> ort::Result<(Vec<i64>, Vec<f32>)> {
    if let Ok((shape, values)) = value.try_extract_tensor::<f16>() {
        return Ok((
            shape.to_vec(),
            values.iter().map(|value| value.to_f32()).collect(),
        ));
    }
    let (shape, values) = value.try_extract_tensor::<f32>()?;
    Ok((shape.to_vec(), values.to_vec()))
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

/// Kind, size of a batch, and height and width, if it is an input of images.
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
    // What is not known is −1.
    let known = |dim: i64| usize::try_from(dim).ok();
    let good = known(channels).is_none_or(|channels| channels == CHANNELS);
    let some = [batch, size[0], size[1]].iter().all(|&dim| dim != 0);
    (good && some).then(|| (kind, known(batch), size.map(known)))
}

/// The number of scores; `Some(None)` if it is known only at run time.
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
        "`{}` is {}, expected {expected}",
        outlet.name(),
        outlet.dtype()
    )
}
