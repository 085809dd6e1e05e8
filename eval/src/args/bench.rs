//! The measurement of speed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use topk_data::remote::{self, RemoteCache};
use topk_data::{ImageSet, Options};
use topk_image::Limits;
use topk_native::Runtime;
use topk_preprocessing::Crops;
use topk_report::text::{TERMINAL_WIDTH, wrap};
use topk_results::Results;
use topk_results::bench::{Bench, BenchAccuracy};

use super::acceleration::{AccelerationArgs, check_libraries};
use super::execution::seconds;
use super::models::model_files;
use super::outputs::{Output, check, print, requested, write};
use super::preprocessing::PreprocessingArgs;
use crate::bench::{BenchOptions, Length, bench};
use crate::model::{Execution, ModelOptions, processors};
use crate::plugin;
use crate::provider::Provider;
use crate::transform::PreprocessOverrides;

/// The time of a measurement, unless its length is set.
const DURATION: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// ONNX model, folder of models, or glob pattern such as 'run/*.onnx'; can be repeated
    #[arg(long, value_name = "PATH", required = true)]
    model: Vec<PathBuf>,

    /// Dataset whose images the models run on, and whose preparation is timed: directory, tar archive, Parquet file or
    /// glob pattern; its labels are not used [default: images of noise]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,

    /// Number of images of the dataset to use, spread over it
    #[arg(long, value_name = "N", default_value = "64", requires = "data")]
    images: NonZeroUsize,

    /// Result file of an evaluation, for the accuracy of models with the same SHA-256; can be repeated
    #[arg(long, value_name = "FILE")]
    results: Vec<PathBuf>,

    /// Name of the output to compute [default: the one that is named like scores]
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    #[command(flatten)]
    measuring: MeasuringArgs,

    #[command(flatten)]
    execution: BenchExecutionArgs,

    #[command(flatten)]
    acceleration: AccelerationArgs,

    #[command(flatten)]
    preprocessing: PreprocessingArgs,

    #[command(flatten)]
    files: BenchFiles,

    #[command(flatten)]
    cache: RemoteCache,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Measurement")]
struct MeasuringArgs {
    /// Runs before each measurement, which do not count
    #[arg(long, value_name = "N", default_value = "10")]
    warmup: usize,

    /// Runs of each measurement [default: as many as --duration allows]
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    runs: Option<NonZeroUsize>,

    /// Seconds of each measurement, but from 10 to 100,000 runs [default: 3]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Batch sizes for the throughput, e.g. 1,8,32,64 [default: 1,8,32, or the one that the model requires]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    batch_sizes: Option<Vec<NonZeroUsize>>,

    /// Also sum the time per operator and node in ONNX Runtime's profile, of runs in a session of their own
    #[arg(long)]
    profile: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Execution")]
struct BenchExecutionArgs {
    /// Execution providers to measure, e.g. cpu,cuda: auto (CUDA if available, else CPU), cpu, cuda, cuda:N, tensorrt,
    /// tensorrt:N, openvino, or a plugin such as webgpu or webgpu:N; `topk-eval devices` lists them
    #[arg(
        long,
        visible_alias = "device",
        value_name = "PROVIDER,…",
        value_delimiter = ',',
        default_value = "auto"
    )]
    provider: Vec<Provider>,

    /// Library of an execution provider that ONNX Runtime loads as a plugin, for --provider with its name; can be repeated
    /// [default: those of installed packages onnxruntime-ep-…]
    #[arg(long, value_name = "FILE")]
    provider_library: Vec<PathBuf>,

    /// Numbers of CPU threads to measure, e.g. 1,2,4 [default: number of CPUs]
    #[arg(
        long,
        visible_alias = "workers",
        value_name = "N,…",
        value_delimiter = ','
    )]
    threads: Option<Vec<NonZeroUsize>>,

    /// Let threads spin while they wait for work, as is ONNX Runtime's default; in an evaluation they sleep, so that
    /// others decode images
    #[arg(long)]
    spin: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Results")]
struct BenchFiles {
    /// Write all measurements as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write an HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write one row per model, provider, number of threads and batch size as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

impl BenchFiles {
    fn requested(&self) -> impl Iterator<Item = Output<'_>> {
        requested([
            ("--json", &self.json),
            ("--html", &self.html),
            ("--csv", &self.csv),
        ])
    }
}

impl BenchArgs {
    pub(super) fn disables_tf32(&self) -> bool {
        let mut providers = self.execution.provider.iter();
        providers.any(|&provider| self.acceleration.disables_tf32(provider))
    }

    pub(super) fn run(&self) -> Result<()> {
        remote::configure(self.cache.clone())?;
        // Nothing that is printed or saved from here on has credentials of addresses.
        let mut admitted = self.clone();
        let paths = admitted.model.iter_mut().chain(&mut admitted.data);
        for path in paths.chain(admitted.preprocessing.path()) {
            *path = remote::admit(path)?;
        }
        admitted.measure()
    }

    fn measure(&self) -> Result<()> {
        let providers = &self.execution.provider;
        check_libraries(&self.execution.provider_library, providers)?;
        for &provider in providers {
            self.acceleration.check(provider)?;
        }
        let overrides = self.preprocessing.overrides(None)?;
        if self.data.is_none() {
            check_without_data(&overrides)?;
        }
        check(self.files.requested())?;
        let accuracies = accuracies(&self.results)?;
        let set = self
            .data
            .as_ref()
            .map(|path| ImageSet::open(path, &Options::default()));
        let set = set.transpose()?;
        if let Some(set) = &set {
            ensure!(
                !set.is_empty(),
                "{} contains no images",
                set.description().path.display()
            );
        }
        let runtime = Runtime::load()?;
        plugin::register(&runtime, &self.execution.provider_library)?;
        let numbers = |list: &Vec<NonZeroUsize>| list.iter().map(|number| number.get()).collect();
        let measuring = &self.measuring;
        let threads = self.execution.threads.as_ref().map(numbers);
        let options = BenchOptions {
            opening: ModelOptions {
                execution: self.acceleration.apply(Execution {
                    spinning: self.execution.spin,
                    ..Execution::default()
                }),
                output: self.output.clone(),
                tensorrt_cache: self.acceleration.tensorrt_cache.clone(),
                ..ModelOptions::default()
            },
            providers: providers.clone(),
            threads: threads.unwrap_or_else(|| vec![processors()]),
            batch_sizes: measuring.batch_sizes.as_ref().map(numbers),
            warmup: measuring.warmup,
            length: match measuring.runs {
                Some(runs) => Length::Runs(runs.get()),
                None => Length::Duration(measuring.duration.unwrap_or(DURATION)),
            },
            profile: measuring.profile,
            overrides,
            images: set
                .as_ref()
                .map(|set| (set, self.images.get(), Limits::default())),
        };
        let path = runtime.path().display();
        let machine = format!(
            "{}, {} cores, {}; ONNX Runtime {}, {path}",
            topk_native::processor(),
            processors(),
            topk_native::platform(),
            runtime.version()
        );
        eprintln!("{}", wrap(&machine, TERMINAL_WIDTH, 2));
        let models = model_files(&self.model, !self.preprocessing.is_prescribed())?;
        let mut measured = bench(&runtime, &models, &options, |what| {
            eprintln!("{}", wrap(what, TERMINAL_WIDTH, 2));
        })?;
        for model in &measured.models {
            for note in &model.notes {
                eprintln!(
                    "{}",
                    wrap(&format!("{}: {note}", model.path), TERMINAL_WIDTH, 2)
                );
            }
        }
        add_accuracies(&mut measured, &accuracies)?;
        print(&measured.table(), self.files.requested())?;
        if let Some(path) = &self.files.json {
            measured.save(path)?;
        }
        if let Some(path) = &self.files.html {
            write(path, &measured.to_html())?;
        }
        if let Some(path) = &self.files.csv {
            write(path, &measured.to_csv())?;
        }
        Ok(())
    }
}

/// Checks that images of noise are not to be preprocessed.
fn check_without_data(overrides: &PreprocessOverrides) -> Result<()> {
    let flags = [
        ("--trim", overrides.trim > 0),
        ("--resize", overrides.resize.is_some()),
        ("--interpolation", overrides.interpolation.is_some()),
        ("--crops", overrides.crops != Crops::default()),
        ("--crop-pct", overrides.crop_pct.is_some()),
        ("--crop-mode", overrides.crop_mode.is_some()),
        ("--mean", overrides.normalization.is_some()),
        ("--pixel-range", overrides.pixel_range.is_some()),
        ("--bgr", overrides.channel_order.is_some()),
        ("--fast", overrides.fast),
    ];
    if let Some((flag, _)) = flags.into_iter().find(|(_, requested)| *requested) {
        bail!("{flag} has no effect on images of noise: pass --data, or omit {flag}");
    }
    Ok(())
}

/// SHA-256 of a model, and its accuracy.
type Accuracies = Vec<(String, BenchAccuracy)>;

/// The accuracies in result files.
fn accuracies(paths: &[PathBuf]) -> Result<Accuracies> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(BenchAccuracy::of(&Results::read(path)?, path));
    }
    if let [(_, first), rest @ ..] = &all[..]
        && let Some((_, other)) = rest
            .iter()
            .find(|(_, of)| of.data_sha256 != first.data_sha256)
    {
        bail!(
            "--results: {} and {} are of different data ({} and {}), whose accuracies cannot be compared: pass results on \
             the same data",
            first.file,
            other.file,
            first.data,
            other.data
        );
    }
    Ok(all)
}

/// Adds the accuracies to the models with the same SHA-256.
fn add_accuracies(bench: &mut Bench, accuracies: &Accuracies) -> Result<()> {
    for (sha256, accuracy) in accuracies {
        let others = accuracies.iter().filter(|(other, _)| other == sha256);
        let other = others
            .map(|(_, other)| other)
            .find(|other| *other != accuracy);
        let used = bench.models.iter().find(|model| model.sha256 == *sha256);
        if let (Some(other), Some(model)) = (other, used) {
            bail!(
                "--results: {} and {} have different accuracies of {}: pass one of them",
                accuracy.file,
                other.file,
                model.path
            );
        }
    }
    let of = |sha256: &str| {
        let mut found = accuracies.iter().filter(|(other, _)| other == sha256);
        found.next().map(|(_, accuracy)| accuracy.clone())
    };
    for model in &mut bench.models {
        model.accuracy = of(&model.sha256);
    }
    let unused = accuracies.iter().find(|(_, accuracy)| {
        let mut used = bench
            .models
            .iter()
            .filter_map(|model| model.accuracy.as_ref());
        !used.any(|used| used.file == accuracy.file)
    });
    if let Some((_, accuracy)) = unused {
        bail!(
            "--results {}: it has none of the models, which are recognised by their SHA-256: pass the results of these \
             model files",
            accuracy.file
        );
    }
    Ok(())
}
