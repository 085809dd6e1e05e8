//! What a run starts from: nothing, the state in its folder, or the state of another run.

mod continued_run;
mod error;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use topk_history::{BESTK, Change, Event, LOG};

use crate::TrainError;
use crate::changes::{Changes, Effect, as_saved, other_ranks};
use crate::config::Config;
use crate::dataset::Dataset;
use crate::run_folder::{FolderError, Found, RunFolder};
use crate::state::{Position, STATE, State, StateError};
use crate::step::Learner;
use continued_run::ContinuedRun;

pub(crate) use error::ResumeError;

/// What a run starts from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Nothing.
    New,
    /// A run with these settings that was killed before it saved a state: it starts again.
    Again(Map<String, Value>),
    /// The state in its folder.
    State(Box<State>),
    /// The state of the run that --resume-from names.
    Other(ContinuedRun, Box<State>),
}

/// Where training begins.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) position: Position,
    /// Changes to be logged.
    pub(crate) change: Option<Change>,
    /// What to print, but not to log.
    pub(crate) note: Option<&'static str>,
}

impl Origin {
    /// The origin of the run in a folder; `from` is the run of --resume-from.
    pub(crate) fn find(
        folder: &RunFolder,
        found: Found,
        from: Option<&Path>,
    ) -> Result<Self, TrainError> {
        let Some(from) = from else {
            return Ok(match found {
                Found::New => Self::New,
                Found::Started(settings) => Self::Again(settings),
                Found::Saved(state) => Self::State(state),
            });
        };
        let text = from.display().to_string();
        if let Found::Saved(state) = found {
            // The other run may be gone by now.
            let given = ContinuedRun::folder_of(from).canonicalize().ok();
            let same = |path: &Path| given.is_some() && given == path.canonicalize().ok();
            let continued = state.position.resume_from.as_ref().map(Path::new);
            if continued.is_some_and(|run| run == from || same(&ContinuedRun::folder_of(run))) {
                return Ok(Self::State(state));
            }
            return Err(match same(folder.path()) {
                true => ResumeError::Itself {
                    path: from.to_owned(),
                },
                false => ResumeError::OtherRun {
                    path: folder.path().to_owned(),
                    from: text,
                },
            }
            .into());
        }
        let (run, state) = ContinuedRun::open(from)?;
        // A process that was killed while it copied the run may have left a part of it.
        if !run.has_copied(&folder.log_bytes()?, &state.position)? {
            return Err(ResumeError::OtherRun {
                path: folder.path().to_owned(),
                from: text,
            }
            .into());
        }
        Ok(Self::Other(run, Box::new(state)))
    }

    fn state(&self) -> Option<&State> {
        match self {
            Self::New | Self::Again(_) => None,
            Self::State(state) | Self::Other(_, state) => Some(state),
        }
    }

    /// Whether weights are restored.
    pub(crate) fn has_weights(&self) -> bool {
        self.state().is_some()
    }

    /// Whether the run continues another one.
    pub(crate) fn is_other(&self) -> bool {
        matches!(self, Self::Other(..))
    }

    /// The settings of the run whose state is restored, which fill in those that are not given; see [`as_saved`].
    pub(crate) fn saved_settings(&self) -> Option<Map<String, Value>> {
        Some(self.state()?.position.config.clone())
    }

    /// The settings of the run so far.
    fn settings(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::New => None,
            Self::Again(settings) => Some(settings),
            Self::State(state) | Self::Other(_, state) => Some(&state.position.config),
        }
    }

    /// Whether the run is finished, and these settings leave nothing to train.
    pub(crate) fn is_finished(&self, config: &Config) -> bool {
        match self {
            Self::State(state) => {
                let position = &state.position;
                let is_complete = config.epochs <= position.begun();
                position.finished && (is_complete || position.stopped_early(config).is_some())
            }
            _ => false,
        }
    }

    /// The settings that changed, in a run with this number of ranks.
    ///
    /// # Errors
    /// If they must not.
    pub(crate) fn changes(
        &self,
        out: &Path,
        config: &Config,
        ranks: usize,
    ) -> Result<Changes, ResumeError> {
        let Some(saved) = self.settings() else {
            return Ok(Changes::default());
        };
        let changes = Changes::between(saved, &as_saved(config, saved).to_map());
        let Some(state) = self.state() else {
            let refused = changes.refused(0);
            return match refused.is_empty() {
                true => Ok(changes),
                false => Err(ResumeError::NotStarted {
                    path: out.to_owned(),
                    differences: refused.to_string(),
                }),
            };
        };
        let begun = state.position.begun();
        if let Self::State(_) = self
            && changes.has("batch-size")
            && (ranks > 1 || state.position.ranks > 1)
        {
            let saved = saved.get("batch-size").cloned().unwrap_or_default();
            return Err(ResumeError::BatchSize {
                path: out.to_owned(),
                saved: saved.to_string(),
                found: config.batch_size,
                ranks,
            });
        }
        let (path, refused) = match self {
            Self::Other(run, _) => (run.folder().to_owned(), changes.of_network()),
            _ => (out.to_owned(), changes.refused(begun)),
        };
        let paths = changes.with(Effect::Paths);
        let is_unknown = state.position.data.is_none() && !paths.is_empty();
        let refused = match is_unknown && refused.is_empty() && !self.is_other() {
            true => paths,
            false => refused,
        };
        let recorded = refused.with(Effect::Recorded);
        if self.is_finished(config) && recorded == refused && !refused.is_empty() {
            let differences = recorded.to_string();
            return Err(ResumeError::Tested { path, differences });
        }
        if !refused.is_empty() {
            let differences = refused.to_string();
            return Err(match self {
                Self::Other(run, _) => ResumeError::Network {
                    weights: run.weights(),
                    path,
                    differences,
                },
                _ => ResumeError::Settings { path, differences },
            });
        }
        if self.is_other()
            && changes.has("checkpoint")
            && let Some(checkpoint) = &config.checkpoint
        {
            let checkpoint = checkpoint.display().to_string();
            return Err(ResumeError::Checkpoint { path, checkpoint });
        }
        if config.epochs < begun {
            let epochs = config.epochs;
            return Err(ResumeError::Epochs {
                path,
                epochs,
                begun,
            });
        }
        let validated = changes.of_validation();
        if self.is_other() && !validated.is_empty() && config.epochs == state.position.epoch - 1 {
            return Err(ResumeError::NothingLeft {
                path,
                epochs: config.epochs,
                differences: validated.to_string(),
            });
        }
        let tested = changes.with(Effect::Test);
        if self.is_finished(config) && !tested.is_empty() {
            let differences = tested.to_string();
            return Err(ResumeError::Tested { path, differences });
        }
        Ok(changes)
    }

    /// Checks that the images are those of the run so far.
    pub(crate) fn check_data(
        &self,
        out: &Path,
        config: &Config,
        data: &Dataset,
    ) -> Result<(), ResumeError> {
        let Some(record) = self.state().and_then(|state| state.position.data.as_ref()) else {
            return Ok(());
        };
        let difference = record.difference(&data.record);
        // Another seed or size of the training set makes another order.
        let same_order = record.has_same_order(&data.record) || self.is_other();
        let difference = match difference {
            None if same_order => return Ok(()),
            None => "they are in another order".to_owned(),
            Some(difference) => difference,
        };
        let path = match self {
            Self::Other(run, _) => run.folder(),
            _ => out,
        };
        Err(ResumeError::Data {
            data: config.data.clone().unwrap_or_default(),
            path: path.to_owned(),
            difference,
            weights: weights_in(path),
        })
    }

    /// Restores the state into the learner and the logs in the folder, after copying them from another run.
    pub(crate) fn begin(
        self,
        folder: &mut RunFolder,
        learner: &mut Learner,
        config: &Config,
        data: &Dataset,
        changes: &Changes,
        ranks: usize,
    ) -> Result<Begin, TrainError> {
        let settings = config.to_map();
        let weights = &config.loss.of_classes.weights;
        let teacher = learner.teacher().map(|teacher| teacher.sha256().to_owned());
        let (state, run) = match self {
            Self::New | Self::Again(_) => {
                folder.rewind(0, 0)?;
                let mut position = Position::start(settings);
                position.data = Some(data.record.clone());
                position.class_weights.clone_from(weights);
                position.teacher = teacher;
                position.ranks = ranks;
                return Ok(Begin {
                    position,
                    change: None,
                    note: None,
                });
            }
            Self::State(state) => {
                same_class_weights(folder.path(), &state.position, config)?;
                same_teacher(folder.path(), &state.position, teacher.as_ref(), config)?;
                (state, None)
            }
            Self::Other(run, state) => (state, Some(run)),
        };
        let known = state.position.data.is_some();
        let other_ranks = other_ranks(state.position.ranks, ranks, config);
        let note = (!known).then_some(
            "the saved state is from an earlier version, so it is not checked whether the images are the same",
        );
        let mut position = match run {
            None => resumed(folder, learner, *state)?,
            Some(run) => {
                let (mut position, mut change) =
                    run.begin(folder, learner, config, data, changes, *state)?;
                position.ranks = ranks;
                position.class_weights.clone_from(weights);
                position.teacher = teacher;
                change.decisions.extend(other_ranks);
                return Ok(Begin {
                    position,
                    change: Some(change),
                    note,
                });
            }
        };
        position.config = settings;
        position.data = Some(data.record.clone());
        position.ranks = ranks;
        let mut decisions = changes.decisions(config, position.epoch);
        decisions.extend(other_ranks);
        let is_changed = !changes.is_empty() || !decisions.is_empty();
        let change = is_changed.then(|| Change {
            epoch: position.epoch,
            batch: position.batch,
            resume_from: None,
            settings: changes.settings().to_vec(),
            decisions,
        });
        Ok(Begin {
            position,
            change,
            note,
        })
    }
}

/// Checks that a file of class weights has not changed. That of another run may: its settings may.
fn same_class_weights(path: &Path, saved: &Position, config: &Config) -> Result<(), ResumeError> {
    let (Some(given), Some(now), Some(was)) = (
        &config.loss.class_weights,
        &config.loss.of_classes.weights,
        &saved.class_weights,
    ) else {
        return Ok(());
    };
    let changed = was.iter().zip(now.iter()).position(|(was, now)| was != now);
    match changed {
        None => Ok(()),
        Some(class) => Err(ResumeError::ClassWeights {
            weights: given.to_string(),
            path: path.to_owned(),
            class,
            was: was[class],
            now: now[class],
        }),
    }
}

/// Checks that the teacher's file has not changed.
fn same_teacher(
    path: &Path,
    saved: &Position,
    now: Option<&String>,
    config: &Config,
) -> Result<(), ResumeError> {
    match (&config.loss.teacher, &saved.teacher, now) {
        (Some(teacher), Some(was), Some(now)) if was != now => Err(ResumeError::Teacher {
            teacher: teacher.clone(),
            path: path.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Restores the saved state. A finished run is saved as unfinished again.
fn resumed(
    folder: &mut RunFolder,
    learner: &mut Learner,
    mut state: State,
) -> Result<Position, TrainError> {
    let finished = std::mem::take(&mut state.position.finished);
    if finished {
        let log = folder.log_bytes()?;
        let log = log_until(&log, state.position.log_bytes);
        let log = log.ok_or_else(|| FolderError::Shortened(folder.path().join(LOG)))?;
        state.position.log_bytes = log.len() as u64;
    }
    let position = state.position.clone();
    state.restore(learner)?;
    if finished {
        // Before the log is cut: a state that is finished needs the end of the log.
        State::save_position(folder.path(), &position)?;
    }
    folder.rewind(position.log_bytes, position.times_bytes)?;
    Ok(position)
}

/// The first bytes of a log, without the end of the run; `None` if the log has fewer bytes.
fn log_until(log: &[u8], bytes: u64) -> Option<&[u8]> {
    let log = log.get(..usize::try_from(bytes).ok()?)?;
    let last = log.split_inclusive(|&byte| byte == b'\n').next_back();
    let last = last.unwrap_or_default();
    let length = match serde_json::from_slice(last) {
        Ok(Event::End(_)) => log.len() - last.len(),
        _ => log.len(),
    };
    Some(&log[..length])
}

/// A file of weights of a run.
fn weights_in(folder: &Path) -> PathBuf {
    let best = folder.join(BESTK).with_extension("safetensors");
    match best.exists() {
        true => best,
        false => folder.join(STATE),
    }
}

/// The error of a state that does not fit the network of a continuation.
fn other_network(run: &ContinuedRun, error: StateError) -> ResumeError {
    ResumeError::Network {
        path: run.folder().to_owned(),
        differences: match error {
            StateError::Contents { reason, .. } => reason,
            StateError::File(error) => error.to_string(),
        },
        weights: run.weights(),
    }
}
