//! The command line of `topk-train`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};
use topk_cli::INTERRUPTED;
use topk_history::End;
use topk_report::text::{TERMINAL_WIDTH, wrap};

use crate::config::Config;
use crate::dry_run::dry_run;
use crate::list_models::list_models;
use crate::recipe;
use crate::sweep::{Plan, sweep};
use crate::train::{CheckpointPolicy, Outcome, train};

/// Printed when an interrupted run has saved its state.
pub(crate) const RESUME_HINT: &str = "Interrupted; state saved. Run the same command to resume.";

/// Train an image classifier for top-k accuracy
///
/// Writes to the folder --out: the checkpoints with the best top-1 (best1) and top-k (bestk) validation
/// accuracy as safetensors and ONNX files, their test results as measured by topk-eval, the training log, a
/// page with the curves (run.html), and TensorBoard files. Running the same command again resumes a run that
/// was stopped or killed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "topk-train",
    version,
    max_term_width = 100,
    args_override_self = true,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// List all networks with their number of parameters and multiply-adds (MACs), then exit
    #[arg(long, exclusive = true)]
    list_models: bool,

    /// TOML file of settings, one key per flag; flags on the command line take precedence
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,

    /// Output folder; created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Continue another run in --out, a new folder: the folder of that run, or its state.safetensors
    ///
    /// Copies the run at its saved state, which is only read. Settings may change if the network and the images stay
    /// the same; changes are printed and logged.
    #[arg(long, value_name = "RUN", conflicts_with = "dry_run")]
    resume_from: Option<PathBuf>,

    /// Print all settings, the network, the data and the estimated time, then exit
    #[arg(long)]
    dry_run: bool,

    /// Also save the state every N batches [default: after each epoch and every ten minutes]
    #[arg(long, value_name = "N")]
    recovery_interval: Option<usize>,

    #[command(flatten)]
    config: Config,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Train with every combination of settings in a plan and summarise the results
    ///
    /// Each run gets its own folder; the summary has tables and plots. Running the same command again
    /// resumes unfinished runs.
    Sweep {
        /// TOML file of the plan; see the folder recipes for examples
        plan: PathBuf,

        /// Output folder; created if it does not exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,

        /// Flags of topk-train for all runs; they take precedence over the plan
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "FLAGS"
        )]
        flags: Vec<OsString>,
    },
}

impl Args {
    /// The settings of a run from command-line arguments without the program's name.
    ///
    /// # Errors
    /// If the arguments are invalid.
    pub(crate) fn config_of(words: impl IntoIterator<Item = OsString>) -> Result<Config> {
        let words = std::iter::once(OsString::from("topk-train")).chain(words);
        let config = Self::try_parse_from(words)?.config;
        config.clone().resolved().check()?;
        Ok(config)
    }

    /// Parses the command line of the process, and the recipe that it names. Exits with a message if the
    /// command line is invalid or requests help.
    ///
    /// # Errors
    /// If the recipe cannot be read.
    pub fn from_command_line() -> Result<Self> {
        Self::read(std::env::args_os().collect())
    }

    fn read(words: Vec<OsString>) -> Result<Self> {
        let args = Self::parse_from(&words);
        let Some(recipe) = &args.recipe else {
            return Ok(args);
        };
        let flags = recipe::flags(recipe, recipe::read(recipe)?, &Self::command())?;
        let mut words = words.into_iter();
        let program = words.next().into_iter();
        Ok(Self::parse_from(program.chain(flags).chain(words)))
    }

    /// Runs the command.
    ///
    /// # Errors
    /// If the command fails.
    pub fn run(self) -> Result<ExitCode> {
        if let Some(Command::Sweep { plan, out, flags }) = self.command {
            let plan = Plan::read(&plan, &flags)?;
            return sweep(&plan, &out, &*stop_on_interrupt()?);
        }
        if self.list_models {
            topk_cli::stdout().write_all(list_models().as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.dry_run {
            topk_cli::stdout().write_all(dry_run(&self.config)?.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let out = self
            .out
            .context("--out is missing: give the folder to write to")?;
        let policy = CheckpointPolicy {
            batches: self.recovery_interval,
            ..CheckpointPolicy::default()
        };
        let stop = stop_on_interrupt()?;
        Ok(
            match train(
                &self.config,
                &out,
                self.resume_from.as_deref(),
                policy,
                &stop,
            )? {
                Outcome::Finished(end) => {
                    print(&end)?;
                    ExitCode::SUCCESS
                }
                Outcome::AlreadyFinished(end) => {
                    let line = format!("{} already contains this run (finished):", out.display());
                    writeln!(topk_cli::stdout(), "{}", wrap(&line, TERMINAL_WIDTH, 2))?;
                    print(&end)?;
                    ExitCode::SUCCESS
                }
                Outcome::Interrupted => {
                    eprintln!("{RESUME_HINT}");
                    ExitCode::from(INTERRUPTED)
                }
            },
        )
    }
}

/// Prints one line per best checkpoint.
fn print(end: &End) -> io::Result<()> {
    let mut out = topk_cli::stdout();
    for best in &end.checkpoints {
        let (name, accuracy) = match &best.test {
            Some(test) => ("test", test),
            None => ("validation", &best.val),
        };
        let line = format!(
            "{} (epoch {}): {name} top-1 {:.2} %, top-{} {:.2} % on {} images: {}",
            best.name,
            best.epoch,
            100.0 * accuracy.top1(),
            best.k,
            100.0 * accuracy.topk(),
            accuracy.images,
            best.onnx.as_ref().unwrap_or(&best.checkpoint)
        );
        writeln!(out, "{}", wrap(&line, TERMINAL_WIDTH, 2))?;
    }
    Ok(())
}

fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    topk_cli::stop_on_interrupt(|| {
        eprintln!("Finishing this step, then stopping. Press Ctrl-C again to quit immediately.");
    })
    .context("cannot handle Ctrl-C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use topk_ops::LossName;

    fn read(words: &str) -> Args {
        let words = format!("topk-train --data DIR --out OUT {words}");
        Args::read(words.split_whitespace().map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn command_line_definition_is_valid() {
        Args::command().debug_assert();
    }

    #[test]
    fn list_models_excludes_other_flags() {
        let parse = |flags: &str| Args::try_parse_from(flags.split(' '));
        assert!(parse("topk-train --list-models").unwrap().list_models);
        assert!(parse("topk-train --list-models --topk 5").is_err());
    }

    #[test]
    fn defaults_match_the_authors_code() {
        let config = read("").config.resolved();
        config.check().unwrap();
        assert_eq!(config.loss.name, LossName::SmoothTopkSvm);
        assert_eq!(
            (config.loss.tau.to_string(), config.loss.alpha.to_string()),
            ("1".into(), "1".into())
        );
        assert_eq!(config.decay_milestones, Some(vec![151, 226]));
        assert_eq!(
            (config.topk, config.epochs, config.batch_size),
            (5, 300, 64)
        );
        assert_eq!(
            (config.lr, config.momentum, config.weight_decay),
            (0.1, 0.9, 1e-4)
        );
        assert_eq!(config.model, "densenet-40-40");
    }

    #[test]
    fn out_of_range_values_are_rejected_with_the_flag() {
        for (flags, message) in [
            ("--topk 0", "--topk must be at least 1, got 0"),
            ("--epochs 0", "--epochs must be at least 1, got 0"),
            (
                "--lr nan",
                "--lr must be a finite number of at least 0, got NaN",
            ),
            (
                "--momentum 1",
                "--momentum must be at least 0 and below 1, got 1",
            ),
            ("--noise 1.5", "--noise must be from 0 to 1, got 1.5"),
            (
                "--label-smoothing 0.1",
                "--label-smoothing must be 0 unless --loss is ce, got 0.1",
            ),
            (
                "--warmup-epochs 300",
                "--warmup-epochs must be below --epochs, got 300",
            ),
            (
                "--clip-grad 0",
                "--clip-grad must be a finite number above 0, got 0",
            ),
        ] {
            assert_eq!(read(flags).config.check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn recipes_of_the_paper_have_its_settings() {
        let recipe = |name: &str| {
            let path = format!("{}/recipes/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let words = ["topk-train", "--recipe", &path, "--data=DIR", "--noise=0.6"];
            let config = Args::read(words.map(OsString::from).to_vec())
                .unwrap()
                .config;
            config.check().unwrap();
            assert_eq!(config.noise, 0.6);
            let Config {
                lr,
                weight_decay,
                epochs,
                ..
            } = config;
            (
                config.loss.name.as_str(),
                config.loss.tau.to_string(),
                lr,
                weight_decay,
                epochs,
            )
        };
        assert_eq!(recipe("cifar100-ce"), ("ce", "1".into(), 0.1, 1e-4, 300));
        assert_eq!(recipe("cifar100-svm"), ("svm", "1".into(), 0.1, 1e-4, 300));
        assert_eq!(recipe("imagenet-ce"), ("ce", "1".into(), 0.1, 1e-4, 120));
        assert_eq!(
            recipe("imagenet-svm"),
            ("svm", "0.1".into(), 1.0, 2.5e-5, 120)
        );
    }

    #[test]
    fn flags_take_precedence_over_the_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = folder.path().join("recipe.toml");
        let read_recipe = |text: &str, flags: &str| {
            std::fs::write(&recipe, text).unwrap();
            let words = format!("topk-train --recipe {} {flags}", recipe.display());
            Args::read(words.split_whitespace().map(OsString::from).collect())
        };
        let text = "data = \"DIR\"\nloss = \"ce\"\nlr = 0.5\ndecay-milestones = [3, 5]\nchannels-last = true\n";
        let args = read_recipe(text, "--lr 0.25 --channels-last=false").unwrap();
        assert_eq!(args.config.loss.name, LossName::CrossEntropy);
        assert_eq!(args.config.decay_milestones, Some(vec![3, 5]));
        assert_eq!((args.config.lr, args.config.channels_last), (0.25, false));
        // The settings that a dry run prints are a recipe.
        let printed = toml::to_string(&args.config).unwrap();
        assert_eq!(read_recipe(&printed, "").unwrap().config, args.config);

        for (text, part) in [
            ("learning-rate = 1", "unknown setting `learning-rate`"),
            ("[lr]\nx = 1", "`lr` has type table"),
            ("lr = ", "recipe.toml: TOML parse error"),
        ] {
            let message = read_recipe(text, "").unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
