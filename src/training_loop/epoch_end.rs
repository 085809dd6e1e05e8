//! What happens after the last step of an epoch.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use topk_data::remote::retries;
use topk_history::{Accuracy, Epoch, EpochTime, Event};

use super::{Output, TrainingLoop};
use crate::TrainError;
use crate::annealed::Annealed;
use crate::observer::TrainingEvent;
use crate::state::Position;
use crate::train::write_reports;
use crate::validation::{Metric, Validation, ValidationError, validate};

impl TrainingLoop<'_> {
    /// Validates if it is due, logs the epoch, and saves the state, and the network if its checkpoint is kept; returns
    /// false if validation was stopped.
    pub(super) fn end_epoch(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let start = Instant::now();
        self.fail_together()?;
        let next = self.position.epoch + 1;
        if next <= self.config.epochs {
            self.upcoming = Some(self.batches_of(next, 0));
        }
        let validation = match self.config.validates(self.position.epoch) {
            true => match self.validate(stop)? {
                Some(validation) => Some(validation),
                None => return Ok(false),
            },
            false => None,
        };
        let epoch = self.epoch_record(validation.as_ref());
        let retries = retries();
        let new_retries = retries - self.logged_retries;
        self.logged_retries = retries;
        let [new_retries] = self.ranks.sum([new_retries])?;
        let time = EpochTime {
            epoch: epoch.epoch,
            seconds: self.position.seconds + start.elapsed().as_secs_f64(),
            images_per_second: self.position.images as f64 / self.position.seconds,
            waiting_seconds: self.position.waiting_seconds,
            retries: new_retries,
        };
        let best = match &validation {
            Some(validation) => {
                let metric = self.config.eval_metric();
                let value = metric.finite(validation.tally.value(metric));
                let lower_is_better = metric == Metric::Loss;
                self.schedule
                    .epoch_ended(epoch.epoch, value, lower_is_better);
                self.position.plateau = self.schedule.plateau().cloned();
                self.note_validation(&validation.tally)
            }
            None => Vec::new(),
        };
        let mut logged = self.log_epoch(&epoch, &time);
        if let Some(validation) = &validation
            && best.contains(&self.config.eval_metric())
        {
            logged = logged.and_then(|()| self.log_confusion(validation));
        }
        self.ranks.together(logged)?;
        self.position.next_epoch();
        self.learner.set_running_metrics([0.0; 3]);
        self.save()?;
        let written = self.write_results();
        self.ranks.together(written)?;
        self.followers.tell(&TrainingEvent::Epoch {
            epoch: &epoch,
            time: &time,
            best: &best,
        });
        let first_bad = validation.and_then(|validation| validation.first_bad);
        let first_bad = self.first_bad.take().or(first_bad);
        let steps = self.schedule.steps_per_epoch;
        if let Some(line) = left_out(&epoch, steps, first_bad.map(|image| image.name)) {
            self.followers.line(&line);
        }
        Ok(true)
    }

    fn log_epoch(&mut self, epoch: &Epoch, time: &EpochTime) -> Result<(), TrainError> {
        self.log(&Event::Epoch(epoch.clone()))?;
        if let Some(Output { folder, events }) = &mut self.output {
            folder.time(time, &mut self.position)?;
            self.followers.tell(&TrainingEvent::Time(time));
            events.epoch(epoch, Some(time))?;
        }
        Ok(())
    }

    /// Writes the checkpoints, and what is made from the log.
    fn write_results(&self) -> Result<(), TrainError> {
        self.write_checkpoints()?;
        match &self.output {
            Some(output) => write_reports(output.folder.path()),
            None => Ok(()),
        }
    }

    /// Validates the network on the images of all ranks; `None` if it was stopped.
    fn validate(&mut self, stop: &AtomicBool) -> Result<Option<Validation>, TrainError> {
        let epoch = self.position.epoch;
        // Those of other ranks are statistics of other images.
        self.ranks.broadcast(&self.learner.buffers())?;
        let found = validate(
            &self.learner,
            &self.data.validation,
            self.config,
            epoch,
            self.ranks,
            stop,
        );
        let found = match found {
            Ok(found) => Ok(Some(found)),
            Err(ValidationError::Interrupted) => Ok(None),
            Err(ValidationError::Ranks(error)) => return Err(*error),
            Err(ValidationError::Tch(error)) => Err(error.into()),
            Err(ValidationError::NanScores(image)) => Err(TrainError::NanScores { epoch, image }),
            Err(ValidationError::Accuracy(error)) => Err(TrainError::Accuracy { epoch, error }),
            Err(ValidationError::BadImage(error)) => Err(TrainError::BadImage(error)),
        };
        let is_repairable = matches!(found, Err(TrainError::BadImage(_)));
        if self.ranks.any(is_repairable)? {
            // Once the images are repaired, the run resumes with this validation.
            self.save()?;
        }
        let Some(own) = self.ranks.together(found)? else {
            return Ok(None);
        };
        let all = own.of_all(self.ranks)?;
        if all.tally.accuracy().images == 0 {
            self.save()?;
            return Err(TrainError::NoValidationImages {
                epoch,
                count: all.skipped,
                first: all.first_bad,
            });
        }
        Ok(Some(all))
    }

    /// The log's record of the current epoch.
    fn epoch_record(&self, validation: Option<&Validation>) -> Epoch {
        let config = self.config;
        let Position { epoch, images, .. } = self.position;
        let [loss, top1, topk] = self.learner.running_metrics();
        let annealed = |value: Option<Annealed>| {
            let value = value.filter(|value| !value.is_constant())?;
            Some(value.at(epoch, config.epochs))
        };
        let last_step = self.schedule.steps_per_epoch.saturating_sub(1);
        let tally = validation.map(|validation| &validation.tally);
        let raw = validation.and_then(|validation| validation.raw.as_ref());
        Epoch {
            epoch,
            lr: self.schedule.learning_rate(epoch, last_step),
            tau: annealed(config.loss.used_tau()),
            alpha: annealed(config.loss.used_alpha()),
            loss: loss / images as f64,
            train: Accuracy {
                images,
                top1_correct: top1 as usize,
                topk_correct: topk as usize,
            },
            val: tally.map_or(Accuracy::of(&[], 1), |tally| tally.accuracy()),
            val_loss: tally.and_then(|tally| tally.mean_loss()),
            val_correct: tally.map_or_else(Vec::new, |tally| tally.correct()),
            raw: raw.map(|raw| raw.raw()),
            skipped_steps: self.position.skipped_steps,
            skipped_images: self.position.skipped_images,
            skipped_val_images: validation.map_or(0, |validation| validation.skipped),
        }
    }
}

/// A line about what was left out of an epoch with this many steps, if anything; one image is named.
fn left_out(epoch: &Epoch, steps: usize, image: Option<String>) -> Option<String> {
    let Epoch {
        skipped_steps,
        skipped_images,
        skipped_val_images,
        ..
    } = *epoch;
    let mut parts = Vec::new();
    if skipped_steps > 0 {
        parts.push(format!(
            "{skipped_steps} of {steps} steps skipped because the loss or a gradient was not finite"
        ));
    }
    let counts = [
        (skipped_images, "training"),
        (skipped_val_images, "validation"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|&(count, _)| count > 0)
        .map(|(count, kind)| format!("{count} {kind} image{}", if count == 1 { "" } else { "s" }))
        .collect();
    if !counts.is_empty() {
        let example = image.map_or_else(String::new, |name| format!(", such as {name}"));
        parts.push(format!(
            "{} left out as unreadable{example}",
            counts.join(" and ")
        ));
    }
    (!parts.is_empty()).then(|| format!("  {}", parts.join("; ")))
}
