//! What a run reports beside its log.

use topk_history::{Accuracy, StepRecord};

use super::TrainingLoop;
use crate::TrainError;
use crate::images::Batch;
use crate::logging::{Logged, labeled_images};
use crate::observer::TrainingEvent;
use crate::state::Position;
use crate::validation::Validation;

impl TrainingLoop<'_> {
    /// Logs the steps since those that were logged last; the metrics have been collected.
    pub(super) fn log_steps(&mut self, lr: f64) -> Result<(), TrainError> {
        let Some(log) = &mut self.steps else {
            return Ok(());
        };
        let Position {
            epoch,
            batch,
            images: total,
            ..
        } = self.position;
        let before = &self.position.logged;
        let images = total.saturating_sub(before.images);
        // All of them may have been skipped.
        if images == 0 {
            return Ok(());
        }
        let sums = self.learner.running_metrics();
        let [loss, top1, topk]: [f64; 3] = std::array::from_fn(|at| sums[at] - before.sums()[at]);
        let done = batch.div_ceil(self.config.grad_accum_steps);
        let record = StepRecord {
            step: (epoch - 1) * self.schedule.steps_per_epoch + done,
            epoch,
            batch,
            lr,
            loss: loss / images as f64,
            train: Accuracy {
                images,
                top1_correct: top1 as usize,
                topk_correct: topk as usize,
            },
        };
        self.position.logged = Logged::new(total, sums);
        log.write(&record, &mut self.position)?;
        self.followers.tell(&TrainingEvent::Steps(&record));
        Ok(())
    }

    /// Shows the first images of the first batch in TensorBoard.
    pub(super) fn log_images(&mut self, batch: &Batch) -> Result<(), TrainError> {
        let count = self.config.logging.log_images;
        let Some(output) = self.output.as_mut().filter(|_| count > 0) else {
            return Ok(());
        };
        if batch.labels.is_empty() {
            return Ok(());
        }
        let inputs = batch.inputs(self.data.shape, self.learner.device())?;
        let names = &self.data.class_names;
        let images = labeled_images(&inputs, count, &self.data.normalization, names)?;
        Ok(output.events.images(1, &images)?)
    }

    /// Shows the confusions of the best epoch so far in TensorBoard.
    pub(super) fn log_confusion(&mut self, validation: &Validation) -> Result<(), TrainError> {
        let epoch = self.position.epoch;
        if let (Some(output), Some(confusion)) = (&mut self.output, &validation.confusion) {
            let names = &self.data.class_names;
            output.events.confusion(epoch, confusion, names)?;
        }
        Ok(())
    }
}
