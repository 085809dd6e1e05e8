//! An evaluation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use topk_data::{Format, ImageSet, Options, Split};
use topk_image::Limits;
use topk_labels::{ClassNames, ClassSubset, Classes, RealLabels};
use topk_native::Runtime;
use topk_results::{CropAveraging, DataInfo, FailurePolicy, LossSettings, Results, Shard};

use super::outputs::OutputArgs;
use super::preprocessing::PreprocessingArgs;
use super::progress::{INTERRUPTED, progress_bar, stop_on_ctrl_c};
use crate::evaluation::{Evaluation, Finished};
use crate::model::{Execution, Model};
use crate::plan::{Labels, OnError, Plan, labels_of};
use crate::provider::Provider;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RunArgs {
    /// ONNX model, a folder of them, or a pattern such as 'run/*.onnx'; may be given several times. Each
    /// image is decoded once for all models
    #[arg(long, value_name = "PATH", required = true)]
    model: Vec<PathBuf>,

    /// Folder, tar or parquet file of the data set
    #[arg(long, value_name = "PATH", required = true)]
    data: Option<PathBuf>,

    /// Each k of top-k accuracy, such as 5,10; top-1 is always among them [default: 5]
    #[arg(long, value_name = "K,…", value_delimiter = ',', value_parser = k)]
    topk: Option<Vec<usize>>,

    #[command(flatten)]
    data_set: DataArgs,

    #[command(flatten)]
    preprocessing: PreprocessingArgs,

    #[command(flatten)]
    judging: JudgingArgs,

    #[command(flatten)]
    execution: ExecutionArgs,

    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Data set")]
struct DataArgs {
    /// Its format [default: what is found]: folder, flat, tar, webdataset, parquet, cifar10 or cifar100
    #[arg(long)]
    format: Option<Format>,

    /// File of labels for images in one folder or tar file: the development kit's ground truth, Kaggle's
    /// LOC_val_solution.csv, Caffe's val.txt, or a name and a label a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Class map as timm has it: a class a line, by folder or wnid
    #[arg(long, value_name = "FILE")]
    class_map: Option<PathBuf>,

    /// Names of the classes, in the order of the scores: a name a line, a JSON list, ImageNet's class index
    /// (imagenet_class_index.json), or the config.json of a model on the Hugging Face hub [default: those of
    /// the data or the model]
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,

    /// Reassessed labels of ImageNet's validation images (real.json), in place of the data set's
    #[arg(long, value_name = "FILE")]
    real_labels: Option<PathBuf>,

    /// Choose from these classes only: a class a line, by index, wnid or name
    #[arg(long, value_name = "FILE")]
    valid_labels: Option<PathBuf>,

    /// What becomes of images that cannot be read
    #[arg(long, value_enum, default_value = "fail")]
    on_error: OnErrorName,

    /// Largest image that is decoded, in pixels
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels)]
    max_pixels: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnErrorName {
    /// The run ends with their list, without an accuracy
    Fail,
    /// They count as wrong
    CountWrong,
    /// They do not count
    Skip,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Judging")]
struct JudgingArgs {
    /// What several crops of an image are averaged by [default: scores for a model of topk-train with the
    /// svm loss, else softmax]
    #[arg(long, value_enum)]
    averaging: Option<AveragingName>,

    /// Compute the smooth top-k SVM loss with this k too [default: a model's own]
    #[arg(long, value_name = "K", value_parser = k)]
    loss_k: Option<usize>,

    /// Its temperature [default: a model's own, else 1]
    #[arg(long, requires = "loss_k")]
    tau: Option<f64>,

    /// Its margin [default: a model's own, else 1]
    #[arg(long, requires = "loss_k")]
    alpha: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AveragingName {
    /// Probabilities
    Softmax,
    /// Scores
    Scores,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Execution")]
struct ExecutionArgs {
    /// auto (CUDA, or else the CPU), cpu, cuda:N, tensorrt:N or openvino
    #[arg(long, visible_alias = "device", default_value_t)]
    provider: Provider,

    /// Let a GPU round the factors of products to TF32
    #[arg(long)]
    tf32: bool,

    /// Images at once [default: 8 on the CPU, 64 on a GPU]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Threads that decode, and of a model on the CPU [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Copies of each model that run at the same time and share the threads [default: on the CPU one a
    /// thread, as far as 1 GiB of weights goes; on a GPU 1]
    #[arg(long, value_name = "N")]
    sessions: Option<usize>,

    /// Run one part of the data, such as 2/8; `topk-eval merge` puts the parts together
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<Shard>,

    /// Go on from the partial results in the file of --json, if it is there
    #[arg(long, requires = "json")]
    resume: bool,
}

fn k(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(k) if k > 0 => Ok(k),
        _ => Err("expected a number from 1".to_owned()),
    }
}

/// Shard `I/N`.
fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(index, count)| {
        let (index, count) = (index.parse().ok()?, count.parse().ok()?);
        (index >= 1 && index <= count).then_some(Shard { index, count })
    });
    numbers.ok_or_else(|| "expected a part and the number of parts, such as 2/8".to_owned())
}

impl RunArgs {
    pub(super) fn run(&self) -> Result<ExitCode> {
        ensure!(
            self.execution.batch_size != Some(0),
            "--batch-size must be at least 1, got 0"
        );
        ensure!(
            self.execution.threads != Some(0),
            "--threads must be at least 1, got 0"
        );
        ensure!(
            self.execution.sessions != Some(0),
            "--sessions must be at least 1, got 0"
        );
        self.outputs.check()?;
        if let Some(threads) = self.execution.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .context("cannot start threads")?;
        }
        let set = self.open_data()?;
        let labels = self.labels(&set)?;
        let runtime = Runtime::load()?;
        let execution = Execution {
            provider: self.execution.provider,
            threads: self.execution.threads,
            sessions: self.execution.sessions,
            tf32: self.execution.tf32,
        };
        let models = Model::open_all(&runtime, &model_files(&self.model)?, execution)?;
        let plan = self.plan(&set, &models)?;
        let mut evaluation = Evaluation::new(&runtime, &set, &labels, models, &plan)?;
        for line in evaluation.description() {
            eprintln!("{line}");
        }

        let before = self.earlier_results(&evaluation)?;
        let places: Vec<usize> = match &before {
            Some(before) => before.remaining().collect(),
            None => evaluation.places().collect(),
        };
        if let Some(before) = before.as_ref().filter(|_| places.is_empty()) {
            eprintln!("all images have been run: nothing is left to do");
            self.outputs.write(before, Some((&set, &plan.limits)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let bar = progress_bar(places.len());
        let stop = stop_on_ctrl_c(&bar)?;
        bar.tick();
        let outcome = evaluation.run(&places, &stop, |progress| {
            bar.set_position(progress.images as u64);
            bar.set_message(progress.to_string());
        });
        bar.finish_and_clear();
        let results = match outcome? {
            Finished::Results(results) => *results,
            Finished::BadImages(failures) => bail!("{}", bad_images(&failures)),
        };
        let results = match before {
            Some(before) => Results::merge(vec![before, results], true)?,
            None => results,
        };
        self.outputs.write(&results, Some((&set, &plan.limits)))?;
        if stop.load(Ordering::Relaxed) && !results.complete {
            let saved = match self.outputs.json() {
                Some(path) => format!(
                    "{} has what was measured: the same command with --resume goes on",
                    path.display()
                ),
                None => "with --json, --resume could go on".to_owned(),
            };
            eprintln!("interrupted; {saved}");
            return Ok(ExitCode::from(INTERRUPTED as u8));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn open_data(&self) -> Result<ImageSet> {
        let path = self.data.as_ref().context("--data is needed")?;
        let options = Options {
            format: self.data_set.format,
            split: Split::Test,
            labels: self.data_set.labels.clone(),
            class_map: self.data_set.class_map.clone(),
        };
        let set = ImageSet::open(path, &options)?;
        ensure!(!set.is_empty(), "{} has no images", path.display());
        Ok(set)
    }

    /// The right classes of each image.
    fn labels(&self, set: &ImageSet) -> Result<Labels> {
        if let Some(path) = &self.data_set.real_labels {
            ensure!(
                *set.classes() == Classes::Imagenet,
                "--real-labels are for ImageNet's validation images, and the data has other classes"
            );
            let real = RealLabels::read(path)?;
            let of = |name: &str| real.of(name).map(<[u32]>::to_vec);
            let labels = set.samples().iter().map(|sample| of(&sample.name));
            return Ok(labels.collect::<Result<_, _>>()?);
        }
        let unlabelled: Vec<&str> = set
            .samples()
            .iter()
            .filter(|sample| sample.label.is_none())
            .map(|sample| &*sample.name)
            .collect();
        ensure!(
            unlabelled.is_empty(),
            "{} of {} images have no label, such as {}: give their labels with --labels, or take them \
             out of the folder",
            unlabelled.len(),
            set.len(),
            unlabelled[..unlabelled.len().min(3)].join(", ")
        );
        Ok(labels_of(set))
    }

    fn plan(&self, set: &ImageSet, models: &[Model]) -> Result<Plan> {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let plan = Plan::new(set)?;
        let valid = match &self.data_set.valid_labels {
            Some(path) => {
                let mut classes = ClassSubset::read(path, set.classes())?.classes().to_vec();
                classes.sort_unstable();
                Some(classes)
            }
            None => None,
        };
        let class_names = match &self.data_set.class_names {
            Some(path) => {
                let names = ClassNames::read(path)?;
                names.check(set.classes())?;
                Some(names)
            }
            None => None,
        };
        Ok(Plan {
            data: DataInfo {
                real_labels: text(&self.data_set.real_labels),
                valid_labels: text(&self.data_set.valid_labels),
                ..plan.data
            },
            topk: match &self.topk {
                None => plan.topk,
                Some(topk) => {
                    let mut topk: Vec<usize> = topk.iter().copied().chain([1]).collect();
                    topk.sort_unstable();
                    topk.dedup();
                    topk
                }
            },
            class_names,
            valid_classes: valid,
            on_error: match self.data_set.on_error {
                OnErrorName::Fail => OnError::Fail,
                OnErrorName::CountWrong => OnError::Report(FailurePolicy::CountWrong),
                OnErrorName::Skip => OnError::Report(FailurePolicy::Skip),
            },
            loss: self.loss(models),
            averaging: self.judging.averaging.map(|averaging| match averaging {
                AveragingName::Softmax => CropAveraging::Softmax,
                AveragingName::Scores => CropAveraging::Scores,
            }),
            wishes: self.preprocessing.wishes(),
            limits: Limits {
                max_pixels: self.data_set.max_pixels,
                ..Limits::default()
            },
            batch_size: self
                .execution
                .batch_size
                .unwrap_or_else(|| batch_size(models)),
            shard: self.execution.shard,
        })
    }

    /// The loss that is asked for, or that all models were trained with.
    fn loss(&self, models: &[Model]) -> Option<LossSettings> {
        let trained = |model: &Model| {
            let training = model.card()?.training.as_ref()?;
            Some(LossSettings {
                k: training.k,
                tau: training.tau?,
                alpha: training.alpha?,
            })
        };
        let first = models.first().and_then(trained);
        let common =
            first.filter(|first| models.iter().all(|model| trained(model) == Some(*first)));
        match self.judging.loss_k {
            None => common,
            Some(k) => Some(LossSettings {
                k,
                tau: self
                    .judging
                    .tau
                    .or(common.map(|loss| loss.tau))
                    .unwrap_or(1.0),
                alpha: self
                    .judging
                    .alpha
                    .or(common.map(|loss| loss.alpha))
                    .unwrap_or(1.0),
            }),
        }
    }

    /// What --resume goes on from.
    fn earlier_results(&self, evaluation: &Evaluation) -> Result<Option<Results>> {
        let path = self
            .outputs
            .json()
            .filter(|path| self.execution.resume && path.exists());
        let Some(path) = path else {
            return Ok(None);
        };
        let before = Results::read(path)?;
        evaluation
            .check_same_run(&before)
            .with_context(|| format!("{} cannot be resumed", path.display()))?;
        Ok(Some(before))
    }
}

/// A GPU wants many images at once; on the CPU, decoding has to wait less for small batches.
fn batch_size(models: &[Model]) -> usize {
    let on_gpu = |model: &Model| {
        let provider = model.execution().provider;
        matches!(provider, Provider::Cuda(_) | Provider::TensorRt(_))
    };
    match models.iter().any(on_gpu) {
        true => 64,
        false => 8,
    }
}

/// The files that were named: themselves, in a folder, or by a pattern.
fn model_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let found = if path.is_dir() {
            matching(&path.join("*.onnx"))?
        } else if path.exists() {
            vec![path.clone()]
        } else {
            matching(path)?
        };
        if found.is_empty() {
            let pattern = path.to_string_lossy().contains(['*', '?', '[']);
            match path.is_dir() || pattern {
                true => bail!("{} holds no models: expected .onnx files", path.display()),
                // It says why it cannot be read.
                false => files.push(path.clone()),
            }
        }
        files.extend(found);
    }
    Ok(files)
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let pattern = pattern.to_string_lossy();
    let paths = glob::glob(&pattern).with_context(|| format!("{pattern} is no pattern"))?;
    Ok(paths.collect::<Result<_, _>>()?)
}

/// A line for each image that cannot be read.
fn bad_images(failures: &[(String, String)]) -> String {
    let lines: Vec<String> = failures
        .iter()
        .map(|(name, reason)| format!("  {name}: {reason}"))
        .collect();
    format!(
        "{} images cannot be read, so there is no accuracy (--on-error count-wrong or skip goes on \
         without them):\n{}",
        failures.len(),
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read() {
        assert_eq!(shard("2/8"), Ok(Shard { index: 2, count: 8 }));
        for text in ["", "0/8", "9/8", "2", "a/b", "1/0"] {
            assert!(shard(text).is_err(), "{text}");
        }
    }
}
