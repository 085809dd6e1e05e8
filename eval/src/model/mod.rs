//! Models: their files, their sessions, and what is decided about them.

mod devices;
mod error;
mod file;
mod prepare;
mod session;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ort::memory::Allocator;
use ort::session::Session;
use ort::value::TensorElementType;
use rayon::prelude::*;
use topk_labels::Classes;
use topk_native::Runtime;
use topk_onnx::proto::ModelProto;
use topk_onnx::{Behavior, Ending, ModelCard, Quantization, WeightTypes, ending};
use topk_results::{GpuInfo, OutputKind, PluginInfo, QuantizationInfo, ScorePrecision};

use self::devices::{gpu_info, providers};
pub use self::error::ModelError;
use self::file::ModelFile;
pub(crate) use self::file::inside;
use self::session::{find_input, find_output, load_error, open_session, read_card};
use crate::assignment::{Assignment, assignment};
use crate::input::{InputKind, InputTensor};
use crate::plugin;
use crate::provider::{ConvSearch, Provider, open_with};
use crate::signature::{ImageInput, ScoreOutput};
use crate::tensorrt::EngineCache;
use crate::worker::SessionWorker;

/// Limit in bytes for all copies of the weights, unless the number of sessions is set.
const MAX_COPIES: u64 = 1 << 30;

/// How to run models.
#[derive(Clone, Copy, Debug, Default)]
pub struct Execution {
    /// The execution provider.
    pub provider: Provider,
    /// Index of the GPU that [`Provider::Auto`] tries.
    pub auto_gpu: usize,
    /// Number of CPU threads of all sessions together; `None` is the number of CPUs.
    pub threads: Option<usize>,
    /// Concurrent sessions per model, each with its own copy of the weights and its share of the threads.
    /// `None` is one on a GPU; on the CPU it is one per thread, as long as the copies of all models opened
    /// together fit into 1 GiB.
    pub sessions: Option<usize>,
    /// Batches in flight per session: while the session runs one, another is copied to its device, and the scores of a
    /// third are read. `None` is two on a GPU, and one on the CPU. With more than one, and on a GPU, all runs have the
    /// same number of images, and the last one is filled up.
    pub in_flight: Option<usize>,
    /// Whether TF32 is allowed on NVIDIA GPUs.
    pub tf32: bool,
    /// How CUDA finds the algorithms of convolutions.
    pub conv_search: ConvSearch,
    /// Whether CUDA computes convolutions with the channels last.
    pub channels_last: bool,
    /// Whether TensorRT may compute in float16.
    pub fp16: bool,
    /// Whether the threads of a session spin while they wait for work, as is ONNX Runtime's default: single runs are
    /// faster, but decoding beside them is slower.
    pub spinning: bool,
}

impl Execution {
    /// Number of threads of all sessions together.
    pub(crate) fn all_threads(&self) -> usize {
        self.threads.unwrap_or_else(processors)
    }

    /// Batches in flight per session, with a provider that is resolved.
    fn batches_in_flight(&self) -> usize {
        let usual = if self.provider.gpu().is_some() { 2 } else { 1 };
        self.in_flight.unwrap_or(usual).max(1)
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
    /// Providers that sessions run with at the same time, in place of [`Execution::provider`]: with each, as many as
    /// [`Execution::sessions`], by default one.
    pub devices: Vec<Provider>,
    /// Folder in which TensorRT keeps its engines for the next time; none by default.
    pub tensorrt_cache: Option<PathBuf>,
    /// Start of the name of the file that [`Model::end_profiling`] returns; no profile by default.
    pub profile: Option<PathBuf>,
    /// Batch size of the evaluation, if known: engines for another are kept apart.
    pub batch_size: Option<usize>,
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
    /// Size of its files.
    bytes: u64,
    /// Types of its weights.
    precision: String,
    quantization: Option<QuantizationInfo>,
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
    /// The device of a plugin that it runs on, in words, and the plugin.
    plugin: Option<(String, PluginInfo)>,
    /// Time to create its sessions.
    opening: Duration,
    /// What its scores are, once it was examined.
    kind: OutputKind,
    examined: bool,
    label_offset: usize,
    notes: Vec<String>,
}

/// How many copies of the weights of all models, with these sizes in bytes, fit into the limit. The number is
/// the same for all, because each image goes through one session of each model.
fn copies(sizes: impl IntoIterator<Item = u64>) -> usize {
    let bytes: u64 = sizes.into_iter().sum();
    (MAX_COPIES / bytes.max(1)) as usize
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
        let file = ModelFile::open(path)?;
        let copies = copies([file.bytes]);
        Self::open_in(runtime, path, file, options.into(), copies)
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
        let options = options.into();
        let files = paths.iter().map(|path| ModelFile::open(path));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let copies = copies(files.iter().map(|file| file.bytes));
        let models = paths.iter().zip(files);
        models
            .map(|(path, file)| Self::open_in(runtime, path, file, options.clone(), copies))
            .collect()
    }

    /// Loads a model, with at most `copies` sessions unless their number is set.
    fn open_in(
        runtime: &Runtime,
        path: &Path,
        file: ModelFile,
        mut options: ModelOptions,
        copies: usize,
    ) -> Result<Self, ModelError> {
        let execution = options.execution;
        let cache = options.tensorrt_cache.as_ref().map(|folder| EngineCache {
            folder: folder.clone(),
            model: file.sha256.clone(),
            batch_size: options.batch_size,
        });
        let devices = &options.devices;
        let profile = options.profile.as_deref();
        let mut opening = Duration::ZERO;
        let open = |provider| {
            let start = Instant::now();
            let each = execution.sessions.unwrap_or(match provider {
                Provider::Cpu if devices.is_empty() => execution.all_threads().min(copies),
                _ => 1,
            });
            let one = [provider];
            let devices = if devices.is_empty() {
                &one[..]
            } else {
                devices
            };
            let count = each.max(1) * devices.len();
            let sessions = (0..count).into_par_iter().map(|at| {
                // Sessions of all models with the same index run one after the other, on the same device.
                let provider = devices[at % devices.len()];
                let execution = Execution {
                    provider,
                    sessions: Some(count),
                    ..execution
                };
                let session = open_session(runtime, path, execution, &cache, profile, file.is_ort)?;
                Ok((session, provider))
            });
            // Of several errors the first one counts, whichever occurs first.
            let sessions: Vec<Result<(Session, Provider), _>> = sessions.collect();
            opening = start.elapsed();
            sessions.into_iter().collect::<Result<Vec<_>, _>>()
        };
        let requested = devices.first().copied().unwrap_or(execution.provider);
        let (sessions, provider, no_gpu) = open_with(requested, execution.auto_gpu, open)?;
        options.execution.provider = provider;
        options.execution.sessions = Some(sessions.len());
        let session = &sessions[0].0;
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
        let names = [input_name.as_str(), output.name.as_str()];
        let execution = options.execution;
        let bound = provider.gpu().is_some() || execution.batches_in_flight() > 1;
        let sessions: Vec<_> = sessions
            .into_iter()
            .map(|(session, provider)| (Arc::new(Mutex::new(session)), provider))
            .collect();
        let lanes = (0..execution.batches_in_flight()).flat_map(|_| &sessions);
        let workers = lanes.map(|(session, provider)| {
            let worker = SessionWorker::new(Arc::clone(session), names, input.batch)?;
            match bound {
                true => worker.with_binding(provider.gpu()),
                false => Ok(worker),
            }
        });
        let workers = workers.collect::<ort::Result<_>>();
        let graph = file.graph.as_ref();
        let gpu = gpu_info(&providers(&options, provider));
        let plugin = plugin::device(runtime, provider)
            .map_err(|reason| ModelError::Provider { provider, reason })?;
        let model = Self {
            path: path.to_owned(),
            sha256: file.sha256.clone(),
            external_data: file.external_data.clone(),
            precision: graph.map_or_else(
                || "unknown".to_owned(),
                |graph| WeightTypes::of(graph).to_string(),
            ),
            quantization: graph.and_then(quantization),
            bytes: file.bytes,
            workers: workers.map_err(|error| load_error(path, error))?,
            input,
            score_precision,
            ending: graph.map_or(Ending::Other, |graph| ending(graph, &output.name)),
            behavior: graph.map(Behavior::of).unwrap_or_default(),
            notes: notes(&file, &output, &input),
            output,
            card,
            options,
            assignment,
            no_gpu: no_gpu.map(|error| match error {
                ModelError::Provider { reason, .. } => reason,
                error => error.to_string(),
            }),
            gpu,
            plugin: plugin.map(|device| (device.to_string(), device.info())),
            opening,
            kind: OutputKind::Logits,
            examined: false,
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

    /// How its convolutions and matrix products are quantised, if they are.
    pub(crate) fn quantization(&self) -> Option<&QuantizationInfo> {
        self.quantization.as_ref()
    }

    /// Size of its files in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
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

    /// Number of images of each run, if it is not that of the images, because the model requires it or because all
    /// runs have the same.
    #[cfg(feature = "ndarray")]
    pub(crate) fn images_per_run(&self) -> Option<usize> {
        let worker = &self.workers[0];
        worker.batch().or(worker.run_size())
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

    /// What was decided about it, and warnings, one line each. Some are known only after a run.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Adds a note, once.
    pub(crate) fn add_note(&mut self, note: Option<String>) {
        let note = note.filter(|note| !self.notes.contains(note));
        self.notes.extend(note);
    }

    /// Why [`Provider::Auto`] is not CUDA, if so.
    pub(crate) fn no_gpu(&self) -> Option<&str> {
        self.no_gpu.as_deref()
    }

    /// The GPU that it runs on.
    pub(crate) fn gpu(&self) -> Option<&GpuInfo> {
        self.gpu.as_ref()
    }

    /// The plugin that it runs on, if its provider is not part of ONNX Runtime.
    pub(crate) fn plugin(&self) -> Option<&PluginInfo> {
        self.plugin.as_ref().map(|(_, info)| info)
    }

    /// Time to create its sessions.
    pub(crate) fn opening(&self) -> Duration {
        self.opening
    }

    /// The metadata, if the model was written by these tools.
    pub fn card(&self) -> Option<&ModelCard> {
        self.card.as_ref()
    }

    /// How it runs, with [`Provider::Auto`] resolved.
    pub fn execution(&self) -> Execution {
        self.options.execution
    }

    /// The providers of its sessions, such as `cpu`, `cuda:0` or `cuda:0,cuda:1`.
    pub(crate) fn devices(&self) -> String {
        let devices = providers(&self.options, self.options.execution.provider);
        let names: Vec<String> = devices.iter().map(Provider::to_string).collect();
        names.join(",")
    }

    /// What it runs on, such as `cpu` or `NVIDIA H100 PCIe (cuda:0)`.
    pub(crate) fn device(&self) -> String {
        let gpu = self.gpu.as_ref().and_then(|gpu| gpu.name.as_ref());
        let plugin = self.plugin.as_ref().map(|(device, _)| device);
        match gpu.or(plugin) {
            Some(name) => format!("{name} ({})", self.devices()),
            None => self.devices(),
        }
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
        workers[0]
            .scores(images.view())
            .map_err(|reason| ModelError::Run {
                path: path.clone(),
                reason,
            })
    }

    /// Sets the number of images of each run, where it is free and all runs have the same.
    pub(crate) fn set_run_size(&mut self, images: usize) {
        for worker in &mut self.workers {
            worker.set_run_size(images);
        }
    }

    /// Ends the profile that [`ModelOptions::profile`] requested, of its first session, and returns the file.
    ///
    /// # Errors
    /// ONNX Runtime's message, as a failed run, if there is none.
    pub fn end_profiling(&mut self) -> Result<PathBuf, ModelError> {
        self.workers[0]
            .end_profiling()
            .map(PathBuf::from)
            .map_err(|error| ModelError::Run {
                path: self.path.clone(),
                reason: error.to_string(),
            })
    }

    /// Whether TensorRT keeps its engines.
    pub(crate) fn caches_engines(&self) -> bool {
        self.options.tensorrt_cache.is_some()
    }

    /// Whether all runs have the same number of images, and the last one is filled up.
    pub(crate) fn is_bound(&self) -> bool {
        self.workers[0].is_bound()
    }

    /// The workers of its sessions, each for a batch at a time.
    pub(crate) fn workers_mut(&mut self) -> &mut [SessionWorker] {
        &mut self.workers
    }

    /// Allocator for its input tensors.
    pub(crate) fn allocator(&self) -> Result<Allocator, ModelError> {
        let allocator = self.workers[0].allocator(self.options.execution.provider.gpu());
        allocator.map_err(|error| ModelError::Run {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

/// The quantised nodes of a graph, as results record them.
fn quantization(graph: &ModelProto) -> Option<QuantizationInfo> {
    let found = Quantization::of(graph)?;
    Some(QuantizationInfo {
        format: found.format(),
        nodes: found.nodes,
        quantized: found.quantized,
        weights: found.weights.into_iter().collect(),
        activations: found.activations.into_iter().collect(),
    })
}

/// What the files of a model show.
fn notes(file: &ModelFile, output: &ScoreOutput, input: &ImageInput) -> Vec<String> {
    let mut notes = Vec::new();
    if file.is_ort {
        notes.push(
            "the file is in ONNX Runtime's own format: its operators and the type of its weights were not examined"
                .to_owned(),
        );
    }
    if let Some(quantization) = file.graph.as_ref().and_then(Quantization::of) {
        notes.push(format!("quantised: {quantization}"));
    }
    notes.extend(output.note.clone());
    if let Some(batch) = input.batch.filter(|&batch| batch > 1) {
        notes.push(format!(
            "it takes {batch} images at a time; the last batch is filled up"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_unequal_size_have_as_many_sessions() {
        assert_eq!(copies([1 << 20]), 1024);
        assert_eq!(copies([1 << 20, 600 << 20]), 1);
        assert_eq!(copies([2 << 30]), 0);
    }
}
