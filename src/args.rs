//! The command line of `topk-train`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};
use topk_history::End;

use crate::config::Config;
use crate::recipe;
use crate::sweep::{Plan, sweep};
use crate::training::{Outcome, Saving, train};
use crate::{dry_run, models};

/// What a process that was interrupted ends with.
pub(crate) const INTERRUPTED: u8 = 130;

/// Train an image classifier for top-k accuracy.
///
/// Leaves in the folder --out the checkpoints with the best top-1 (best1) and top-k (bestk) accuracy on
/// the validation images, as safetensors and as ONNX, with what topk-eval measures of them on the test
/// images; the log, a page of the curves (run.html), and files for TensorBoard. The same command goes on
/// with a run that was stopped or killed.
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

    /// Print the names of all networks, with their parameters and multiply-adds, and do nothing else
    #[arg(long, exclusive = true)]
    list_models: bool,

    /// TOML file of settings, under the names of the flags; flags beside it go before
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,

    /// Folder to write to; made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print what would be done: all settings, the network, the data, and how long it takes here
    #[arg(long)]
    dry_run: bool,

    /// Save the state after so many batches too [default: after each epoch, and every ten minutes]
    #[arg(long, value_name = "BATCHES")]
    save_every: Option<usize>,

    #[command(flatten)]
    config: Config,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Train with every combination of a plan's settings, one after the other, each in a folder of its
    /// own, and sum up what came out; the same command goes on with what was stopped
    Sweep {
        /// TOML file that says which: see the folder recipes
        plan: PathBuf,

        /// Folder to write to; made if it does not exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,

        /// Flags for all runs, which go before those of the plan
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "FLAGS"
        )]
        flags: Vec<OsString>,
    },
}

impl Args {
    /// The settings of a run, from words as a command line has them, without the program.
    ///
    /// # Errors
    /// If they are wrong.
    pub(crate) fn config_of(words: impl IntoIterator<Item = OsString>) -> Result<Config> {
        let words = std::iter::once(OsString::from("topk-train")).chain(words);
        let config = Self::try_parse_from(words)?.config.resolved();
        config.check()?;
        Ok(config)
    }

    /// Reads the command line of the process, and the recipe that it names. Ends the process with a
    /// message if it is wrong, or asks for help.
    ///
    /// # Errors
    /// If the recipe cannot be used.
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

    /// Does what was asked for.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn run(self) -> Result<ExitCode> {
        if let Some(Command::Sweep { plan, out, flags }) = self.command {
            let plan = Plan::read(&plan, &flags)?;
            return sweep(&plan, &out, &*stop_on_signal()?);
        }
        if self.list_models {
            io::stdout().write_all(models().as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.dry_run {
            io::stdout().write_all(dry_run(&self.config)?.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let out = self.out.context("--out is needed to train")?;
        let saving = Saving {
            batches: self.save_every,
            ..Saving::default()
        };
        let stop = stop_on_signal()?;
        Ok(match train(&self.config, &out, saving, &stop)? {
            Outcome::Finished(end) => {
                print(&end)?;
                ExitCode::SUCCESS
            }
            Outcome::WasFinished(end) => {
                writeln!(io::stdout(), "{} holds this run, finished:", out.display())?;
                print(&end)?;
                ExitCode::SUCCESS
            }
            Outcome::Interrupted => {
                eprintln!("interrupted; the state is saved: the same command goes on from it");
                ExitCode::from(INTERRUPTED)
            }
        })
    }
}

fn print(end: &End) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for best in &end.checkpoints {
        write!(out, "{:5} (epoch {}): ", best.name, best.epoch)?;
        let (name, accuracy) = match &best.test {
            Some(test) => ("test", test),
            None => ("validation", &best.val),
        };
        writeln!(
            out,
            "{name} top-1 {:.2} top-{} {:.2} on {} images: {}",
            100.0 * accuracy.top1(),
            best.k,
            100.0 * accuracy.topk(),
            accuracy.images,
            best.onnx.as_ref().unwrap_or(&best.checkpoint)
        )?;
    }
    Ok(())
}

/// Set by the first Ctrl-C or request to terminate; the second ends the program.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the second request ends the program at once")]
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!("stopping after this step; once more ends it at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
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
    fn flags_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn models_are_listed_without_a_data_set() {
        let parse = |flags: &str| Args::try_parse_from(flags.split(' '));
        assert!(parse("topk-train --list-models").unwrap().list_models);
        assert!(parse("topk-train --list-models --topk 5").is_err());
    }

    #[test]
    fn defaults_are_the_seed_codes() {
        let config = read("").config.resolved();
        config.check().unwrap();
        assert_eq!(config.loss.name, LossName::SmoothTopkSvm);
        assert_eq!(
            (config.loss.tau.to_string(), config.loss.alpha.to_string()),
            ("1".into(), "1".into())
        );
        assert_eq!(config.milestones, Some(vec![151, 226]));
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
    fn values_out_of_range_are_named() {
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
                "--label-smoothing must be 0 with this --loss, got 0.1",
            ),
            (
                "--warmup-epochs 300",
                "--warmup-epochs must be below --epochs, got 300",
            ),
            (
                "--clip-norm 0",
                "--clip-norm must be a finite number above 0, got 0",
            ),
        ] {
            assert_eq!(read(flags).config.check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_recipes_of_the_paper_can_be_read() {
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
    fn a_recipe_says_what_flags_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = folder.path().join("recipe.toml");
        let read_recipe = |text: &str, flags: &str| {
            std::fs::write(&recipe, text).unwrap();
            let words = format!("topk-train --recipe {} {flags}", recipe.display());
            Args::read(words.split_whitespace().map(OsString::from).collect())
        };
        let text =
            "data = \"DIR\"\nloss = \"ce\"\nlr = 0.5\nmilestones = [3, 5]\nchannels-last = true\n";
        let args = read_recipe(text, "--lr 0.25 --channels-last=false").unwrap();
        assert_eq!(args.config.loss.name, LossName::CrossEntropy);
        assert_eq!(args.config.milestones, Some(vec![3, 5]));
        assert_eq!((args.config.lr, args.config.channels_last), (0.25, false));
        // What a dry run prints is a recipe of the same settings.
        let printed = toml::to_string(&args.config).unwrap();
        assert_eq!(read_recipe(&printed, "").unwrap().config, args.config);

        for (text, part) in [
            ("learning-rate = 1", "`learning-rate`, which is no setting"),
            ("[lr]\nx = 1", "`lr` is table"),
            ("lr = ", "recipe.toml: TOML parse error"),
        ] {
            let message = read_recipe(text, "").unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
