//! The evaluation of models.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use topk_cli::INTERRUPTED;
use topk_data::ImageSet;
use topk_files::OutputFile;
use topk_image::Limits;
use topk_native::Runtime;
use topk_results::{CropAveraging, DataInfo, LossSettings, Results};

use super::data::DataArgs;
use super::execution::ExecutionArgs;
use super::models::{ScoreArgs, model_files};
use super::outputs::OutputArgs;
use super::preprocessing::PreprocessingArgs;
use super::progress::{progress_bar, stop_on_interrupt};
use crate::evaluation::Evaluation;
use crate::model::{Model, ModelOptions};
use crate::options::EvalOptions;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RunArgs {
    /// ONNX model, folder of models, or glob pattern such as 'run/*.onnx'; can be repeated. Each image is
    /// decoded once, however many models are evaluated
    #[arg(long, value_name = "PATH", required = true)]
    model: Vec<PathBuf>,

    /// Dataset: directory, tar archive, Parquet file or glob pattern
    #[arg(long, value_name = "PATH", required = true)]
    data: Option<PathBuf>,

    /// Values of k to report, e.g. 5,10 (top-1 is always included) [default: 5]
    #[arg(long, value_name = "K,…", value_delimiter = ',')]
    topk: Option<Vec<NonZeroUsize>>,

    #[command(flatten)]
    data_set: DataArgs,

    #[command(flatten)]
    preprocessing: PreprocessingArgs,

    #[command(flatten)]
    scores: ScoreArgs,

    #[command(flatten)]
    scoring: ScoringArgs,

    #[command(flatten)]
    execution: ExecutionArgs,

    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Scoring")]
struct ScoringArgs {
    /// What to average over the crops of an image [default: logits for models that topk-train trained with
    /// the svm loss, else probs]
    #[arg(long, value_enum)]
    crop_average: Option<CropAveraging>,

    /// Also report the smooth top-k SVM loss with this k [default: from the model's metadata]
    #[arg(long, value_name = "K")]
    loss_topk: Option<NonZeroUsize>,

    /// Temperature of this loss [default: from the model's metadata, else 1]
    #[arg(long, requires = "loss_topk")]
    tau: Option<f64>,

    /// Margin of this loss [default: from the model's metadata, else 1]
    #[arg(long, requires = "loss_topk")]
    alpha: Option<f64>,
}

impl RunArgs {
    pub(super) fn disables_tf32(&self) -> bool {
        self.execution.disables_tf32()
    }

    pub(super) fn run(&self) -> Result<ExitCode> {
        self.outputs.check()?;
        self.execution.check()?;
        let threads = self.execution.workers.map(NonZeroUsize::get);
        if let Some(threads) = threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .context("cannot start threads")?;
        }
        let data = self.data.as_ref().context("--data is required")?;
        let set = self.data_set.open(data)?;
        let labels = self.data_set.labels(&set)?;
        let runtime = Runtime::load()?;
        let opening = ModelOptions {
            execution: self.execution.execution(),
            tensorrt_cache: self.execution.tensorrt_cache.clone(),
            batch_size: Some(self.execution.batch_size(self.execution.provider)),
            ..self.scores.options(set.classes())
        };
        let models = Model::open_all(&runtime, &model_files(&self.model)?, opening)?;
        let options = self.options(&set, &models)?;
        let mut evaluation = Evaluation::new(&runtime, &set, &labels, models, &options)?;
        for line in evaluation.description() {
            eprintln!("{line}");
        }

        let before = self.earlier_results(&evaluation)?;
        let indices: Vec<usize> = match &before {
            Some(before) => before.remaining().collect(),
            None => evaluation.indices().collect(),
        };
        if let Some(before) = before.as_ref().filter(|_| indices.is_empty()) {
            eprintln!("all images are already evaluated; nothing to do");
            let outputs = self.outputs.without_paper_table();
            outputs.write(before, Some((&set, &options.limits)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let with_before = |results| match &before {
            Some(before) => Results::merge(vec![before.clone(), results], true),
            None => Ok(results),
        };
        let mut partial = PartialResults::new(self.outputs.json());
        // Otherwise results would be computed in vain.
        let interval = match partial.path {
            Some(_) => self.execution.save_interval,
            None => Duration::MAX,
        };
        let bar = progress_bar(indices.len());
        let stop = stop_on_interrupt(&bar)?;
        bar.tick();
        let outcome = evaluation.run_saving(
            &indices,
            &stop,
            |progress| {
                bar.set_position(progress.images as u64);
                bar.set_message(progress.to_string());
            },
            interval,
            |results| {
                let saved = partial.save(|| Ok(with_before(results)?));
                if let Err(error) = saved {
                    bar.suspend(|| eprintln!("warning: {error:#}"));
                }
            },
        );
        bar.finish_and_clear();
        let outcome = outcome.map_err(|error| match partial.hint() {
            Some(hint) => Error::msg(format!("{error}\n{hint}")),
            None => error.into(),
        });
        let results = with_before(outcome?)?;
        self.outputs
            .write(&results, Some((&set, &options.limits)))?;
        if stop.load(Ordering::Relaxed) && !results.complete {
            let saved = match self.outputs.json() {
                Some(path) => resume_hint(path),
                None => "use --json and --resume to continue an interrupted run".to_owned(),
            };
            eprintln!("interrupted; {saved}");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self, set: &ImageSet, models: &[Model]) -> Result<EvalOptions> {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let options = EvalOptions::new(set)?;
        let classes = models.first().and_then(Model::classes);
        let class_names = self.data_set.class_names()?;
        let card = models.first().and_then(Model::card);
        let named = class_names.is_some() || card.is_some_and(|card| card.class_names.is_some());
        let valid = self.data_set.valid_classes(set, classes, named)?;
        Ok(EvalOptions {
            data: DataInfo {
                real_labels: text(&self.data_set.real_labels),
                valid_labels: text(&self.data_set.valid_labels),
                ..options.data
            },
            topk: match &self.topk {
                None => default_topk(
                    classes.unwrap_or(set.classes().len()),
                    valid.valid.as_deref(),
                ),
                Some(topk) => {
                    let mut topk: Vec<usize> = topk.iter().map(|k| k.get()).chain([1]).collect();
                    topk.sort_unstable();
                    topk.dedup();
                    topk
                }
            },
            class_names,
            class_indices: valid.indices,
            valid_classes: valid.valid,
            on_bad_image: self.data_set.on_bad_image,
            loss: self.loss(models),
            crop_averaging: self.scoring.crop_average,
            overrides: self.preprocessing.overrides(),
            limits: Limits {
                max_pixels: self.data_set.max_pixels,
                ..Limits::default()
            },
            batch_size: models
                .iter()
                .map(|model| self.execution.batch_size(model.execution().provider))
                .max()
                .unwrap_or(1),
            shard: self.execution.shard,
        })
    }

    /// The requested loss, or the one that all models were trained with.
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
        match self.scoring.loss_topk {
            None => common,
            Some(k) => Some(LossSettings {
                k: k.get(),
                tau: self
                    .scoring
                    .tau
                    .or(common.map(|loss| loss.tau))
                    .unwrap_or(1.0),
                alpha: self
                    .scoring
                    .alpha
                    .or(common.map(|loss| loss.alpha))
                    .unwrap_or(1.0),
            }),
        }
    }

    /// The results to resume from, if any.
    fn earlier_results(&self, evaluation: &Evaluation) -> Result<Option<Results>> {
        let path = self
            .outputs
            .json()
            .filter(|path| self.execution.resume && path.exists());
        let Some(path) = path else {
            return Ok(None);
        };
        let mut before = Results::read(path)?;
        // Metrics alone depend on it.
        before.settings.failures = evaluation.failure_policy();
        let before = before.recompute()?;
        let differences = evaluation
            .check_same_run(&before)
            .with_context(|| format!("cannot resume {}", path.display()))?;
        for difference in differences {
            eprintln!("warning: {difference}");
        }
        Ok(Some(before))
    }
}

/// Results that are saved during a run, in the file of --json.
struct PartialResults<'a> {
    /// None without --json, or if the file is a device or a pipe.
    path: Option<&'a Path>,
    saved: bool,
}

impl<'a> PartialResults<'a> {
    fn new(path: Option<&'a Path>) -> Self {
        Self {
            path: path.filter(|path| OutputFile::is_replaced(path)),
            saved: false,
        }
    }

    fn save(&mut self, results: impl FnOnce() -> Result<Results>) -> Result<()> {
        if let Some(path) = self.path {
            results()?.save(path)?;
            self.saved = true;
        }
        Ok(())
    }

    /// How to continue after an error, if results were saved.
    fn hint(&self) -> Option<String> {
        self.path.filter(|_| self.saved).map(resume_hint)
    }
}

fn resume_hint(path: &Path) -> String {
    format!(
        "the results so far are in {};\nrun the same command with --resume to continue",
        path.display()
    )
}

/// Top-1 and top-5, or fewer where there are fewer classes to predict.
fn default_topk(classes: usize, valid: Option<&[u32]>) -> Vec<usize> {
    let classes = valid.map_or(classes, <[u32]>::len);
    let mut topk = vec![1, classes.clamp(1, 5)];
    topk.dedup();
    topk
}
