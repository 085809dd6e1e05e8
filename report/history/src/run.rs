//! Reading the files of a run.

use std::io;
use std::path::{Path, PathBuf};

use crate::accuracy::Accuracy;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::record::{
    BEST1, BESTK, Change, Checkpoint, End, Epoch, EpochTime, Event, LOG, Start, TIMES,
};

/// Maximum size of a log in bytes, more than 100,000 epochs need.
const MAX_BYTES: u64 = 64 << 20;

/// A run that has started.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Settings and data. The settings are those that the run was last resumed with.
    pub start: Start,
    /// Changes of the settings, in order.
    pub changes: Vec<Change>,
    /// The epochs so far, from 1 without gaps.
    pub epochs: Vec<Epoch>,
    /// Time of each of [`Run::epochs`], if known.
    pub times: Vec<Option<EpochTime>>,
    /// Results of a finished run; `None` if it is not finished.
    pub end: Option<End>,
}

/// The files of a run cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is too large.
    #[error("{} is larger than {} MiB, the maximum for the log of a run", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line cannot be parsed.
    #[error("{} line {line}: {error}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The parser's error.
        error: serde_json::Error,
    },
    /// A line contradicts itself or earlier lines.
    #[error("{} line {line}: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The contradiction.
        error: InvalidLine,
    },
    /// The log has no complete line.
    #[error("{} is empty: the run has not started, or was stopped before its first epoch", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// How a line contradicts itself or earlier lines.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidLine {
    /// The first line is not the start.
    #[error("expected the event `start` in the first line")]
    NoStart,
    /// There is a second start.
    #[error("second event `start`: is this the log of two runs?")]
    SecondStart,
    /// An epoch is missing or appears twice.
    #[error("expected epoch {expected}, found epoch {found}")]
    Epoch {
        /// The successor of the previous epoch.
        expected: usize,
        /// The epoch of the line.
        found: usize,
    },
    /// A line follows the end.
    #[error("line after the end of the run")]
    AfterEnd,
    /// The numbers of correct images are inconsistent.
    #[error(
        "{top1_correct} top-1 and {topk_correct} top-k correct of {images} images are inconsistent"
    )]
    Accuracy {
        /// Number of images.
        images: usize,
        /// Number of images with the label among the top k.
        topk_correct: usize,
        /// Number of images whose label has the highest score.
        top1_correct: usize,
    },
    /// A checkpoint belongs to an epoch that the log does not have.
    #[error("the checkpoint {name} is from epoch {epoch}, but the log has {epochs} epochs")]
    Checkpoint {
        /// Its name.
        name: String,
        /// Its epoch.
        epoch: usize,
        /// Number of epochs in the log.
        epochs: usize,
    },
}

impl Run {
    /// Reads [`LOG`] and, if it exists, [`TIMES`] from a folder.
    ///
    /// An incomplete last line is ignored: the run may be writing it. If an epoch has several times, as after
    /// resuming, the last one counts.
    ///
    /// # Errors
    /// If a file cannot be read or parsed, its lines contradict each other, or the log is empty.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        let path = folder.join(LOG);
        let mut run = Self::of_events(&path, lines(&path)?)?;
        let path = folder.join(TIMES);
        match lines::<EpochTime>(&path) {
            Ok(times) => run.set_times(times.into_iter().map(|(_, time)| time)),
            Err(RunError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(run)
    }

    fn of_events(path: &Path, events: Vec<(usize, Event)>) -> Result<Self, RunError> {
        let invalid = |line, error| RunError::Line {
            path: path.to_owned(),
            line,
            error,
        };
        let mut events = events.into_iter();
        let start = match events.next() {
            Some((_, Event::Start(start))) => start,
            Some((line, _)) => return Err(invalid(line, InvalidLine::NoStart)),
            None => {
                return Err(RunError::Empty {
                    path: path.to_owned(),
                });
            }
        };
        let mut run = Self {
            start,
            changes: Vec::new(),
            epochs: Vec::new(),
            times: Vec::new(),
            end: None,
        };
        for (line, event) in events {
            run.add(event).map_err(|error| invalid(line, error))?;
        }
        run.times = vec![None; run.epochs.len()];
        Ok(run)
    }

    fn add(&mut self, event: Event) -> Result<(), InvalidLine> {
        if self.end.is_some() {
            return Err(InvalidLine::AfterEnd);
        }
        match event {
            Event::Start(_) => return Err(InvalidLine::SecondStart),
            Event::Epoch(epoch) => {
                let expected = self.epochs.len() + 1;
                if epoch.epoch != expected {
                    let found = epoch.epoch;
                    return Err(InvalidLine::Epoch { expected, found });
                }
                [epoch.train, epoch.val].into_iter().try_for_each(check)?;
                self.epochs.push(epoch);
            }
            Event::Change(change) => {
                let config = &mut self.start.config;
                for changed in &change.settings {
                    let key = &changed.setting;
                    let _ = match changed.now.clone() {
                        Value::Null => config.remove(key),
                        now => config.insert(key.clone(), now),
                    };
                }
                self.changes.push(change);
            }
            Event::End(end) => {
                for checkpoint in &end.checkpoints {
                    if !(1..=self.epochs.len()).contains(&checkpoint.epoch) {
                        return Err(InvalidLine::Checkpoint {
                            name: checkpoint.name.clone(),
                            epoch: checkpoint.epoch,
                            epochs: self.epochs.len(),
                        });
                    }
                    check(checkpoint.val)?;
                    checkpoint.test.map_or(Ok(()), check)?;
                }
                self.end = Some(end);
            }
        }
        Ok(())
    }

    /// Ignores times of epochs without a line in the log: the run may be about to write it.
    fn set_times(&mut self, times: impl Iterator<Item = EpochTime>) {
        for time in times {
            let index = time.epoch.checked_sub(1);
            if let Some(slot) = index.and_then(|index| self.times.get_mut(index)) {
                *slot = Some(time);
            }
        }
    }

    /// The checkpoint with this name, if the run is finished.
    pub fn checkpoint(&self, name: &str) -> Option<&Checkpoint> {
        let mut checkpoints = self.end.iter().flat_map(|end| &end.checkpoints);
        checkpoints.find(|checkpoint| checkpoint.name == name)
    }

    /// The first epoch with the best top-1 validation accuracy, or that of the checkpoint [`BEST1`] if there is one.
    /// `None` without validation.
    pub fn best1(&self) -> Option<&Epoch> {
        self.best(BEST1, Accuracy::top1)
    }

    /// The first epoch with the best top-k validation accuracy, or that of the checkpoint [`BESTK`].
    pub fn bestk(&self) -> Option<&Epoch> {
        self.best(BESTK, Accuracy::topk)
    }

    fn best(&self, name: &str, part: fn(&Accuracy) -> f64) -> Option<&Epoch> {
        if let Some(checkpoint) = self.checkpoint(name) {
            return self.epochs.get(checkpoint.epoch - 1);
        }
        let validated = self.epochs.iter().filter(|epoch| epoch.val.images > 0);
        validated.reduce(|best, epoch| {
            if part(&epoch.val) > part(&best.val) {
                epoch
            } else {
                best
            }
        })
    }
}

fn check(accuracy: Accuracy) -> Result<(), InvalidLine> {
    let Accuracy {
        images,
        top1_correct,
        topk_correct,
    } = accuracy;
    if top1_correct <= topk_correct && topk_correct <= images {
        return Ok(());
    }
    Err(InvalidLine::Accuracy {
        images,
        topk_correct,
        top1_correct,
    })
}

/// The parsed lines of a file with their line numbers.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<(usize, T)>, RunError> {
    let cannot_read = |error| RunError::Read {
        path: path.to_owned(),
        error,
    };
    let bytes = topk_files::read_limited(path, MAX_BYTES).map_err(cannot_read)?;
    let bytes = bytes.ok_or_else(|| RunError::TooLarge {
        path: path.to_owned(),
    })?;
    let mut records = Vec::new();
    for (at, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(record) => records.push((at + 1, record)),
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => {
                return Err(RunError::Json {
                    path: path.to_owned(),
                    line: at + 1,
                    error,
                });
            }
        }
    }
    Ok(records)
}
