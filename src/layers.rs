//! Settings from several places: a recipe, the parts of a plan, and the command line above them.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, FromArgMatches, ValueEnum};
use topk_data::DataError;
use topk_data::remote::{self, RemoteCache};
use topk_native::Devices;
use topk_ops::LossName;

use crate::config::{Config, ConfigError};
use crate::loss::uses;
use crate::optimizer::OptimizerName;
use crate::recipe::{self, RecipeError};
use crate::schedule::Scheduler;
use crate::train::CheckpointPolicy;

/// Everything that a recipe can say.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// Also save the state every N batches [default: after each epoch and every ten minutes]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) recovery_interval: Option<usize>,

    #[command(flatten)]
    pub(crate) config: Config,

    /// Train on several devices of this machine, with one rank on each: all (GPUs), or a list such as 0,1 (GPUs) or
    /// cpu,cpu
    #[arg(long, conflicts_with = "device", help_heading = "Machine")]
    pub(crate) devices: Option<Devices>,

    /// Several ranks: time after which a rank that does not answer ends the run
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Machine"
    )]
    pub(crate) dist_timeout: u32,

    #[command(flatten)]
    pub(crate) cache: RemoteCache,
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    CommandLine,
    /// A file or a part of one, such as `recipes/imagenet-svm.toml`.
    File(String),
}

/// A setting and its value as on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: OsString,
    pub(crate) source: Source,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = (&self.key, self.value.to_string_lossy());
        match &self.source {
            Source::CommandLine => write!(f, "--{key} {value}"),
            Source::File(name) => write!(f, "{key} = {value} of {name}"),
        }
    }
}

impl Setting {
    fn flag(&self) -> OsString {
        let mut flag = OsString::from(format!("--{}=", self.key));
        flag.push(&self.value);
        flag
    }

    /// The setting without its value.
    fn name(&self) -> String {
        match &self.source {
            Source::CommandLine => format!("--{}", self.key),
            Source::File(name) => format!("{} of {name}", self.key),
        }
    }
}

/// The settings on a command line. As an argument of a command, it is all flags of [`Settings`]; their values are
/// kept as text, because those that are not given may still come from a recipe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(pub(crate) Vec<Setting>);

impl clap::Args for Given {
    fn augment_args(command: clap::Command) -> clap::Command {
        Settings::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Settings::augment_args_for_update(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let command = Settings::command();
        let given = command.get_arguments().filter_map(|argument| {
            let id = argument.get_id().as_str();
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                return None;
            }
            let values: Vec<_> = matches.get_raw(id)?.collect();
            let value = values.join(",".as_ref());
            Some((argument.get_long()?.to_owned(), value))
        });
        let given = given.map(|(key, value)| {
            let value = admitted(&key, value).map_err(|error| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("--{key}: {error}\n"))
            })?;
            Ok(Setting {
                key,
                value,
                source: Source::CommandLine,
            })
        });
        Ok(Self(given.collect::<Result<_, clap::Error>>()?))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A value without credentials, if it is an address, so that they cannot appear in logs and saved settings.
pub(crate) fn admitted(key: &str, value: OsString) -> Result<OsString, DataError> {
    match key {
        "data" | "val-data" | "test-data" | "class-map" | "checkpoint" => {
            Ok(remote::admit(Path::new(&value))?.into_os_string())
        }
        _ => Ok(value),
    }
}

/// The settings of a recipe; none without a file.
pub(crate) fn recipe(path: Option<&Path>) -> Result<Vec<Setting>, RecipeError> {
    match path {
        None => Ok(Vec::new()),
        Some(path) => recipe::settings(&path.display().to_string(), recipe::read(path)?),
    }
}

impl Settings {
    /// A command that takes nothing but settings.
    pub(crate) fn command() -> clap::Command {
        let command = clap::Command::new("topk-train");
        Self::augment_args(command.no_binary_name(true).disable_help_flag(true))
    }

    fn parse(flags: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::command().try_get_matches_from(flags)?)
    }

    /// When the state of a run is saved.
    pub(crate) fn checkpoint_policy(&self) -> CheckpointPolicy {
        CheckpointPolicy {
            batches: self.recovery_interval,
            ..CheckpointPolicy::default()
        }
    }

    /// Combines layers of settings, the lowest first. A setting takes precedence over the same setting of lower
    /// layers, and over those that cannot be used with it or have no effect beside it.
    ///
    /// What is left out, and which settings have no effect, is added to the [decisions](Config::decisions).
    ///
    /// # Errors
    /// If a value is invalid. The message names where it comes from.
    pub(crate) fn combine(layers: Vec<Vec<Setting>>) -> Result<Self, RecipeError> {
        let command = Self::command();
        let (settings, replaced) = merge(layers, &command);
        let flags = settings.iter().map(Setting::flag);
        let mut combined = match Self::parse(flags) {
            Ok(combined) => combined,
            Err(error) => return Err(source_of(&settings, &error)),
        };
        let config = &mut combined.config;
        // Of the default, nothing is left without momentum.
        let nesterov = |setting: &Setting| setting.key == "nesterov" && setting.value == "true";
        if config.optimizer.momentum == 0.0 && settings.iter().any(nesterov) {
            return Err(RecipeError::Config(ConfigError::no_effect(
                "nesterov",
                "with --momentum 0",
                "give a --momentum above 0",
            )));
        }
        config.decisions = replaced;
        let (loss, optimizer) = (config.loss.name, config.optimizer.name);
        let sched = config.schedule.sched;
        let has_teacher = config.loss.teacher.is_some();
        for setting in &settings {
            let beside = match &*setting.key {
                // An error.
                "decay-milestones" => continue,
                key if !uses(loss, key) => format!("--loss {}", loss.as_str()),
                key if !optimizer.uses(key) => format!("--opt {}", optimizer.as_str()),
                key if !sched.uses(key) => sched.flag().to_owned(),
                key if key.starts_with("distillation-") && !has_teacher => {
                    let line = format!("{} has no effect without --teacher", setting.name());
                    config.decisions.push(line);
                    continue;
                }
                _ => continue,
            };
            let setting = setting.name();
            config
                .decisions
                .push(format!("{setting} has no effect with {beside}"));
        }
        config.decisions.extend(config.unreached_milestones());
        let of_optimizer = config.optimizer.decisions(config.epochs);
        config.decisions.extend(of_optimizer);
        Ok(combined)
    }
}

/// The settings that take effect, and one line per setting that displaces others.
fn merge(layers: Vec<Vec<Setting>>, command: &clap::Command) -> (Vec<Setting>, Vec<String>) {
    let mut kept: Vec<Setting> = Vec::new();
    // A setting, what it replaces, and where that comes from.
    let mut replaced: Vec<(String, Vec<String>, Source)> = Vec::new();
    for layer in layers.into_iter().rev() {
        let higher = kept.len();
        for setting in layer {
            let above = &kept[..higher];
            if above.iter().any(|above| above.key == setting.key) {
                continue;
            }
            let Some(above) = above
                .iter()
                .find(|above| displaces(above, &setting, command))
            else {
                kept.push(setting);
                continue;
            };
            let above = above.to_string();
            match replaced
                .iter_mut()
                .find(|(by, _, from)| *by == above && *from == setting.source)
            {
                Some((_, keys, _)) => keys.push(setting.key),
                None => replaced.push((above, vec![setting.key], setting.source)),
            }
        }
    }
    let lines = replaced.into_iter().map(|(by, keys, source)| {
        let keys = keys.join(" and ");
        match source {
            Source::CommandLine => format!("{by} replaces {keys}"),
            Source::File(name) => format!("{by} replaces {keys} of {name}"),
        }
    });
    let lines = lines.collect();
    (kept, lines)
}

/// Whether a setting excludes one of a lower layer: clap refuses the two together, or the lower one would
/// contradict it or have no effect.
pub(crate) fn displaces(above: &Setting, below: &Setting, command: &clap::Command) -> bool {
    let excludes = |one: &Setting, other: &Setting| {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(&one.key));
        let conflicts = argument.map(|argument| command.get_arg_conflicts_with(argument));
        let mut conflicts = conflicts.into_iter().flatten();
        conflicts.any(|conflict| conflict.get_long() == Some(&other.key))
    };
    let text = |setting: &Setting| setting.value.to_string_lossy().into_owned();
    let scheduler = |setting: &Setting| Scheduler::from_str(&text(setting), false);
    let has_milestones =
        |setting: &Setting| scheduler(setting).is_ok_and(Scheduler::has_milestones);
    match (&*above.key, &*below.key) {
        // Tuned for the loss beside it.
        ("loss", "label-smoothing" | "smoothing") => {
            LossName::from_str(&text(above), false) != Ok(LossName::CrossEntropy)
        }
        ("loss", key) => LossName::from_str(&text(above), false).is_ok_and(|loss| !uses(loss, key)),
        ("opt", key) => {
            OptimizerName::from_str(&text(above), false).is_ok_and(|name| !name.uses(key))
        }
        ("sched", key) => scheduler(above).is_ok_and(|sched| !sched.uses(key)),
        ("decay-milestones", "sched") => !has_milestones(below),
        ("epochs", "warmup-epochs") => {
            let number = |setting: &Setting| text(setting).parse::<usize>().ok();
            number(above).is_some_and(|epochs| number(below).is_some_and(|warmup| warmup >= epochs))
        }
        ("amp", "amp-dtype") => text(above) == "false" && text(below) == "float16",
        ("amp-dtype", "amp") => text(above) == "float16" && text(below) == "false",
        ("deterministic", "cudnn-benchmark") | ("cudnn-benchmark", "deterministic") => {
            text(above) == "true" && text(below) == "true"
        }
        ("momentum", "nesterov") => text(above).parse() == Ok(0.0) && text(below) == "true",
        _ => excludes(above, below) || excludes(below, above),
    }
}

/// The error of parsing settings, with the file of the one that is invalid.
fn source_of(settings: &[Setting], error: &clap::Error) -> RecipeError {
    let mut files = settings.iter().filter_map(|setting| match &setting.source {
        Source::CommandLine => None,
        Source::File(name) => Some((setting, name)),
    });
    let alone = files.clone().find_map(|(setting, name)| {
        let error = Settings::parse([setting.flag()]).err()?;
        (error.kind() != ErrorKind::MissingRequiredArgument).then_some((name, error))
    });
    // The values on the command line have been checked when it was parsed.
    match (alone, files.next_back()) {
        (Some((name, error)), _) => RecipeError::Setting {
            place: name.clone(),
            message: message(&error),
        },
        (None, Some((_, name))) => RecipeError::Setting {
            place: name.clone(),
            message: message(error),
        },
        (None, None) => RecipeError::Flags(message(error)),
    }
}

/// The first paragraph of a message of clap, on one line.
fn message(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.lines().take_while(|line| !line.is_empty());
    let words: Vec<&str> = paragraph.flat_map(str::split_whitespace).collect();
    let text = words.join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}
