//! The evaluation of models.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use topk_calibration::LogitsWriter;
use topk_cli::INTERRUPTED;
use topk_data::{ImageSet, remote};
use topk_files::OutputFile;
use topk_image::Limits;
use topk_labels::ImageGroups;
use topk_native::Runtime;
use topk_report::text::{TERMINAL_WIDTH, grouped, images, wrap};
use topk_results::{CropAveraging, DataInfo, LossSettings, Results};

use super::calibration::CalibrationArgs;
use super::data::DataArgs;
use super::execution::ExecutionArgs;
use super::models::{ScoreArgs, model_files};
use super::outputs::OutputArgs;
use super::preprocessing::PreprocessingArgs;
use super::progress::{ProgressDisplay, stop_on_interrupt};
use super::ranks::RankArgs;
use crate::evaluation::Evaluation;
use crate::model::{Model, ModelOptions};
use crate::options::EvalOptions;
use crate::plugin;
use crate::ranks::{Part, Ranks, names};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RunArgs {
    /// ONNX model, folder of models, or glob pattern such as 'run/*.onnx'; can be repeated. Each image is
    /// decoded once, however many models are evaluated
    #[arg(long, value_name = "PATH", required = true)]
    model: Vec<PathBuf>,

    /// Dataset: directory, tar archive, Parquet file, list of images and labels (.csv, .json) or glob pattern
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
    ranks: RankArgs,

    #[command(flatten)]
    outputs: OutputArgs,

    #[command(flatten)]
    calibration: CalibrationArgs,
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
        remote::configure(self.data_set.cache.clone())?;
        // Nothing that is printed or saved from here on has credentials of addresses.
        let outcome = self.admitted()?.run_admitted();
        if let Some(line) = remote::transferred() {
            eprintln!("data from servers: {line}");
        }
        outcome
    }

    /// These arguments with addresses without credentials.
    fn admitted(&self) -> Result<Self> {
        let mut admitted = self.clone();
        let others = admitted.model.iter_mut().chain(&mut admitted.data);
        let preset = admitted.preprocessing.path();
        for path in others.chain(admitted.data_set.paths()).chain(preset) {
            *path = remote::admit(path)?;
        }
        Ok(admitted)
    }

    fn run_admitted(&self) -> Result<ExitCode> {
        let launch = self.ranks.launch(self.execution.shard)?;
        self.calibration.check(self.execution.resume)?;
        let Some(launch) = launch else {
            self.check_outputs()?;
            return self.evaluate(&self.execution, None);
        };
        // Only rank 0 writes, perhaps to a disk of its own.
        if launch.rank == 0 {
            self.check_outputs()?;
        }
        let execution = self.execution.of_rank(&launch)?;
        let mut outputs = self.calibration.files().map(|(_, path)| path);
        let output = self.outputs.first_replaced().or_else(|| outputs.next());
        let ranks = self.ranks.join(&launch, output)?;
        let outcome = self.evaluate(&execution, Some(&ranks));
        let error = outcome.as_ref().err().map(|error| format!("{error:#}"));
        if ranks.close(error.as_deref()) {
            eprintln!("files of an earlier run, which had not ended, were ignored and removed");
        }
        outcome
    }

    fn check_outputs(&self) -> Result<()> {
        if self.execution.resume {
            self.outputs.check_resumable()?;
        }
        let is_subset = self.data_set.limit().is_some();
        self.outputs.check(is_subset, self.calibration.files())
    }

    /// Evaluates the data, or the part of this rank.
    fn evaluate(&self, execution: &ExecutionArgs, ranks: Option<&Ranks>) -> Result<ExitCode> {
        execution.check()?;
        if let Some(threads) = execution.workers.map(NonZeroUsize::get) {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .context("cannot start threads")?;
        }
        let data = self.data.as_ref().context("--data is required")?;
        let set = self.data_set.open(data)?;
        let labels = self.data_set.labels(&set)?;
        let runtime = Runtime::load()?;
        plugin::register(&runtime, &execution.provider_library)?;
        let opening = ModelOptions {
            execution: execution.execution(),
            tensorrt_cache: execution.acceleration.tensorrt_cache.clone(),
            batch_size: Some(execution.batch_size(execution.provider())),
            devices: execution.devices()?,
            ..self.scores.options(set.classes())
        };
        let files = model_files(&self.model, !self.preprocessing.is_prescribed())?;
        let models = Model::open_all(&runtime, &files, opening)?;
        let options = self.options(execution, &set, &models)?;
        let mut evaluation = Evaluation::new(&runtime, &set, &labels, models, &options)?;
        let before = self.earlier_results(&evaluation, ranks)?;
        let all: Vec<usize> = match &before {
            Some(before) => before.remaining().collect(),
            None => evaluation.indices(),
        };
        let indices = ranks.map_or(&all[..], |ranks| ranks.part(&all));
        // Of several ranks, only the first prints.
        let prints = ranks.is_none_or(Ranks::is_leader);
        if prints {
            for line in evaluation.description() {
                eprintln!("{line}");
            }
            if let Some(ranks) = ranks {
                let on_gpu = evaluation
                    .models()
                    .iter()
                    .any(|run| run.model.gpu().is_some());
                let decisions = execution.decisions(on_gpu);
                for line in [ranks.description(&all)].into_iter().chain(decisions) {
                    eprintln!("{}", wrap(&line, TERMINAL_WIDTH, 2));
                }
            }
        }
        if let Some(ranks) = ranks {
            ranks.announce(evaluation.measurements().finish()?, &all)?;
        }
        if let Some(before) = before.as_ref().filter(|_| all.is_empty()) {
            if let Some(ranks) = ranks {
                match prints {
                    true => ranks.gather(|| false, |_, _| ()).map(drop),
                    false => ranks.deliver(&evaluation.measurements().finish()?),
                }?;
            }
            if prints {
                self.calibration.check_finished(before)?;
                eprintln!("all images are already evaluated; nothing to do");
                let outputs = self.outputs.without_paper_table();
                outputs.write(before, Some((&set, &options.limits)))?;
            }
            return Ok(ExitCode::SUCCESS);
        }

        self.calibration
            .keep(&mut evaluation, before.as_ref(), ranks)?;
        let mut partial = PartialResults::new(self.outputs.json(), before.as_ref(), ranks);
        // Otherwise results would be computed in vain.
        let interval = match partial.path {
            Some(_) => self.execution.save_interval,
            None => Duration::MAX,
        };
        let mut display = match prints {
            true => ProgressDisplay::new(all.len(), self.execution.progress_interval),
            false => ProgressDisplay::hidden(),
        };
        let bar = display.bar().clone();
        let stop = stop_on_interrupt(&bar, !prints)?;
        if let Some(ranks) = ranks {
            ranks.stop_with(&stop);
        }
        let outcome = evaluation.run_saving(
            indices,
            &stop,
            |progress| {
                let images = progress.images;
                let images = ranks.map_or(images, |ranks| ranks.progress(images));
                display.show(images, progress.to_string());
            },
            interval,
            |results, logits| {
                if let Err(error) = partial.save(results, logits) {
                    bar.suspend(|| eprintln!("warning: {error:#}"));
                }
            },
        );
        let outcome = match (outcome, ranks) {
            (Err(error), _) => Err(error.into()),
            (Ok(results), None) => partial.merged(vec![results]),
            (Ok(results), Some(ranks)) if !prints => {
                // Before the results, which must not have images whose logits are not there.
                evaluation.finish_logits()?;
                ranks.deliver(&results)?;
                let stopped = stop.load(Ordering::Relaxed);
                return Ok(if stopped {
                    INTERRUPTED.into()
                } else {
                    ExitCode::SUCCESS
                });
            }
            (Ok(results), Some(ranks)) => {
                let waiting = |left: &[usize], images: usize| {
                    display.show(images, format!("waiting for {}", names(left)));
                };
                match ranks.gather(|| stop.load(Ordering::Relaxed), waiting) {
                    Ok(parts) => {
                        let added = ranks.add_logits(&parts, evaluation.kept_logits());
                        let mut parts = results_of(parts);
                        parts.push(results);
                        added
                            .map_err(Error::from)
                            .and_then(|()| partial.merged(parts))
                    }
                    Err(error) => {
                        let logits = evaluation.kept_logits();
                        if let Err(error) = partial.save(results, logits) {
                            bar.suspend(|| eprintln!("warning: {error:#}"));
                        }
                        Err(error.into())
                    }
                }
            }
        };
        bar.finish_and_clear();
        let mut results = outcome.map_err(|error| match partial.hint() {
            Some(hint) if prints => Error::msg(format!("{error:#}\n{hint}")),
            _ => error,
        })?;
        if ranks.is_some() {
            for warning in &results.warnings {
                eprintln!("warning: {warning}");
            }
        }
        if results.complete {
            self.calibration.finish(&mut evaluation, &mut results)?;
        }
        self.outputs
            .write(&results, Some((&set, &options.limits)))?;
        // Another rank may have been interrupted alone.
        if !results.complete && (ranks.is_some() || stop.load(Ordering::Relaxed)) {
            let saved = match self.outputs.json() {
                Some(path) => resume_hint(path),
                None => "use --json and --resume to continue an interrupted run".to_owned(),
            };
            eprintln!("interrupted; {saved}");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn options(
        &self,
        execution: &ExecutionArgs,
        set: &ImageSet,
        models: &[Model],
    ) -> Result<EvalOptions> {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let options = EvalOptions::new(set)?;
        let classes = models.first().and_then(Model::classes);
        let class_names = self.data_set.class_names()?;
        let card = models.first().and_then(Model::card);
        let named = class_names.is_some() || card.is_some_and(|card| card.class_names.is_some());
        let valid = self.data_set.valid_classes(set, classes, named)?;
        let (groups, ungrouped) = self.data_set.groups(set)?.unzip();
        let mut decisions = options.data.decisions;
        if let Some(missing) = ungrouped.filter(|&missing| missing > 0) {
            decisions.push(format!(
                "{} of {} are not in the file of --groups: they count in the accuracy, but in no group",
                grouped(missing),
                images(set.len())
            ));
        }
        Ok(EvalOptions {
            data: DataInfo {
                groups: text(&self.data_set.groups),
                group_names: (groups.as_ref())
                    .map(|groups: &ImageGroups| groups.names().to_vec())
                    .unwrap_or_default(),
                decisions,
                preset: self.data_set.preset(set)?,
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
            groups,
            class_indices: valid.indices,
            valid_classes: valid.valid,
            on_bad_image: self.data_set.on_bad_image,
            loss: self.loss(models),
            crop_averaging: self.scoring.crop_average,
            overrides: self.preprocessing.overrides(self.data_set.preset_data)?,
            limits: Limits {
                max_pixels: self.data_set.max_pixels,
                ..Limits::default()
            },
            batch_size: models
                .iter()
                .map(|model| execution.batch_size(model.execution().provider))
                .max()
                .unwrap_or(1),
            limit: self.data_set.limit(),
            shard: execution.shard,
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
    fn earlier_results(
        &self,
        evaluation: &Evaluation,
        ranks: Option<&Ranks>,
    ) -> Result<Option<Results>> {
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
        if ranks.is_none_or(Ranks::is_leader) {
            for difference in differences {
                eprintln!("warning: {difference}");
            }
        }
        Ok(Some(before))
    }
}

/// Results that are saved during a run, in the file of --json.
struct PartialResults<'a> {
    /// None without --json, or if the file is a device or a pipe.
    path: Option<&'a Path>,
    /// Those of the run that is resumed.
    before: Option<&'a Results>,
    ranks: Option<&'a Ranks>,
    saved: bool,
}

impl<'a> PartialResults<'a> {
    fn new(path: Option<&'a Path>, before: Option<&'a Results>, ranks: Option<&'a Ranks>) -> Self {
        Self {
            path: path.filter(|path| OutputFile::is_replaced(path)),
            before,
            ranks,
            saved: false,
        }
    }

    /// The results of this run and those before.
    fn merged(&self, mut parts: Vec<Results>) -> Result<Results> {
        parts.extend(self.before.cloned());
        match <[Results; 1]>::try_from(parts) {
            Ok([results]) => Ok(results),
            Err(parts) => Ok(Results::merge(parts, true)?),
        }
    }

    /// Saves the results so far; those of another rank than the first where rank 0 finds them. What rank 0 saves of the
    /// others needs their logits, which it adds to its own.
    fn save(&mut self, results: Results, logits: &mut [LogitsWriter]) -> Result<()> {
        let Some(path) = self.path else {
            return Ok(());
        };
        let mut parts = match self.ranks {
            None => Vec::new(),
            Some(ranks) if !ranks.is_leader() => return Ok(ranks.save(&results)?),
            // Before all ranks have joined, a new file would change what they resume from.
            Some(ranks) => match ranks.partial() {
                Some(parts) => {
                    ranks.add_logits(&parts, logits)?;
                    results_of(parts)
                }
                None => return Ok(()),
            },
        };
        parts.push(results);
        self.merged(parts)?.save(path)?;
        self.saved = true;
        Ok(())
    }

    /// How to continue after an error, if results were saved.
    fn hint(&self) -> Option<String> {
        self.path.filter(|_| self.saved).map(resume_hint)
    }
}

fn results_of(parts: Vec<Part>) -> Vec<Results> {
    parts.into_iter().map(|part| part.results).collect()
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
