use std::path::{Path, PathBuf};
use std::thread;

use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{Outlet, TensorElementType};
use rayon::prelude::*;
use topk_labels::Classes;
use topk_native::{Gpu, Runtime};
use topk_onnx::proto::ModelProto;
use topk_onnx::{Behavior, Ending, ModelCard, WeightTypes, ancestors, ending};
use topk_results::{GpuInfo, OutputKind, ScorePrecision};

use crate::assignment::{Assignment, RECORD, assignment};
use crate::input::{InputKind, InputTensor};
use crate::model_error::ModelError;
use crate::model_file::ModelFile;
use crate::options::Labels;
use crate::provider::{Provider, open_with};
use crate::score_kind::{OffsetError, label_offset, output_kind};
use crate::signature::{
    EXPECTED_INPUT, ExpectedClasses, ImageInput, Output, OutputError, ScoreOutput, image_input,
    score_output,
};
use crate::trial::Trial;
use crate::worker::SessionWorker;

/// Limit in bytes for all copies of the weights, unless the number of sessions is set.
const MAX_COPIES: u64 = 1 << 30;

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

/// How to open a model.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions {
    /// How to run it.
    pub execution: Execution,
    /// Name of the output with the scores. By default the output that fits the classes of the data, is named like
    /// scores, or leads to no other output.
    pub output: Option<String>,
    /// What its scores are. By default according to its graph, and to the scores of a run.
    pub output_kind: Option<OutputKind>,
    /// Number of outputs before that of class 0. By default 1 for ImageNet models with 1,001 outputs, else 0.
    pub label_offset: Option<usize>,
    /// Classes of the data, if known.
    pub classes: Option<Classes>,
}

impl From<Execution> for ModelOptions {
    fn from(execution: Execution) -> Self {
        Self {
            execution,
            ..Self::default()
        }
    }
}

/// A loaded ONNX image classifier: one input for images, and an output with the scores of each.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    sha256: String,
    external_data: Vec<String>,
    /// Types of its weights.
    precision: String,
    workers: Vec<SessionWorker>,
    input: ImageInput,
    output: ScoreOutput,
    score_precision: ScorePrecision,
    ending: Ending,
    behavior: Behavior,
    card: Option<ModelCard>,
    options: ModelOptions,
    assignment: Assignment,
    /// Why [`Provider::Auto`] is not CUDA.
    no_gpu: Option<String>,
    gpu: Option<GpuInfo>,
    kind: OutputKind,
    label_offset: usize,
    notes: Vec<String>,
}

impl Model {
    /// Loads a model.
    ///
    /// # Errors
    /// If a file cannot be read, is not an ONNX model or not an image classifier, or if the provider is not
    /// available. [`Provider::Auto`] falls back to the CPU.
    pub fn open(
        runtime: &Runtime,
        path: &Path,
        options: impl Into<ModelOptions>,
    ) -> Result<Self, ModelError> {
        Self::open_in(runtime, path, options.into(), MAX_COPIES)
    }

    /// Loads models that run together.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_all(
        runtime: &Runtime,
        paths: &[PathBuf],
        options: impl Into<ModelOptions>,
    ) -> Result<Vec<Self>, ModelError> {
        let room = MAX_COPIES / paths.len().max(1) as u64;
        let options = options.into();
        let models = paths.iter();
        models
            .map(|path| Self::open_in(runtime, path, options.clone(), room))
            .collect()
    }

    /// Loads a model, with at most `room` bytes for copies of its weights.
    fn open_in(
        runtime: &Runtime,
        path: &Path,
        mut options: ModelOptions,
        room: u64,
    ) -> Result<Self, ModelError> {
        let file = ModelFile::open(path)?;
        let execution = options.execution;
        let open = |provider| {
            let sessions = execution.sessions.unwrap_or(match provider {
                Provider::Cpu => {
                    let fitting = room / file.bytes.max(1);
                    execution.all_threads().min(fitting as usize)
                }
                _ => 1,
            });
            let execution = Execution {
                provider,
                sessions: Some(sessions.max(1)),
                ..execution
            };
            let sessions = (0..sessions.max(1)).into_par_iter();
            sessions
                .map(|_| open_session(runtime, path, execution))
                .collect::<Result<Vec<Session>, _>>()
        };
        let (sessions, provider, no_gpu) = open_with(execution.provider, open)?;
        options.execution.provider = provider;
        options.execution.sessions = Some(sessions.len());
        let session = &sessions[0];
        let assignment = assignment(session).map_err(|reason| load_error(path, reason))?;

        let (input_name, input) = find_input(path, session)?;
        let output = find_output(path, session, file.graph.as_ref(), &input, &options)?;
        let of_output = session
            .outputs()
            .iter()
            .find(|found| found.name() == output.name);
        let score_precision = match of_output.and_then(|found| found.dtype().tensor_type()) {
            Some(TensorElementType::Float16) => ScorePrecision::Half,
            Some(TensorElementType::Bfloat16) => ScorePrecision::Bfloat16,
            _ => ScorePrecision::Single,
        };
        let card = read_card(session, path)?;
        let create =
            |session| SessionWorker::new(session, provider, &input_name, &output.name, input.batch);
        let workers = sessions.into_iter().map(create);
        let workers = workers.collect::<ort::Result<_>>();
        let graph = file.graph.as_ref();
        let model = Self {
            path: path.to_owned(),
            sha256: file.sha256,
            external_data: file.external_data,
            precision: graph.map_or_else(
                || "unknown".to_owned(),
                |graph| WeightTypes::of(graph).to_string(),
            ),
            workers: workers.map_err(|error| load_error(path, error))?,
            input,
            score_precision,
            ending: graph.map_or(Ending::Other, |graph| ending(graph, &output.name)),
            behavior: graph.map(Behavior::of).unwrap_or_default(),
            notes: notes(graph, &output, &input),
            output,
            card,
            options,
            assignment,
            no_gpu: no_gpu.map(|error| match error {
                ModelError::Provider { reason, .. } => reason,
                error => error.to_string(),
            }),
            gpu: provider.gpu().map(|index| gpu_info(index as usize)),
            kind: OutputKind::Logits,
            label_offset: 0,
        };
        model.check_card(model.output.classes)?;
        Ok(model)
    }

    fn signature_error(&self, reason: String) -> ModelError {
        ModelError::Signature {
            path: self.path.clone(),
            reason,
        }
    }

    fn check_card(&self, classes: Option<usize>) -> Result<(), ModelError> {
        let named = self
            .card
            .as_ref()
            .and_then(|card| card.class_names.as_ref());
        if let (Some(class_names), Some(classes)) = (named, classes)
            && class_names.len() != classes
        {
            return Err(self.signature_error(format!(
                "its metadata lists {} classes, but its output has {classes}",
                class_names.len()
            )));
        }
        Ok(())
    }

    /// Runs the model on images of noise of this height and width, to determine what its file does not show: the
    /// number of classes, what the scores are, and whether images can be run together. Then decides which output
    /// belongs to which class of the data.
    ///
    /// # Errors
    /// If it fails on a single image, or its outputs are not scores of the classes.
    pub(crate) fn prepare(
        &mut self,
        size: [usize; 2],
        data: &Classes,
        labels: &Labels,
    ) -> Result<(), ModelError> {
        let tensorrt = matches!(self.options.execution.provider, Provider::TensorRt(_));
        let trial = match self.output.classes {
            // An engine for another batch size takes minutes to build.
            Some(classes) if tensorrt && self.input.batch.is_none() => Trial::without_run(classes),
            _ => {
                let worker = &mut self.workers[0];
                let trial = Trial::run(worker, self.input.kind, size);
                trial.map_err(|reason| ModelError::Run {
                    path: self.path.clone(),
                    reason,
                })?
            }
        };
        let classes = trial.classes;
        if classes == 1 && data.len() > 1 {
            let name = &self.output.name;
            return Err(self.signature_error(format!(
                "its output `{name}` has a single score per image, as for two classes with a sigmoid: export \
                 a score for each class, such as 0 and the logit"
            )));
        }
        self.check_card(Some(classes))?;
        let one_by_one = self.one_by_one(&trial);
        for worker in &mut self.workers {
            worker.set(classes, one_by_one.is_some());
        }
        self.output.classes = Some(classes);
        let requested = self.options.output_kind;
        let (kind, kind_line) = output_kind(requested, self.ending, trial.values);
        self.kind = kind;
        let offset = label_offset(self.options.label_offset, classes, data, labels);
        let (offset, offset_line) = offset.map_err(|error| {
            let path = self.path.clone();
            match error {
                OffsetError::Unknown => ModelError::Background { path },
                OffsetError::TooLarge(offset) => ModelError::LabelOffset {
                    path,
                    offset,
                    outputs: classes,
                },
            }
        })?;
        self.label_offset = offset;
        self.notes.extend(kind_line);
        self.notes.extend(offset_line);
        let one_by_one = one_by_one.map(|why| format!("images are run one by one: {why}"));
        self.notes.extend(one_by_one);
        self.notes.extend(self.warnings(trial.random));
        Ok(())
    }

    /// Why images must be run one by one, if so and if the model can.
    fn one_by_one(&self, trial: &Trial) -> Option<String> {
        let Behavior {
            training,
            dynamic_quantization,
            ..
        } = &self.behavior;
        if self.input.batch.is_some() {
            return None;
        }
        if !dynamic_quantization.is_empty() {
            return Some(format!(
                "it is quantised dynamically ({dynamic_quantization}), with scales that depend on all images \
                 of a batch"
            ));
        }
        if training.contains("BatchNormalization") {
            return Some("its batch normalisation depends on all images of a batch".to_owned());
        }
        trial.one_by_one.clone()
    }

    fn warnings(&self, random: bool) -> Vec<String> {
        let Behavior {
            training,
            random: operators,
            dynamic_quantization,
        } = &self.behavior;
        let mut warnings = Vec::new();
        if !training.is_empty() {
            warnings.push(format!(
                "warning: it was exported in training mode ({training}), and scores differ from run to run or \
                 with the batch: export it in evaluation mode, in PyTorch after `model.eval()`"
            ));
        }
        if !operators.is_empty() {
            warnings.push(format!(
                "warning: it draws random numbers ({operators}): scores differ from run to run"
            ));
        }
        if random && training.is_empty() && operators.is_empty() {
            warnings.push("warning: the scores of an image differ from run to run".to_owned());
        }
        if let Some(batch) = self.input.batch.filter(|&batch| batch > 1)
            && !dynamic_quantization.is_empty()
        {
            warnings.push(format!(
                "warning: it is quantised dynamically ({dynamic_quantization}) for batches of {batch}: the \
                 scores of an image depend on the others"
            ));
        }
        warnings
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of its files, in hexadecimal; see [`ModelInfo::sha256`](topk_results::ModelInfo::sha256).
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Files with weights beside the model file.
    pub(crate) fn external_data(&self) -> &[String] {
        &self.external_data
    }

    /// Types of its weights.
    pub(crate) fn precision(&self) -> &str {
        &self.precision
    }

    /// Type and layout of its input.
    pub fn kind(&self) -> InputKind {
        self.input.kind
    }

    /// Height and width of the input, where fixed.
    pub fn input_size(&self) -> [Option<usize>; 2] {
        self.input.size
    }

    /// Batch size, if fixed.
    pub fn batch(&self) -> Option<usize> {
        self.input.batch
    }

    /// Number of images of each run, if it is not free.
    pub(crate) fn run_size(&self) -> Option<usize> {
        self.workers[0].batch()
    }

    /// Number of classes, if known: the scores of an image without those before class 0.
    pub fn classes(&self) -> Option<usize> {
        self.output
            .classes
            .map(|classes| classes - self.label_offset)
    }

    /// Number of outputs before that of class 0.
    pub(crate) fn label_offset(&self) -> usize {
        self.label_offset
    }

    /// Name of the output with the scores.
    pub fn output(&self) -> &str {
        &self.output.name
    }

    /// What its scores are, and their precision.
    pub(crate) fn output_kind(&self) -> (OutputKind, ScorePrecision) {
        (self.kind, self.score_precision)
    }

    /// What was decided, and warnings, one line each.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why [`Provider::Auto`] is not CUDA, if so.
    pub(crate) fn no_gpu(&self) -> Option<&str> {
        self.no_gpu.as_deref()
    }

    /// The GPU that it runs on.
    pub(crate) fn gpu(&self) -> Option<&GpuInfo> {
        self.gpu.as_ref()
    }

    /// The metadata, if the model was written by these tools.
    pub fn card(&self) -> Option<&ModelCard> {
        self.card.as_ref()
    }

    /// How it runs, with [`Provider::Auto`] resolved.
    pub fn execution(&self) -> Execution {
        self.options.execution
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
        let allocator = self.workers[0].allocator(self.options.execution.provider);
        allocator.map_err(|error| ModelError::Run {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

/// The input for images, and its name.
fn find_input(path: &Path, session: &Session) -> Result<(String, ImageInput), ModelError> {
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
    let found = image_input(input.dtype()).ok_or_else(|| {
        let (name, found) = (input.name(), input.dtype());
        signature(format!(
            "expected `{name}` to be {EXPECTED_INPUT}, got {found}"
        ))
    })?;
    Ok((input.name().to_owned(), found))
}

/// The output with the scores.
fn find_output(
    path: &Path,
    session: &Session,
    graph: Option<&ModelProto>,
    input: &ImageInput,
    options: &ModelOptions,
) -> Result<ScoreOutput, ModelError> {
    let outputs: Vec<Output> = session
        .outputs()
        .iter()
        .map(|output| Output {
            name: output.name(),
            value: output.dtype(),
            ancestors: graph
                .map(|graph| ancestors(graph, output.name()))
                .unwrap_or_default(),
            activated: graph.is_some_and(|graph| ending(graph, output.name()) != Ending::Other),
        })
        .collect();
    let requested = options.output.as_deref();
    let expected = ExpectedClasses::of(options.classes.as_ref(), options.label_offset);
    score_output(&outputs, input.batch, requested, &expected).map_err(|error| {
        let path = path.to_owned();
        match error {
            OutputError::None(reason) => ModelError::Signature { path, reason },
            OutputError::Requested(reason) => ModelError::Output {
                path,
                output: requested.unwrap_or_default().to_owned(),
                reason,
            },
        }
    })
}

/// What the files of a model show.
fn notes(graph: Option<&ModelProto>, output: &ScoreOutput, input: &ImageInput) -> Vec<String> {
    let mut notes = Vec::new();
    if graph.is_none() {
        notes.push(
            "the file is in ONNX Runtime's own format: its operators and the type of its weights were not examined"
                .to_owned(),
        );
    }
    notes.extend(output.note.clone());
    if let Some(batch) = input.batch.filter(|&batch| batch > 1) {
        notes.push(format!(
            "it takes {batch} images at a time; the last batch is filled up"
        ));
    }
    notes
}

fn gpu_info(index: usize) -> GpuInfo {
    let Gpu {
        name,
        driver,
        cuda,
        cudnn,
    } = Gpu::of(index);
    GpuInfo {
        name,
        driver,
        cuda,
        cudnn,
    }
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
