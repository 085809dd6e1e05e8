//! A run as its files tell it.

use std::io;
use std::path::{Path, PathBuf};

use crate::accuracy::Accuracy;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::record::{BEST1, BESTK, Checkpoint, End, Epoch, EpochTime, Event, LOG, Start, TIMES};

/// The largest file that is read: 100,000 epochs have less.
const MAX_BYTES: u64 = 64 << 20;

/// A run that has begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What is trained, and how.
    pub start: Start,
    /// The epochs so far, from 1 without gaps.
    pub epochs: Vec<Epoch>,
    /// How long each of [`Run::epochs`] took, where that is known.
    pub times: Vec<Option<EpochTime>>,
    /// What is left when the run has ended; `None` if it has not.
    pub end: Option<End>,
}

/// Why the files of a run cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is too large.
    #[error("{} has more than the {} MiB that the log of a run may have", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line is not one of the format.
    #[error("{} line {line}: {error}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What was found instead.
        error: serde_json::Error,
    },
    /// A line contradicts those before it, or itself.
    #[error("{} line {line}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The contradiction.
        fault: LineFault,
    },
    /// The log has no whole line.
    #[error("{} has no line yet: the run has not begun, or ended before it did", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// How a line contradicts those before it, or itself.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineFault {
    /// The first line is not that of the start.
    #[error("the first line must have the event `start`")]
    NoStart,
    /// There is a second start.
    #[error("the event `start` comes a second time: is this the log of two runs?")]
    SecondStart,
    /// An epoch is missing, or there twice.
    #[error("epoch {found} stands where epoch {expected} belongs")]
    Epoch {
        /// The epoch that follows the one before.
        expected: usize,
        /// The epoch of the line.
        found: usize,
    },
    /// Something follows the end.
    #[error("the run has ended before this line")]
    AfterEnd,
    /// More images are right than there are, or than have the right class among the k best.
    #[error(
        "of {images} images {topk_correct} are right for top-k and {top1_correct} for top-1, which cannot be"
    )]
    Accuracy {
        /// Images judged.
        images: usize,
        /// Right for top-k.
        topk_correct: usize,
        /// Right for top-1.
        top1_correct: usize,
    },
    /// A checkpoint is of an epoch that was not.
    #[error("the checkpoint {name} is of epoch {epoch}, but there are {epochs}")]
    Checkpoint {
        /// Its name.
        name: String,
        /// Its epoch.
        epoch: usize,
        /// Epochs of the run.
        epochs: usize,
    },
}

impl Run {
    /// Reads [`LOG`] and, if it is there, [`TIMES`] of a folder.
    ///
    /// A last line without its end is left out if it is not whole: the run may be writing it. Where an epoch has
    /// several times, as after resuming, the last counts.
    ///
    /// # Errors
    /// If a file cannot be read, has a line that is not of the format, or contradicts itself; or if the log has
    /// no line yet.
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
        let fault = |line, fault| RunError::Line {
            path: path.to_owned(),
            line,
            fault,
        };
        let mut events = events.into_iter();
        let start = match events.next() {
            Some((_, Event::Start(start))) => start,
            Some((line, _)) => return Err(fault(line, LineFault::NoStart)),
            None => {
                return Err(RunError::Empty {
                    path: path.to_owned(),
                });
            }
        };
        let mut run = Self {
            start,
            epochs: Vec::new(),
            times: Vec::new(),
            end: None,
        };
        for (line, event) in events {
            run.add(event).map_err(|found| fault(line, found))?;
        }
        run.times = vec![None; run.epochs.len()];
        Ok(run)
    }

    fn add(&mut self, event: Event) -> Result<(), LineFault> {
        if self.end.is_some() {
            return Err(LineFault::AfterEnd);
        }
        match event {
            Event::Start(_) => return Err(LineFault::SecondStart),
            Event::Epoch(epoch) => {
                let expected = self.epochs.len() + 1;
                if epoch.epoch != expected {
                    let found = epoch.epoch;
                    return Err(LineFault::Epoch { expected, found });
                }
                [epoch.train, epoch.val].into_iter().try_for_each(check)?;
                self.epochs.push(epoch);
            }
            Event::End(end) => {
                for checkpoint in &end.checkpoints {
                    if !(1..=self.epochs.len()).contains(&checkpoint.epoch) {
                        return Err(LineFault::Checkpoint {
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

    /// Times of epochs that have no line in the log are those of a run that writes it next.
    fn set_times(&mut self, times: impl Iterator<Item = EpochTime>) {
        for time in times {
            let place = time.epoch.checked_sub(1);
            if let Some(slot) = place.and_then(|place| self.times.get_mut(place)) {
                *slot = Some(time);
            }
        }
    }

    /// The checkpoint of a name, once the run has ended.
    pub fn checkpoint(&self, name: &str) -> Option<&Checkpoint> {
        let mut checkpoints = self.end.iter().flat_map(|end| &end.checkpoints);
        checkpoints.find(|checkpoint| checkpoint.name == name)
    }

    /// The epoch with the best top-1 validation accuracy, the first of several: that of the checkpoint [`BEST1`]
    /// if there is one. `None` without validation.
    pub fn best1(&self) -> Option<&Epoch> {
        self.best(BEST1, Accuracy::top1)
    }

    /// The same for top-k.
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

fn check(accuracy: Accuracy) -> Result<(), LineFault> {
    let Accuracy {
        images,
        top1_correct,
        topk_correct,
    } = accuracy;
    if top1_correct <= topk_correct && topk_correct <= images {
        return Ok(());
    }
    Err(LineFault::Accuracy {
        images,
        topk_correct,
        top1_correct,
    })
}

/// The lines of a file with their numbers.
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
