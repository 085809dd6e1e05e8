//! The logits of other ranks, which rank 0 adds to its own.

use std::path::PathBuf;

use topk_calibration::{LogitsError, LogitsWriter};

use super::folder::Kind;
use super::{Part, Ranks};

impl Ranks {
    /// Where this rank leaves the logits of a model for rank 0, once the run is [announced](Self::announce).
    pub(crate) fn logits(&self, model: usize) -> PathBuf {
        self.logits_of(self.watch.rank, model)
    }

    fn logits_of(&self, rank: usize, model: usize) -> PathBuf {
        let run = self.watch.lock().run.clone().unwrap_or_default();
        self.watch.folder.file(&run, rank, Kind::Logits(model))
    }

    /// Adds the logits of the images that the other ranks have evaluated to those of rank 0, which has a writer for each
    /// model, or an empty slice if logits are not kept.
    ///
    /// # Errors
    /// If a rank has left no logits of what it has evaluated, or they cannot be written.
    pub(crate) fn add_logits(
        &self,
        parts: &[Part],
        writers: &mut [LogitsWriter],
    ) -> Result<(), LogitsError> {
        for Part { rank, results } in parts {
            for (at, (writer, model)) in writers.iter_mut().zip(&results.models).enumerate() {
                let evaluated: Vec<u64> = results.evaluated(model).collect();
                let path = self.logits_of(*rank, at);
                writer.add_part(&path, &model.model.sha256, &evaluated)?;
            }
        }
        Ok(())
    }
}
