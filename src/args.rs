//! The command line of `topk-train`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use topk_cli::INTERRUPTED;
use topk_cli::launch::Launch;
use topk_history::{End, Event};
use topk_libtorch::select_device;
use topk_native::Devices;
use topk_report::text::{TERMINAL_WIDTH, wrap};

use crate::dry_run::dry_run;
use crate::layers::{Given, Setting, Settings, recipe};
use crate::list_models::list_models;
use crate::logging::LogFormat;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::ranks::{Placement, Ranks, start_on_devices};
use crate::sweep::{list, sweep};
use crate::train::Outcome;
use crate::trainer::Trainer;

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
    recipe: Vec<PathBuf>,

    /// Output folder; created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Vec<PathBuf>,

    /// Continue another run in --out, a new folder: the folder of that run, or its state.safetensors
    ///
    /// Copies the run at its saved state, which is only read. Settings may change if the network and the images stay
    /// the same; changes are printed and logged.
    #[arg(long, value_name = "RUN", conflicts_with = "dry_run")]
    resume_from: Vec<PathBuf>,

    /// Print all settings, the network, the data and the estimated time, then exit
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    given: Given,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Train with every combination of settings in a plan and summarise the results
    ///
    /// Each run gets its own folder; the summary has tables and plots. Running the same command again
    /// resumes unfinished runs.
    ///
    /// All flags of topk-train, such as --data and --epochs, can be given too: they apply to all runs, and take
    /// precedence over the settings in the plan. topk-train --help lists them.
    #[command(mut_args(hide_settings))]
    Sweep(SweepArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct SweepArgs {
    /// TOML file of the plan; see the folder recipes for examples
    plan: PathBuf,

    /// TOML file of settings for all runs, one key per flag; the plan and flags take precedence
    #[arg(long, value_name = "FILE")]
    recipe: Vec<PathBuf>,

    /// Output folder; created if it does not exist
    #[arg(long, value_name = "DIR", required = true)]
    out: Vec<PathBuf>,

    /// List the runs, whether they are finished, and the estimated time, then exit
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    given: Given,
}

/// Hides the settings of runs in the help of a sweep, which would repeat them all.
fn hide_settings(argument: clap::Arg) -> clap::Arg {
    let own = ["plan", "recipe", "out", "dry_run", "help"];
    let hidden = !own.contains(&argument.get_id().as_str());
    argument.hide(hidden)
}

/// The value of a flag that may be given once: for a file or folder, silently taking the last one would hide that
/// another was meant.
fn once(flag: &str, paths: Vec<PathBuf>) -> Result<Option<PathBuf>> {
    if let [first, second, ..] = &paths[..] {
        bail!(
            "--{flag} is given more than once, as {} and as {}: give it once",
            first.display(),
            second.display()
        );
    }
    Ok(paths.into_iter().next())
}

impl Args {
    /// Runs the command.
    ///
    /// # Errors
    /// If the command fails.
    pub fn run(self) -> Result<ExitCode> {
        if let Some(Command::Sweep(args)) = self.command {
            return args.run();
        }
        if self.list_models {
            topk_cli::stdout().write_all(list_models().as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let recipe = recipe(once("recipe", self.recipe)?.as_deref())?;
        let settings = Settings::combine(vec![recipe, self.given.0])?;
        topk_data::remote::configure(settings.cache.clone())?;
        let out = once("out", self.out)?;
        if self.dry_run {
            one_process("--dry-run", settings.devices.as_ref())?;
            let text = dry_run(&settings.config)?;
            topk_cli::stdout().write_all(text.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let out = out.context("--out is missing: give the folder to write to")?;
        let from = once("resume-from", self.resume_from)?;
        let policy = settings.checkpoint_policy();
        let timeout = Duration::from_secs(settings.dist_timeout.into());
        let mut config = settings.config;
        config.check()?;
        let launch = Launch::from_env()?;
        if let (Some(devices), None) = (&settings.devices, &launch)
            && let Some(code) = start_on_devices(devices)?
        {
            return Ok(code);
        }
        let Placement { device, threads } =
            Placement::new(config.device, settings.devices.as_ref(), launch.as_ref())?;
        config.device = device;
        let is_first = launch.as_ref().is_none_or(|launch| launch.rank == 0);
        let stop = stop_on_interrupt(is_first)?;
        let ranks = match &launch {
            Some(launch) => Ranks::join(launch, select_device(device)?, threads, timeout)?,
            None => Ranks::alone(),
        };
        let format = config.logging.log_format;
        let mut trainer = Trainer::new(config, &out)
            .with_observer(Progress::new(format))
            .with_policy(policy)
            .with_ranks(ranks)
            .with_stop(stop);
        if let Some(run) = from {
            trainer = trainer.with_resume_from(run);
        }
        let outcome = trainer.train()?;
        Ok(match outcome {
            Outcome::Finished(end) => {
                // As JSON, it is among the events.
                if format == LogFormat::Text {
                    print(&end)?;
                }
                ExitCode::SUCCESS
            }
            Outcome::AlreadyFinished(end) if format == LogFormat::Json => {
                topk_cli::stdout().write_all(Event::End(end).to_line().as_bytes())?;
                ExitCode::SUCCESS
            }
            Outcome::AlreadyFinished(end) => {
                let line = format!("{} already contains this run (finished):", out.display());
                writeln!(topk_cli::stdout(), "{}", wrap(&line, TERMINAL_WIDTH, 2))?;
                print(&end)?;
                ExitCode::SUCCESS
            }
            Outcome::Interrupted => {
                if is_first {
                    eprintln!("{RESUME_HINT}");
                }
                ExitCode::from(INTERRUPTED)
            }
            Outcome::OtherRank => ExitCode::SUCCESS,
        })
    }
}

/// Fails if this process is one of several ranks, or is to start them.
fn one_process(what: &str, devices: Option<&Devices>) -> Result<()> {
    let launch = Launch::from_env()?;
    if let Some(launch) = launch.filter(|launch| launch.world_size > 1) {
        bail!(
            "{what} runs in one process, but the launcher started {} (WORLD_SIZE): start it without a launcher",
            launch.world_size
        );
    }
    if let Some(devices) = devices {
        bail!("{what} runs in one process: leave out --devices {devices}, and give --device");
    }
    Ok(())
}

#[cfg(test)]
impl Args {
    /// The settings of flags, with defaults filled in.
    pub(crate) fn config_of(
        words: impl IntoIterator<Item = std::ffi::OsString>,
    ) -> Result<crate::config::Config> {
        let program = std::ffi::OsString::from("topk-train");
        let args = Self::try_parse_from(std::iter::once(program).chain(words))?;
        let config = Settings::combine(vec![args.given.0])?.config;
        config.check()?;
        Ok(config.resolved())
    }
}

impl SweepArgs {
    fn run(self) -> Result<ExitCode> {
        let devices = self.given.0.iter().find(|setting| setting.key == "devices");
        if let Some(devices) = devices {
            bail!(
                "{devices} trains one run on several devices: give a sweep --device, and start one for each device"
            );
        }
        one_process("topk-train sweep", None)?;
        let is_json = |setting: &&Setting| setting.key == "log-format" && setting.value == "json";
        if let Some(setting) = self.given.0.iter().find(is_json) {
            bail!(
                "{setting} is for single runs: a sweep prints a table; its results are in sweep.json"
            );
        }
        let recipe = recipe(once("recipe", self.recipe)?.as_deref())?;
        let plan = Plan::read(&self.plan, recipe, self.given.0)?;
        let out = once("out", self.out)?.unwrap_or_default();
        match self.dry_run {
            true => {
                topk_cli::stdout().write_all(list(&plan, &out)?.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            false => sweep(&plan, &out, &*stop_on_interrupt(true)?),
        }
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

/// Stops at Ctrl-C; `tells` so, once for all ranks.
fn stop_on_interrupt(tells: bool) -> Result<Arc<AtomicBool>> {
    topk_cli::stop_on_interrupt(move || {
        if tells {
            eprintln!(
                "Finishing this step, then stopping. Press Ctrl-C again to quit immediately."
            );
        }
    })
    .context("cannot handle Ctrl-C")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;
    use topk_ops::LossName;

    use super::*;
    use crate::config::Config;
    use crate::schedule::Milestones;

    /// The settings of a command line.
    fn read(words: &str) -> Result<Settings> {
        let words = std::iter::once("topk-train").chain(words.split_whitespace());
        let args = Args::try_parse_from(words)?;
        let recipe = recipe(once("recipe", args.recipe)?.as_deref())?;
        Ok(Settings::combine(vec![recipe, args.given.0])?)
    }

    fn config(words: &str) -> Config {
        read(&format!("--data DIR {words}")).unwrap().config
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
        let config = config("");
        config.check().unwrap();
        let config = config.resolved();
        assert_eq!(config.loss.name, LossName::SmoothTopkSvm);
        assert_eq!(
            (config.loss.tau.to_string(), config.loss.alpha.to_string()),
            ("1".into(), "1".into())
        );
        assert_eq!(
            config.schedule.decay_milestones,
            Some(Milestones(vec![151, 226]))
        );
        assert_eq!((config.epochs, config.batch_size), (300, 64));
        assert_eq!(
            (
                config.peak_lr(),
                config.optimizer.momentum,
                config.optimizer.weight_decay
            ),
            (0.1, 0.9, 1e-4)
        );
        assert!(config.optimizer.nesterov);
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
                "--label-smoothing 1",
                "--label-smoothing must be at least 0 and below 1, got 1",
            ),
            (
                "--loss bce --bce-target-thresh 0.2 --class-weights balanced",
                "--class-weights must be used without --bce-target-thresh, got --class-weights balanced \
                 --bce-target-thresh 0.2",
            ),
            (
                "--cuda-graphs --class-weights w.txt",
                "--cuda-graphs must be used without --class-weights, got --class-weights w.txt",
            ),
            (
                "--teacher t.onnx --distillation-alpha 1.5",
                "--distillation-alpha must be from 0 to 1, got 1.5",
            ),
            (
                "--teacher t.onnx --distillation-tau 0",
                "--distillation-tau must be a finite number above 0, got 0",
            ),
            (
                "--loss balanced-noised-topk --max-margin=-1",
                "--max-margin must be a finite number of at least 0, got -1",
            ),
            (
                "--warmup-epochs 300",
                "--warmup-epochs must be below --epochs, got 300",
            ),
            (
                "--clip-grad 0",
                "--clip-grad must be a finite number above 0, got 0",
            ),
            (
                "--decay-milestones 0,5",
                "--decay-milestones must be epochs, counted from 1, in ascending order, got 0,5",
            ),
            (
                "--decay-milestones 5,3",
                "--decay-milestones must be epochs, counted from 1, in ascending order, got 5,3",
            ),
            (
                "--sched cosine --decay-milestones 3,5",
                "--decay-milestones 3,5 has no effect with --sched cosine: remove it, or use --sched step",
            ),
            (
                "--amp-dtype float16",
                "--amp-dtype float16 has no effect without --amp: remove it, or give --amp too",
            ),
            (
                "--deterministic --cudnn-benchmark",
                "--cudnn-benchmark has no effect with --deterministic, which must not choose algorithms by their \
                 time: remove it, or omit --deterministic",
            ),
            (
                "--log-interval 0",
                "--log-interval must be at least 1, got 0",
            ),
            (
                "--cuda-graphs --mix mixup:0.2",
                "--cuda-graphs must be used without --mix, got --mix mixup:0.2",
            ),
            (
                "--cuda-graphs --grad-accum-steps 2",
                "--cuda-graphs must be used with --grad-accum-steps 1, got --grad-accum-steps 2",
            ),
            (
                "--cuda-graphs --loss balanced-noised-topk",
                "--cuda-graphs must be used with a loss without random numbers, got --loss balanced-noised-topk",
            ),
            (
                "--aug-repeats 0.5",
                "--aug-repeats must be 0, or from 1 to 1000000, got 0.5",
            ),
            (
                "--sampler square-root --shuffle shards",
                "--sampler must be used without --shuffle shards, which reads each image of a shard once, got --sampler \
                 square-root --shuffle shards",
            ),
            (
                "--aug-repeats 3 --shuffle shards",
                "--aug-repeats must be used without --shuffle shards, which reads each image of a shard once, got \
                 --aug-repeats 3 --shuffle shards",
            ),
            (
                "--overfit-batches 1 --on-bad-image skip",
                "--overfit-batches must be used with --on-bad-image fail, got --overfit-batches 1 --on-bad-image skip",
            ),
            (
                "--input-size 4 28 28",
                "--in-chans must be 1 (grey) or 3 (red, green and blue), which are what image files are decoded to (for \
                 images of other channels, train in PyTorch with the losses of the Python package topk), got 4",
            ),
            (
                "--input-size 1 28 28 --in-chans 3",
                "--in-chans must be the channels of --input-size, got 3 with --input-size of 1 channels",
            ),
            (
                "--in-chans 1 --augment-on-device",
                "--augment-on-device must be used with --in-chans 3, got --in-chans 1 --augment-on-device",
            ),
            (
                "--scale 0.5",
                "--scale must be two numbers, such as 0.5 1, got 0.5",
            ),
            (
                "--classifier new",
                "--classifier new has no effect without --checkpoint: remove it, or give the file of weights \
                 with --checkpoint",
            ),
        ] {
            assert_eq!(config(flags).check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn recipes_of_the_paper_have_its_settings() {
        let recipe = |name: &str| {
            let path = format!("{}/recipes/{name}.toml", env!("CARGO_MANIFEST_DIR"));
            let config = config(&format!("--recipe {path} --noise=0.6"));
            config.check().unwrap();
            assert_eq!(config.noise, 0.6);
            let (lr, weight_decay) = (config.peak_lr(), config.optimizer.weight_decay);
            (
                config.loss.name.as_str(),
                config.loss.tau.to_string(),
                lr,
                weight_decay,
                config.epochs,
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
            read(&format!("--recipe {} {flags}", recipe.display()))
        };
        let text = "data = \"DIR\"\nloss = \"ce\"\nlr = 0.5\ndecay-milestones = [3, 5]\nchannels-last = true\n";
        let config = read_recipe(text, "--lr 0.25 --channels-last=false")
            .unwrap()
            .config;
        assert_eq!(config.loss.name, LossName::CrossEntropy);
        assert_eq!(
            config.schedule.decay_milestones,
            Some(Milestones(vec![3, 5]))
        );
        assert_eq!(
            (config.peak_lr(), config.machine.channels_last),
            (0.25, Some(false))
        );
        // The settings that a dry run prints are a recipe.
        for config in [
            config.resolved(),
            read_recipe(text, "--sched cosine --momentum 0 --loss lml --epochs 7")
                .unwrap()
                .config
                .resolved(),
            read_recipe(
                "sampler = \"class-balanced\"\ninput-size = [3, 48, 64]\nscale = [0.2, 1]\naa = \"rand-m9-mstd0.5-inc1\"",
                "--data DIR --class-map M --reprob 0.25 --recount 2 --limit-batches 3",
            )
            .unwrap()
            .config
            .resolved(),
            read_recipe("epochs = 1", "--data DIR")
                .unwrap()
                .config
                .resolved(),
        ] {
            let printed = toml::to_string(&config).unwrap();
            let again = read_recipe(&printed, "").unwrap().config;
            again.check().unwrap();
            let decisions = config.decisions.clone();
            assert_eq!(Config { decisions, ..again }, config, "{printed}");
        }

        for (text, part) in [
            ("learning-rate = 1", "unknown setting `learning-rate`"),
            ("[lr]\nx = 1", "`lr` has type table"),
            ("lr = ", "recipe.toml: TOML parse error"),
            (
                "lr = \"x\"",
                "recipe.toml: invalid value 'x' for '--lr <LR>'",
            ),
            (
                "val-data = \"V\"\nval-size = 5",
                "recipe.toml: the argument '--val-data <PATH>' cannot be used with '--val-size <N>'",
            ),
            ("out = \"run\"", "give --out on the command line"),
            ("dry-run = true", "give --dry-run on the command line"),
        ] {
            let message = read_recipe(text, "").unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    /// A flag on the command line displaces what it cannot be used with, and what has no effect beside it.
    #[test]
    fn flags_replace_values_of_a_recipe_that_conflict_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        let read = |text: &str, flags: &str| {
            std::fs::write(&path, text).unwrap();
            let config = read(&format!("--data D --recipe {} {flags}", path.display()));
            let config = config.unwrap().config;
            config.check().unwrap();
            let decisions = config.decisions.iter();
            let name = path.display().to_string();
            let decisions = decisions.map(|line| line.replace(&name, "FILE")).collect();
            (config, decisions)
        };
        let (config, decisions): (_, Vec<String>) = read("val-size = 5", "--val-data V");
        assert_eq!(config.val_data.as_deref(), Some(Path::new("V")));
        assert_eq!(config.val_size, None);
        assert_eq!(decisions, ["--val-data V replaces val-size of FILE"]);

        let (config, decisions) = read("val-data = \"V\"", "--val-size 5");
        assert_eq!((config.val_data, config.val_size), (None, Some(5)));
        assert_eq!(decisions, ["--val-size 5 replaces val-data of FILE"]);

        let text = "sched = \"step\"\ndecay-milestones = [3, 5]";
        let (config, decisions) = read(text, "--sched cosine");
        assert_eq!(config.schedule.sched, crate::schedule::Scheduler::Cosine);
        assert_eq!(
            decisions,
            ["--sched cosine replaces decay-milestones of FILE"]
        );

        let (config, decisions) = read("sched = \"cosine\"", "--decay-milestones 3,5");
        assert_eq!(
            config.resolved().schedule.decay_milestones,
            Some(Milestones(vec![3, 5]))
        );
        assert_eq!(decisions, ["--decay-milestones 3,5 replaces sched of FILE"]);

        let text = "loss = \"ce\"\nlabel-smoothing = 0.1";
        let (config, decisions) = read(text, "--loss svm");
        assert_eq!(config.loss.label_smoothing, 0.0);
        assert_eq!(decisions, ["--loss svm replaces label-smoothing of FILE"]);

        let text = "loss = \"svm\"\ntau = 0.5\nalpha = 2.0";
        let (config, decisions) = read(text, "--loss psi5");
        assert_eq!(config.loss.alpha.to_string(), "2");
        assert_eq!(decisions, ["--loss psi5 replaces tau of FILE"]);

        let (config, decisions) = read("nesterov = true", "--momentum 0");
        assert!(!config.resolved().optimizer.nesterov);
        assert_eq!(decisions, ["--momentum 0 replaces nesterov of FILE"]);

        let (config, decisions) = read("warmup-epochs = 2", "--epochs 2");
        assert_eq!((config.epochs, config.schedule.warmup_epochs), (2, 0));
        assert_eq!(decisions, ["--epochs 2 replaces warmup-epochs of FILE"]);

        let text = "amp = true\namp-dtype = \"float16\"";
        let (config, decisions) = read(text, "--amp=false");
        assert_eq!(config.machine.amp_kind(), None);
        assert_eq!(decisions, ["--amp false replaces amp-dtype of FILE"]);

        let (config, decisions) = read("cudnn-benchmark = true", "--deterministic");
        assert_eq!(config.resolved().machine.cudnn_benchmark, Some(false));
        assert_eq!(
            decisions,
            ["--deterministic true replaces cudnn-benchmark of FILE"]
        );

        let (config, decisions) = read("augment = \"crop:4,flip\"", "--reprob 0.25");
        assert!(config.augment.is_none() && config.augmenting.reprob == Some(0.25));
        assert_eq!(decisions, ["--reprob 0.25 replaces augment of FILE"]);

        let (config, decisions) = read("reprob = 0.25\nremode = \"rand\"", "--augment none");
        assert!(!config.augmenting.are_given());
        assert_eq!(
            decisions,
            ["--augment none replaces reprob and remode of FILE"]
        );

        // What a flag needs may come from the recipe.
        let (config, decisions) = read("checkpoint = \"W\"", "--classifier new");
        assert_eq!(config.checkpoint.as_deref(), Some(Path::new("W")));
        assert!(decisions.is_empty());
    }

    #[test]
    fn nesterovs_rule_needs_momentum() {
        assert!(!config("--momentum 0").resolved().optimizer.nesterov);
        assert!(
            !config("--momentum 0 --nesterov=false")
                .resolved()
                .optimizer
                .nesterov
        );
        assert!(!config("--nesterov=false").resolved().optimizer.nesterov);
        let error = read("--data DIR --momentum 0 --nesterov").unwrap_err();
        assert_eq!(
            error.to_string(),
            "--nesterov has no effect with --momentum 0: remove it, or give a --momentum above 0"
        );
    }

    #[test]
    fn settings_without_effect_are_reported() {
        let decisions = |flags: &str| config(flags).decisions;
        assert!(
            decisions("--loss svm --tau 2 --alpha 0.5 --epochs 300 --decay-milestones 300")
                .is_empty()
        );
        assert_eq!(
            decisions("--loss ce --tau 2 --draws 5"),
            [
                "--tau has no effect with --loss ce",
                "--draws has no effect with --loss ce"
            ]
        );
        assert_eq!(
            decisions("--epochs 5 --decay-milestones 3,6,8"),
            ["--decay-milestones 6,8: not reached in --epochs 5"]
        );
    }

    #[test]
    fn files_and_folders_are_given_once() {
        let error = |words: &str| {
            let words = words.split_whitespace();
            Args::parse_from(words).run().unwrap_err().to_string()
        };
        assert_eq!(
            error("topk-train --data D --out a --out b"),
            "--out is given more than once, as a and as b: give it once"
        );
        assert_eq!(
            error("topk-train --recipe a --recipe b --out o"),
            "--recipe is given more than once, as a and as b: give it once"
        );
    }
}
