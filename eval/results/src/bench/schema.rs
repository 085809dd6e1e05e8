//! The file of `topk-eval bench`: plain structs. All times are in seconds.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::file::{self, FileError};
use crate::schema::{Environment, PluginInfo, Results};

/// The version of the file. It increases with every change that older readers would misunderstand.
pub const BENCH_FORMAT: u32 = 1;

/// How fast models are on a machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Bench {
    /// [`BENCH_FORMAT`].
    pub format: u32,
    /// Always `bench`, to distinguish the file from results of an evaluation.
    pub kind: String,
    /// Version of `topk-eval`.
    pub topk_eval: String,
    /// When the measurement started, in RFC 3339.
    pub started: String,
    /// The machine and ONNX Runtime.
    pub environment: Environment,
    /// What was requested.
    pub settings: BenchSettings,
    /// The images that the models ran on; absent if they were generated.
    pub images: Option<BenchImages>,
    /// What was decided, and what to know about the numbers: one line each, as printed.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The models, in the order of the command line.
    pub models: Vec<BenchModel>,
}

/// What was requested.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BenchSettings {
    /// Number of runs before each measurement, which do not count.
    pub warmup: usize,
    /// Number of runs of each measurement, if it was set.
    pub runs: Option<usize>,
    /// Time of each measurement, if the number of runs was not set.
    pub duration_seconds: Option<f64>,
    /// Whether ONNX Runtime's threads spin while they wait for work.
    pub spinning: bool,
    /// How percentiles are interpolated, by NumPy's name; always `linear`.
    pub percentiles: String,
}

/// Images of a data set that models ran on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BenchImages {
    /// Path of the data set.
    pub path: String,
    /// Format of the data set.
    pub format: String,
    /// Number of different images; larger batches repeat them.
    pub count: usize,
}

/// A model and its measurements.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BenchModel {
    /// The model file.
    pub path: String,
    /// SHA-256 of its files; see [`ModelInfo::sha256`](crate::ModelInfo::sha256).
    pub sha256: String,
    /// Size of its files in bytes.
    pub bytes: u64,
    /// Type of the weights; see [`ModelInfo::precision`](crate::ModelInfo::precision).
    pub precision: String,
    /// Type and layout of the input; see [`ModelInfo::input`](crate::ModelInfo::input).
    pub input: String,
    /// Height and width of the input.
    pub input_size: [usize; 2],
    /// What was decided for this model, and warnings, as printed.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Its accuracy, from a result file with the same SHA-256.
    pub accuracy: Option<BenchAccuracy>,
    /// What preparing an image takes; absent for generated images.
    pub preparation: Option<Preparation>,
    /// One for each provider and number of threads.
    pub measurements: Vec<Measurement>,
}

/// Accuracy of a model, as a result file has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BenchAccuracy {
    /// The result file.
    pub file: String,
    /// Path of the data set.
    pub data: String,
    /// Hash that identifies the data set.
    pub data_sha256: String,
    /// Number of images that count.
    pub images: usize,
    /// Top-1 accuracy, 0 to 1.
    pub top1: f64,
    /// Lower bound of its 95 % Wilson interval.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// The largest k of the file, and its accuracy, if it is not 1.
    pub topk: Option<(usize, f64)>,
}

/// Mean time to prepare an image, on one thread.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Preparation {
    /// Number of images that were measured.
    pub images: usize,
    /// Reading the file or record.
    pub read_seconds: f64,
    /// Decoding to pixels.
    pub decode_seconds: f64,
    /// Resizing and cropping.
    pub resize_seconds: f64,
    /// Normalising, and writing to the model's layout.
    pub normalize_seconds: f64,
}

impl Preparation {
    /// Resizing, cropping and normalising.
    pub fn transform_seconds(&self) -> f64 {
        self.resize_seconds + self.normalize_seconds
    }
}

/// A model on one provider with one number of threads.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Measurement {
    /// The execution provider, such as `cpu` or `cuda:0`.
    pub provider: String,
    /// The device, such as `cpu` or `NVIDIA H100 PCIe (cuda:0)`.
    pub device: String,
    /// The plugin that the provider comes from, if it is not part of ONNX Runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginInfo>,
    /// Settings of the provider by ONNX Runtime's names, for a GPU.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_options: BTreeMap<String, String>,
    /// Number of nodes per execution provider.
    pub nodes: BTreeMap<String, usize>,
    /// Number of CPU threads of the session.
    pub threads: usize,
    /// Time to create the session, from opening the file.
    pub session_seconds: f64,
    /// Time of the first run, with the batch size of `latency`.
    pub first_run_seconds: f64,
    /// Runs with batch size 1, or with the batch size that the model requires.
    pub latency: TimedRuns,
    /// Runs for each batch size, ascending.
    pub throughput: Vec<TimedRuns>,
    /// How much memory grew.
    pub memory: MemoryGrowth,
    /// Time per operator, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

impl Measurement {
    /// Time from opening the file to the first scores.
    pub fn first_result_seconds(&self) -> f64 {
        self.session_seconds + self.first_run_seconds
    }

    /// The runs with the most images per second; of equal ones, those with the smallest batch.
    pub fn best(&self) -> &TimedRuns {
        let faster = |best, runs| {
            let (a, b): (&TimedRuns, &TimedRuns) = (best, runs);
            if b.images_per_second > a.images_per_second {
                b
            } else {
                a
            }
        };
        self.throughput.iter().fold(&self.latency, faster)
    }
}

/// Runs of one batch size.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct TimedRuns {
    /// Number of images of each run.
    pub batch_size: usize,
    /// Number of runs.
    pub runs: usize,
    /// Images of all runs by their time.
    pub images_per_second: f64,
    /// Time of a run: from images in memory to scores in memory, with copies to and from the device.
    pub latency: LatencyStatistics,
}

/// Statistics of the times of runs. Percentiles are interpolated linearly between the two nearest runs, as NumPy does by
/// default.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LatencyStatistics {
    /// The fastest run.
    pub min: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The standard deviation, of a population, as NumPy's.
    pub std: f64,
    /// The median.
    pub p50: f64,
    /// The time that 90 % of the runs do not exceed.
    pub p90: f64,
    /// The time that 99 % of the runs do not exceed.
    pub p99: f64,
    /// The slowest run.
    pub max: f64,
}

/// Growth of memory from before the model was opened. What could not be determined is absent.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct MemoryGrowth {
    /// Peak resident memory of the process minus its resident memory before, in bytes.
    pub resident_bytes: Option<u64>,
    /// Memory of the GPU in use after the runs minus that before, in bytes. That of other processes counts.
    pub gpu_bytes: Option<u64>,
}

/// ONNX Runtime's profile of a session, summed. Profiling makes runs slower; their times are not those of `latency`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Profile {
    /// Number of images of each run.
    pub batch_size: usize,
    /// Number of runs.
    pub runs: usize,
    /// Mean time of a run.
    pub run_seconds: f64,
    /// Mean time of all nodes in a run: the whole of the shares.
    pub node_seconds: f64,
    /// Operators on each provider, by descending time.
    pub operators: Vec<OperatorTime>,
    /// The nodes that take the most time, by descending time.
    pub nodes: Vec<NodeTime>,
}

/// All nodes of an operator on a provider.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OperatorTime {
    /// The operator, such as `Conv`.
    pub operator: String,
    /// The execution provider by ONNX Runtime's name.
    pub provider: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Mean time in a run.
    pub seconds: f64,
    /// Part of the time of all nodes, 0 to 1.
    pub share: f64,
}

/// A node of the optimized graph.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct NodeTime {
    /// Its name.
    pub name: String,
    /// The operator.
    pub operator: String,
    /// The execution provider by ONNX Runtime's name.
    pub provider: String,
    /// Mean time in a run.
    pub seconds: f64,
    /// Part of the time of all nodes, 0 to 1.
    pub share: f64,
}

impl Bench {
    /// Writes the file atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        file::write(path, self.to_json().as_bytes())
    }

    /// The JSON that [`save`](Self::save) writes.
    pub fn to_json(&self) -> String {
        file::to_json(self)
    }
}

impl BenchAccuracy {
    /// The accuracies in the results of an evaluation that was read from `file`, with the SHA-256 of each model; none
    /// of models without images.
    pub fn of(results: &Results, file: &Path) -> Vec<(String, Self)> {
        let of_model = |at: usize| {
            let entry = &results.models[at];
            let top1 = entry.metrics.topk.iter().find(|topk| topk.k == 1)?;
            let last = entry.metrics.topk.last().filter(|topk| topk.k > 1);
            let accuracy = Self {
                file: file.display().to_string(),
                data: results.data.path.clone(),
                data_sha256: results.data.sha256.clone(),
                images: entry.metrics.images,
                top1: top1.accuracy?,
                low: top1.low,
                high: top1.high,
                topk: last.and_then(|topk| Some((topk.k, topk.accuracy?))),
            };
            Some((entry.model.sha256.clone(), accuracy))
        };
        (0..results.models.len()).filter_map(of_model).collect()
    }
}
