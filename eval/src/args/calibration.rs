//! Logits, and the calibration that follows from them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use topk_calibration::{Calibration, Logits, LogitsFormat, LogitsWriter, Settings};
use topk_results::{FROM_LOGITS_LEFT_OUT, Results, calibration_json, calibration_table};

use super::outputs::{Output, check, print, requested, write};
use crate::evaluation::Evaluation;
use crate::ranks::Ranks;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibrationArgs {
    /// Write the logits and the label of each image, as .npz, .safetensors or .parquet. With several models, the name
    /// of each is inserted before the extension
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,

    /// Fit a temperature and prediction sets on a random half of the images, and measure both on the other half
    #[arg(long)]
    calibrate: bool,

    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct SettingsArgs {
    /// Coverages of the prediction sets, each above 0 and below 1
    #[arg(long, value_name = "C,…", value_delimiter = ',', default_values_t = Settings::default().coverage)]
    coverage: Vec<f64>,

    /// Penalty of RAPS for each class beyond --raps-k
    #[arg(long, value_name = "LAMBDA", default_value_t = Settings::default().raps_penalty)]
    raps_penalty: f64,

    /// Number of classes that RAPS adds without a penalty
    #[arg(long, value_name = "K", default_value_t = Settings::default().raps_k)]
    raps_k: usize,

    /// Seed of the halves
    #[arg(long, value_name = "SEED", default_value_t = Settings::default().seed)]
    calibration_seed: u64,
}

impl SettingsArgs {
    fn settings(&self) -> Result<Settings> {
        let settings = Settings {
            seed: self.calibration_seed,
            coverage: self.coverage.clone(),
            raps_penalty: self.raps_penalty,
            raps_k: self.raps_k,
        };
        settings.check()?;
        Ok(settings)
    }
}

impl CalibrationArgs {
    /// The output flags that are set, and their files.
    pub(super) fn files(&self) -> impl Iterator<Item = Output<'_>> {
        requested([("--logits", &self.logits)])
    }

    /// Checks the arguments before the evaluation.
    pub(super) fn check(&self, resume: bool) -> Result<()> {
        if let Some(path) = &self.logits {
            LogitsFormat::of(path)?;
        }
        let settings = self.settings.settings()?;
        ensure!(
            self.calibrate || settings == Settings::default(),
            "--coverage, --raps-penalty, --raps-k and --calibration-seed have no effect without --calibrate: add it"
        );
        if !self.calibrate && self.logits.is_none() {
            return Ok(());
        }
        ensure!(
            !(resume && self.logits.is_none()),
            "--calibrate with --resume needs --logits FILE, which keeps the logits of the images that were \
             evaluated before: pass it in both runs"
        );
        Ok(())
    }

    /// Lets the evaluation keep logits if they are needed; those of other ranks than the first where rank 0 finds them.
    /// `before` are the results of the run that is resumed.
    pub(super) fn keep(
        &self,
        evaluation: &mut Evaluation<'_>,
        before: Option<&Results>,
        ranks: Option<&Ranks>,
    ) -> Result<()> {
        if !self.calibrate && self.logits.is_none() {
            return Ok(());
        }
        let run = evaluation.measurements().finish()?;
        let names = run.model_names();
        let mut writers = Vec::new();
        for (at, (model, name)) in run.models.iter().zip(&names).enumerate() {
            let (classes, identity) = (run.data.classes, &model.model.sha256);
            if let Some(ranks) = ranks.filter(|ranks| !ranks.is_leader()) {
                writers.push(LogitsWriter::part(&ranks.logits(at), classes, identity)?);
                continue;
            }
            let Some(path) = self.logits_of(name, names.len()) else {
                writers.push(LogitsWriter::temporary(classes)?);
                continue;
            };
            writers.push(match before {
                None => LogitsWriter::of_model(&path, classes, identity)?,
                Some(before) => {
                    let evaluated: Vec<u64> = before.evaluated(&before.models[at]).collect();
                    LogitsWriter::resume(&path, classes, identity, &evaluated)?
                }
            });
        }
        evaluation.keep_logits(writers);
        Ok(())
    }

    /// Checks that results of which nothing is left to evaluate have what is requested.
    pub(super) fn check_finished(&self, results: &Results) -> Result<()> {
        let measured = results
            .models
            .iter()
            .all(|model| model.calibration.is_some());
        ensure!(
            measured || !self.calibrate,
            "all images were evaluated by a run without --calibrate: run again without --resume"
        );
        let names = results.model_names();
        for name in &names {
            let path = self.logits_of(name, names.len());
            if let Some(path) = path.filter(|path| !path.exists()) {
                bail!(
                    "all images were evaluated, but {} does not exist: run again without --resume",
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// The file for the logits of one of several models, if they are to be written.
    fn logits_of(&self, name: &str, models: usize) -> Option<PathBuf> {
        let path = self.logits.as_ref()?;
        Some(match models {
            1 => path.clone(),
            _ => named(path, name),
        })
    }

    /// Writes the logits of a complete run, and measures the calibration of its models.
    pub(super) fn finish(
        &self,
        evaluation: &mut Evaluation<'_>,
        results: &mut Results,
    ) -> Result<()> {
        let logits = evaluation.finish_logits()?;
        for (model, logits) in logits.iter().enumerate() {
            results.measure_average_precision(model, logits)?;
        }
        if !self.calibrate {
            return Ok(());
        }
        let settings = self.settings.settings()?;
        for (model, logits) in results.models.iter_mut().zip(&logits) {
            let calibration = Calibration::measure(logits, &settings);
            let path = &model.model.path;
            model.calibration =
                Some(calibration.with_context(|| format!("cannot calibrate {path}"))?);
        }
        Ok(())
    }
}

/// The file for a model: `logits-resnet18.npz` of `logits.npz`.
fn named(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let name = name.replace(['/', '\\'], "-");
    path.with_file_name(format!("{stem}-{name}.{extension}"))
}

/// Calibration of merged results, from the logits of their parts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calibration")]
pub(super) struct MergedCalibrationArgs {
    /// Files that --logits of the parts wrote: fit a temperature and prediction sets, and measure both, as a single run with
    /// --calibrate does
    #[arg(long, value_name = "LOGITS", num_args = 1..)]
    logits: Vec<PathBuf>,

    #[command(flatten)]
    settings: SettingsArgs,
}

impl MergedCalibrationArgs {
    /// Measures the calibration of the model of merged results, if there are files of logits.
    pub(super) fn measure(&self, merged: &mut Results) -> Result<()> {
        let settings = self.settings.settings()?;
        let Some(first) = self.logits.first() else {
            ensure!(
                settings == Settings::default(),
                "--coverage, --raps-penalty, --raps-k and --calibration-seed have no effect without --logits: add it"
            );
            return Ok(());
        };
        ensure!(
            merged.complete,
            "the merged results lack images, and a part of the images does not give the calibration of all: evaluate \
             the others too, or leave out --logits"
        );
        let [model] = &merged.models[..] else {
            bail!(
                "--logits are those of one model, but the results have {}: evaluate and merge each model alone",
                merged.models.len()
            );
        };
        let logits = joined(&self.logits)?;
        let evaluated: Vec<u64> = merged.evaluated(model).collect();
        ensure!(
            logits.indices() == evaluated,
            "the files of logits have {} images from {} on, but the merged results have {}: pass the files of all parts, \
             and no others",
            logits.images(),
            first.display(),
            evaluated.len()
        );
        ensure!(
            logits.classes() == merged.data.classes,
            "{} has {} classes, but the merged results have {}: pass the files of the same evaluations",
            first.display(),
            logits.classes(),
            merged.data.classes
        );
        let outcomes = model.outcomes.iter().flatten();
        let predicted: Vec<u32> = outcomes.map(|outcome| outcome.predicted).collect();
        if let Some(index) = logits.contradiction(&predicted)? {
            bail!(
                "the logits of image {index} predict another class than the merged results have: pass the files of the \
                 same evaluations"
            );
        }
        let calibration = Calibration::measure(&logits, &settings);
        let path = &model.model.path;
        let calibration = calibration.with_context(|| format!("cannot calibrate {path}"))?;
        merged.models[0].calibration = Some(calibration);
        merged.measure_average_precision(0, &logits)?;
        merged
            .warnings
            .retain(|warning| warning != FROM_LOGITS_LEFT_OUT);
        Ok(())
    }
}

/// The logits of one or several files.
fn joined(paths: &[PathBuf]) -> Result<Logits> {
    let parts = paths.iter().map(|path| Logits::open(path));
    let parts: Vec<Logits> = parts.collect::<Result<_, _>>()?;
    Ok(match <[Logits; 1]>::try_from(parts) {
        Ok([logits]) => logits,
        Err(parts) => Logits::join(&parts)?,
    })
}

/// Calibration from a file of logits.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CalibrateArgs {
    /// Logits and labels, as .npz, .safetensors or .parquet: the file of --logits, or any with the arrays `logits` of
    /// shape [images, classes] and `labels`, in Parquet the columns `logits`, lists of floats, and `label`; several
    /// files, such as of all shards, count as one
    #[arg(value_name = "LOGITS", required = true)]
    logits: Vec<PathBuf>,

    #[command(flatten)]
    settings: SettingsArgs,

    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl CalibrateArgs {
    pub(super) fn run(&self) -> Result<()> {
        let files = || requested([("--json", &self.json)]);
        check(files())?;
        let settings = self.settings.settings()?;
        let logits = joined(&self.logits)?;
        let calibration = Calibration::measure(&logits, &settings)
            .with_context(|| self.logits[0].display().to_string())?;
        print(&calibration_table("", &calibration), files())?;
        if let Some(path) = &self.json {
            write(path, &calibration_json(&calibration))?;
        }
        Ok(())
    }
}
