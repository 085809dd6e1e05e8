//! Events of the steps within epochs.

use std::path::Path;

use super::file::EventFile;
use super::{EventsError, scalar, step};
use crate::record::StepRecord;

/// Folder, in that of a run, of the events of steps. TensorBoard shows it as a run of its own, since its steps are
/// optimizer steps and not epochs.
const FOLDER: &str = "steps";

/// Writes the event file of a run's steps.
///
/// | tag | value |
/// | --- | --- |
/// | `step/loss` | mean loss since the last record |
/// | `step/top1`, `step/top5` | accuracy on the training images since then, in % |
/// | `step/lr` | learning rate |
#[derive(Debug)]
pub struct StepEvents {
    file: EventFile,
    k: usize,
}

impl StepEvents {
    /// Creates a file in the folder of a run; `first_step` is 1, or the next step of a resumed run. `k` is that of top-k
    /// accuracy.
    ///
    /// # Errors
    /// If the folder or the file cannot be created or written.
    pub fn create(run: &Path, first_step: usize, k: usize) -> Result<Self, EventsError> {
        Ok(Self {
            file: EventFile::create(&run.join(FOLDER), step(first_step))?,
            k,
        })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn step(&mut self, record: &StepRecord) -> Result<(), EventsError> {
        let about = "since the last record";
        let train = &record.train;
        let mut values = vec![
            scalar("step/loss", record.loss, about),
            scalar("step/top1", 100.0 * train.top1(), about),
        ];
        if self.k != 1 {
            let tag = format!("step/top{}", self.k);
            values.push(scalar(&tag, 100.0 * train.topk(), about));
        }
        values.push(scalar("step/lr", record.lr, "learning rate"));
        self.file.write(vec![(step(record.step), values)])
    }
}
