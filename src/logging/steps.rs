use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use topk_history::{STEPS, StepEvents, StepRecord};

use crate::TrainError;
use crate::run_folder::FolderError;
use crate::state::Position;

/// What the records of an epoch's steps have covered so far.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Logged {
    /// Number of images.
    pub(crate) images: usize,
    /// The bits of the running metrics.
    sums: [u64; 3],
}

impl Logged {
    pub(crate) fn new(images: usize, sums: [f64; 3]) -> Self {
        Self {
            images,
            sums: sums.map(f64::to_bits),
        }
    }

    pub(crate) fn sums(&self) -> [f64; 3] {
        self.sums.map(f64::from_bits)
    }
}

/// The log of steps, and the same for TensorBoard.
///
/// A disk that loses its end loses nothing that a run needs, so it is not flushed.
#[derive(Debug)]
pub(crate) struct StepLog {
    path: PathBuf,
    file: File,
    events: StepEvents,
}

impl StepLog {
    /// Opens the log in the folder of a run, and cuts it at the position. `step` is the next one; `k` is that of top-k
    /// accuracy. If the log was copied from another run, TensorBoard's file gets all of it.
    pub(crate) fn open(
        folder: &Path,
        position: &mut Position,
        step: usize,
        k: usize,
        is_copied: bool,
    ) -> Result<Self, TrainError> {
        let path = folder.join(STEPS);
        let fail = |error| FolderError::io(&path)(error);
        let options = || {
            let mut options = File::options();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .clone()
        };
        let mut file = options().open(&path).map_err(fail)?;
        let mut cut = || -> io::Result<u64> {
            let bytes = position.steps_bytes.min(file.metadata()?.len());
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))
        };
        position.steps_bytes = cut().map_err(fail)?;
        let first = if is_copied { 1 } else { step };
        let mut events = StepEvents::create(folder, first, k)?;
        if is_copied {
            let lines = BufReader::new(File::open(&path).map_err(fail)?).lines();
            for line in lines {
                // A line that a disk has lost a part of is left out.
                if let Ok(record) = serde_json::from_str(&line.map_err(fail)?) {
                    events.step(&record)?;
                }
            }
        }
        Ok(Self { path, file, events })
    }

    /// Copies the log of another run up to a position.
    pub(crate) fn copy(from: &Path, to: &Path, position: &Position) -> Result<(), FolderError> {
        let (source, target) = (from.join(STEPS), to.join(STEPS));
        if position.steps_bytes == 0 || !source.exists() {
            return Ok(());
        }
        let bytes = fs::read(&source).map_err(FolderError::io(&source))?;
        let length = (position.steps_bytes as usize).min(bytes.len());
        fs::write(&target, &bytes[..length]).map_err(FolderError::io(&target))
    }

    /// Appends a record, and adds its length to the position.
    pub(crate) fn write(
        &mut self,
        record: &StepRecord,
        position: &mut Position,
    ) -> Result<(), TrainError> {
        let line = record.to_line();
        let written = self.file.write_all(line.as_bytes());
        written.map_err(FolderError::io(&self.path))?;
        position.steps_bytes += line.len() as u64;
        Ok(self.events.step(record)?)
    }
}
