//! The run that `--resume-from` continues in another folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use topk_history::{Change, Event, LOG, TIMES};
use topk_models::Checkpoint;

use super::{ResumeError, log_until, other_network, weights_in};
use crate::TrainError;
use crate::changes::Changes;
use crate::config::Config;
use crate::dataset::Dataset;
use crate::logging::StepLog;
use crate::run_folder::{FolderError, RunFolder};
use crate::state::{Position, STATE, State};
use crate::step::Learner;
use crate::validation::Watch;

/// A run that is only read. A shared lock keeps it from being trained meanwhile.
#[derive(Debug)]
pub(crate) struct ContinuedRun {
    /// As given.
    given: PathBuf,
    folder: PathBuf,
    _lock: File,
}

impl ContinuedRun {
    /// The folder of a run that is given by it or by its state.
    pub(crate) fn folder_of(given: &Path) -> PathBuf {
        match given.parent() {
            Some(folder) if given.is_file() => folder.to_owned(),
            _ => given.to_owned(),
        }
    }

    /// Opens a run, given by its folder or its state.
    pub(crate) fn open(given: &Path) -> Result<(Self, State), TrainError> {
        let folder = Self::folder_of(given);
        let no_run = || ResumeError::NoRun {
            path: given.to_owned(),
        };
        let is_other_file = given.is_file() && given.file_name() != Some(STATE.as_ref());
        if is_other_file || !folder.join(STATE).is_file() {
            return Err(no_run().into());
        }
        let path = folder.join(LOG);
        let log = match File::open(&path) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_run().into()),
            Err(error) => return Err(FolderError::io(&path)(error).into()),
        };
        match log.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ResumeError::Busy {
                    path: given.to_owned(),
                }
                .into());
            }
            Err(TryLockError::Error(error)) => return Err(FolderError::io(&path)(error).into()),
        }
        let state = State::read(&folder)?.ok_or_else(no_run)?;
        let run = Self {
            given: given.to_owned(),
            folder,
            _lock: log,
        };
        Ok((run, state))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of its weights.
    pub(crate) fn weights(&self) -> PathBuf {
        weights_in(&self.folder)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, FolderError> {
        let path = self.folder.join(name);
        fs::read(&path).map_err(FolderError::io(&path))
    }

    /// The log at the saved state, without the end of the run.
    fn log(&self, position: &Position) -> Result<Vec<u8>, FolderError> {
        let log = self.read(LOG)?;
        let until = log_until(&log, position.log_bytes).map(<[u8]>::to_vec);
        until.ok_or_else(|| FolderError::Shortened(self.folder.join(LOG)))
    }

    /// Whether a log is a copy of this run's that was interrupted before its first state was saved.
    pub(crate) fn has_copied(&self, copy: &[u8], position: &Position) -> Result<bool, FolderError> {
        let log = self.log(position)?;
        let Some(rest) = copy.strip_prefix(&log[..]) else {
            return Ok(log.starts_with(copy));
        };
        let mut lines = rest.split_inclusive(|&byte| byte == b'\n');
        Ok(lines.all(|line| {
            let event = serde_json::from_slice(line);
            !line.ends_with(b"\n") || matches!(event, Ok(Event::Change(_)))
        }))
    }

    /// Copies everything that belongs to the saved state into a folder, and restores the learner.
    pub(crate) fn begin(
        &self,
        to: &mut RunFolder,
        learner: &mut Learner,
        config: &Config,
        data: &Dataset,
        changes: &Changes,
        mut state: State,
    ) -> Result<(Position, Change), TrainError> {
        let mut decisions = changes.decisions(config, state.position.epoch);
        let has_ema = state.has_ema();
        match (has_ema, learner.ema().is_some()) {
            (false, true) => {
                state.add_ema();
                decisions.push("the average of the weights starts at those of the run".to_owned());
            }
            (true, false) => {
                decisions.push("the average of the weights of the run is left out".to_owned());
            }
            (true, true) | (false, false) => {}
        }
        if changes.has("opt") {
            state.forget_optimizer();
            decisions.push(format!(
                "the state of the optimizer of the run is left out, because --opt changes; {} starts without",
                config.optimizer.name.as_str()
            ));
        }
        let mut position = state.position.clone();
        if position.plateau.is_some() && !changes.of_schedule().is_empty() {
            position.plateau = None;
            decisions.push(format!(
                "the plateaus of the run are left out, because the learning rate changes ({})",
                changes.of_schedule()
            ));
        }
        state
            .restore(learner)
            .map_err(|error| other_network(self, error))?;
        let log = self.log(&position)?;
        let (epoch, batch) = (position.epoch, position.batch);
        let same_order = match &position.data {
            Some(record) => record.has_same_order(&data.record),
            None => true,
        };
        let batches = changes.of_batches();
        if batch > 0 && (!batches.is_empty() || !same_order) {
            position.restart_epoch();
            learner.set_running_metrics([0.0; 3]);
            decisions.push(format!(
                "epoch {epoch} starts again from its first batch, with the weights after batch {batch}, because \
                 its batches have changed"
            ));
        }
        let validated = changes.of_validation();
        if !validated.is_empty() {
            position.best.clear();
            position.watch = Watch::default();
            decisions.push(format!(
                "the best checkpoints of the run are left out, because what is validated changes ({validated})"
            ));
        }
        for best in &mut position.best {
            self.copy_best(&best.name, best.of.epoch, to.path())?;
            best.copied = true;
        }
        // The weights of the last epoch may not be those of the state, and checkpoints of epochs stay where they are.
        position.last = None;
        position.kept.clear();
        position.dropped.clear();
        StepLog::copy(&self.folder, to.path(), &position)?;
        let times = match self.folder.join(TIMES).exists() {
            true => self.read(TIMES)?,
            false => Vec::new(),
        };
        let length = (position.times_bytes as usize).min(times.len());
        to.replace_logs(&log, &times[..length])?;
        let given = self.given.display().to_string();
        position.finished = false;
        position.log_bytes = log.len() as u64;
        position.times_bytes = length as u64;
        position.config = config.to_map();
        position.data = Some(data.record.clone());
        position.resume_from = Some(given.clone());
        let change = Change {
            epoch,
            batch,
            resume_from: Some(given),
            settings: changes.settings().to_vec(),
            decisions,
        };
        Ok((position, change))
    }

    /// Copies the weights of a best epoch.
    fn copy_best(&self, name: &str, epoch: usize, to: &Path) -> Result<(), TrainError> {
        let file = Path::new(name).with_extension("safetensors");
        let from = self.folder.join(&file);
        let checkpoint = Checkpoint::load(&from)?;
        let training = checkpoint.card().training.as_ref();
        if training.is_none_or(|training| training.epoch != epoch) {
            return Err(ResumeError::Ahead {
                file: from,
                path: self.folder.clone(),
            }
            .into());
        }
        Ok(checkpoint.save(&to.join(&file))?)
    }
}
