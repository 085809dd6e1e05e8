//! How fast models run: the measurements of `topk-eval bench`.

mod length;
mod memory;
mod preparation;
mod profile;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use topk_data::ImageSet;
use topk_image::Limits;
use topk_native::Runtime;
use topk_results::bench::{
    BENCH_FORMAT, Bench, BenchImages, BenchModel, BenchSettings, Measurement, Preparation, Profile,
    TimedRuns,
};

pub(crate) use self::length::Length;
use self::memory::MemoryBefore;
pub(crate) use self::profile::ProfileError;
use crate::error::EvaluationError;
use crate::evaluation::environment;
use crate::input::InputTensor;
use crate::model::{Execution, Model, ModelError, ModelOptions};
use crate::model_run::nodes;
use crate::pipeline::{MemoryError, Pipeline};
use crate::provider::{self, Provider};
use crate::transform::{PreprocessOverrides, ResolvedTransform, input_size};

/// Batch sizes for the throughput, unless others are requested.
const BATCH_SIZES: [usize; 3] = [1, 8, 32];

/// What to measure, and how.
#[derive(Debug)]
pub(crate) struct BenchOptions<'a> {
    /// How to run models; the provider, threads and sessions are replaced.
    pub(crate) opening: ModelOptions,
    /// The providers.
    pub(crate) providers: Vec<Provider>,
    /// Numbers of threads.
    pub(crate) threads: Vec<usize>,
    /// Batch sizes for the throughput, if requested.
    pub(crate) batch_sizes: Option<Vec<usize>>,
    /// Number of runs before each measurement.
    pub(crate) warmup: usize,
    /// Length of each measurement.
    pub(crate) length: Length,
    /// Whether to sum ONNX Runtime's profile.
    pub(crate) profile: bool,
    /// Preprocessing settings that replace those of the models.
    pub(crate) overrides: PreprocessOverrides,
    /// Images to run on, the largest number of different ones, and limits for decoding; generated ones without.
    pub(crate) images: Option<(&'a ImageSet, usize, Limits)>,
}

/// A measurement that is not possible, or failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum BenchError {
    /// A model cannot be opened or run, or images cannot be prepared.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// A requested batch size is not possible.
    #[error(
        "--batch-sizes {requested}: {} runs {required} image{} at a time{reason}. Omit --batch-sizes, or measure this \
         model alone", path.display(), if *required == 1 { "" } else { "s" }
    )]
    BatchSize {
        /// The model file.
        path: PathBuf,
        /// The batch size.
        requested: usize,
        /// The only one that is possible.
        required: usize,
        /// Why.
        reason: String,
    },
    /// An image cannot be prepared.
    #[error("{name}: {reason}")]
    Image {
        /// The image.
        name: String,
        /// The cause.
        reason: String,
    },
    /// Each image has several crops.
    #[error("--crops: a batch of the measurement has one crop per image: pass --crops center")]
    Crops,
    /// Decoding at reduced size cannot be timed separately from resizing.
    #[error(
        "--fast decodes and resizes in one step, which cannot be timed separately: omit --fast"
    )]
    Fast,
    /// The profile cannot be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl From<ModelError> for BenchError {
    fn from(error: ModelError) -> Self {
        Self::Evaluation(error.into())
    }
}

/// What a measurement runs on.
struct Inputs<'a> {
    /// The images, with how they become inputs; noise without.
    images: Option<(&'a Pipeline<'a>, &'a [usize])>,
    size: [usize; 2],
}

/// Measures models, one after the other, each with all providers and numbers of threads. `progress` is called before
/// each measurement with what it is.
///
/// # Errors
/// If a model cannot be opened or run, or the images do not fit.
pub(crate) fn bench(
    runtime: &Runtime,
    paths: &[PathBuf],
    options: &BenchOptions<'_>,
    mut progress: impl FnMut(&str),
) -> Result<Bench, BenchError> {
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut environment = environment(runtime, &[]);
    let load = topk_native::load_average().filter(|&load| load > 0.5);
    let mut models: Vec<BenchModel> = Vec::new();
    for path in paths {
        let mut found: Option<BenchModel> = None;
        for &provider in &options.providers {
            for &threads in &options.threads {
                let execution = Execution {
                    provider,
                    threads: Some(threads),
                    sessions: Some(1),
                    in_flight: Some(1),
                    ..options.opening.execution
                };
                progress(&format!(
                    "{} on {provider}, threads: {threads}",
                    path.display()
                ));
                let (model, about, measurement) =
                    measure(runtime, path, execution, options, found.is_none())?;
                environment.gpu = environment.gpu.or_else(|| model.gpu().cloned());
                let no_gpu = model.no_gpu().map(str::to_owned);
                environment.no_gpu = environment.no_gpu.or(no_gpu);
                let entry = found.get_or_insert(about);
                entry.measurements.push(measurement);
            }
        }
        models.extend(found);
    }
    let mut notes = Vec::new();
    if options.images.is_none() {
        notes.push(
            "the images are noise; pass --data for real ones and the time to decode them"
                .to_owned(),
        );
    }
    if let Some(reason) = &environment.no_gpu {
        notes.push(format!("running on the CPU: {reason} (--provider auto)"));
    }
    if let Some(load) = load {
        notes.push(format!(
            "warning: other processes were using the CPUs (load average {load:.1} on {} cores at the start): the fastest \
             runs are the least disturbed",
            environment.cores
        ));
    }
    if !options.opening.execution.spinning {
        notes.push(
            "threads sleep while they wait for work, as in an evaluation; ONNX Runtime's default is --spin".to_owned(),
        );
    }
    let all = models.iter().flat_map(|model| &model.measurements);
    if all.clone().any(|row| row.latency.runs < 100) {
        notes.push("of fewer than 100 runs, p99 is between the two slowest".to_owned());
    }
    if options.profile && all.clone().any(|row| row.provider.starts_with("cuda")) {
        notes.push(
            "the profile has the time in which nodes are launched, which for CUDA may end before they are computed"
                .to_owned(),
        );
    }
    let (runs, duration) = match options.length {
        Length::Runs(runs) => (Some(runs), None),
        Length::Duration(duration) => (None, Some(duration.as_secs_f64())),
    };
    Ok(Bench {
        format: BENCH_FORMAT,
        kind: "bench".to_owned(),
        topk_eval: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        environment,
        settings: BenchSettings {
            warmup: options.warmup,
            runs,
            duration_seconds: duration,
            spinning: options.opening.execution.spinning,
            percentiles: "linear".to_owned(),
        },
        images: options.images.map(|(set, most, _)| BenchImages {
            path: set.description().path.display().to_string(),
            format: set.format().name().to_owned(),
            count: most.min(set.len()),
        }),
        notes,
        models,
    })
}

/// Measures a model with one provider and number of threads. The first time, the preparation of images is timed too.
fn measure(
    runtime: &Runtime,
    path: &Path,
    execution: Execution,
    options: &BenchOptions<'_>,
    is_first: bool,
) -> Result<(Model, BenchModel, Measurement), BenchError> {
    let opening = ModelOptions {
        execution,
        ..options.opening.clone()
    };
    // The libraries of a GPU are not memory of the model. What is missing is reported when the model is opened.
    let gpu = match execution.provider {
        Provider::Auto => i32::try_from(execution.auto_gpu).ok(),
        provider => provider.gpu(),
    };
    let gpu = gpu.filter(|_| provider::gpu_libraries(runtime).is_ok());
    let before = MemoryBefore::new(gpu);
    let mut model = Model::open(runtime, path, opening.clone())?;
    let overrides = &options.overrides;
    let preset = overrides.preset.as_ref().map(|named| &named.preset);
    let mut size = input_size(&model, overrides, preset).map_err(EvaluationError::from)?;
    let pipeline = options
        .images
        .map(|(set, most, limits)| {
            let resolved =
                ResolvedTransform::new(&model, overrides).map_err(EvaluationError::from)?;
            model.add_note(resolved.note());
            let transform = resolved.transform;
            size = transform.size;
            if transform.crops() > 1 {
                return Err(BenchError::Crops);
            }
            if transform.preprocessing.fast {
                return Err(BenchError::Fast);
            }
            let pipeline =
                Pipeline::new(set, &[transform], limits).map_err(EvaluationError::from)?;
            Ok((pipeline, preparation::spread(set.len(), most)))
        })
        .transpose()?;
    let inputs = Inputs {
        images: pipeline
            .as_ref()
            .map(|(pipeline, indices)| (pipeline, &indices[..])),
        size,
    };

    let first_size = model.batch().unwrap_or(1);
    let images = inputs.batch(&model, first_size)?;
    model.set_run_size(first_size);
    let start = Instant::now();
    model.scores(&images)?;
    let first_run = start.elapsed();
    model.examine(size)?;

    let required = model.run_size();
    let latency_size = required.unwrap_or(1);
    let sizes = batch_sizes(&model, options.batch_sizes.as_deref())?;
    let latency = timed(&mut model, &inputs, latency_size, options)?;
    let mut throughput = Vec::new();
    for size in sizes {
        throughput.push(match size == latency_size {
            true => latency,
            false => timed(&mut model, &inputs, size, options)?,
        });
    }
    let memory = before.growth(model.execution().provider.gpu());
    let timed_images = inputs.images.filter(|_| is_first);
    let preparation =
        timed_images.map(|(pipeline, indices)| preparation::time(&model, pipeline, indices, size));
    let preparation = preparation.transpose()?;
    let profile = match options.profile {
        true => Some(profiled(
            runtime,
            path,
            opening,
            &inputs,
            latency_size,
            options.warmup,
        )?),
        false => None,
    };
    let about = about(&model, size, preparation);
    let measurement = Measurement {
        provider: model.devices(),
        device: model.device(),
        plugin: model.plugin().cloned(),
        provider_options: provider::settings(&model.execution(), model.caches_engines()),
        nodes: nodes(&model),
        threads: model.execution().all_threads(),
        session_seconds: model.opening().as_secs_f64(),
        first_run_seconds: first_run.as_secs_f64(),
        latency,
        throughput,
        memory,
        profile,
    };
    Ok((model, about, measurement))
}

/// What is known about a model, without measurements.
fn about(model: &Model, size: [usize; 2], preparation: Option<Preparation>) -> BenchModel {
    BenchModel {
        path: model.path().display().to_string(),
        sha256: model.sha256().to_owned(),
        bytes: model.bytes(),
        precision: model.precision().to_owned(),
        input: model.kind().to_string(),
        input_size: size,
        notes: model.notes().to_vec(),
        accuracy: None,
        preparation,
        measurements: Vec::new(),
    }
}

/// The batch sizes to measure, ascending.
fn batch_sizes(model: &Model, requested: Option<&[usize]>) -> Result<Vec<usize>, BenchError> {
    let mut sizes = match (requested, model.run_size()) {
        (None, None) => BATCH_SIZES.to_vec(),
        (None, Some(required)) => vec![required],
        (Some(requested), None) => requested.to_vec(),
        (Some(requested), Some(required)) => {
            if let Some(&other) = requested.iter().find(|&&size| size != required) {
                let notes = model.notes().iter();
                let reason =
                    notes.filter_map(|note| note.strip_prefix("images are run one by one: "));
                return Err(BenchError::BatchSize {
                    path: model.path().to_owned(),
                    requested: other,
                    required,
                    reason: reason.map(|reason| format!(" ({reason})")).collect(),
                });
            }
            requested.to_vec()
        }
    };
    sizes.sort_unstable();
    sizes.dedup();
    Ok(sizes)
}

impl Inputs<'_> {
    /// A batch of images, in memory from which the device of the model copies.
    fn batch(&self, model: &Model, count: usize) -> Result<InputTensor, BenchError> {
        let allocator = model.allocator()?;
        let memory = |error: ort::Error| EvaluationError::from(MemoryError(error.to_string()));
        let (kind, size) = (model.kind(), self.size);
        let Some((pipeline, indices)) = self.images else {
            let images = InputTensor::noise(&allocator, kind, count, size);
            return Ok(images.map_err(memory)?);
        };
        let mut images = InputTensor::zeros(&allocator, kind, count, size).map_err(memory)?;
        let slots = images.groups_mut(1).into_iter().map(|slot| vec![slot]);
        let indices: Vec<usize> = indices.iter().copied().cycle().take(count).collect();
        let (results, _) = pipeline.fill(&indices, slots.collect());
        for (&index, result) in indices.iter().zip(results) {
            result.map_err(|error| preparation::failed(pipeline, index, error))?;
        }
        Ok(images)
    }
}

/// Times runs of a batch size, after those that do not count.
fn timed(
    model: &mut Model,
    inputs: &Inputs<'_>,
    size: usize,
    options: &BenchOptions<'_>,
) -> Result<TimedRuns, BenchError> {
    let images = inputs.batch(model, size)?;
    model.set_run_size(size);
    for _ in 0..options.warmup {
        model.scores(&images)?;
    }
    let seconds = options.length.times(|| -> Result<Duration, ModelError> {
        let start = Instant::now();
        let scores = model.scores(&images)?;
        let time = start.elapsed();
        drop(scores);
        Ok(time)
    })?;
    Ok(TimedRuns::new(size, &seconds))
}

/// Runs a model in a session with a profile, and sums it.
fn profiled(
    runtime: &Runtime,
    path: &Path,
    opening: ModelOptions,
    inputs: &Inputs<'_>,
    size: usize,
    warmup: usize,
) -> Result<Profile, BenchError> {
    let start = profile::file_start();
    let opening = ModelOptions {
        profile: Some(start),
        ..opening
    };
    let mut model = Model::open(runtime, path, opening)?;
    let images = inputs.batch(&model, size)?;
    model.set_run_size(size);
    for _ in 0..warmup + profile::RUNS {
        model.scores(&images)?;
    }
    let file = model.end_profiling()?;
    Ok(profile::sum(&file, size)?)
}
