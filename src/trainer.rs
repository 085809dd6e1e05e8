//! The training loop: epochs, batches, checkpoints and logs.

mod best;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::RngExt;
use tch::Device;
use topk_history::{
    Accuracy, Change, ChangedSetting, End, Epoch, EpochTime, Event, EventWriter, Start,
};
use topk_libtorch::empty_cache;
use topk_native::Runtime;

use crate::TrainError;
use crate::annealed::Annealed;
use crate::batching::Part;
use crate::captured::{CapturedSteps, StepSettings};
use crate::config::{Config, ErrorPolicy};
use crate::dataset::Dataset;
use crate::final_test::final_test;
use crate::images::{BadImage, Batch, Batches};
use crate::loss::TrainingLoss;
use crate::progress::Progress;
use crate::random::{Purpose, generator};
use crate::run_folder::RunFolder;
use crate::schedule::LrSchedule;
use crate::state::{Position, State};
use crate::step::{Learner, StepError};
use crate::train::{CheckpointPolicy, criterion, lr_schedule, write_page};
use crate::validate::{Validation, ValidationError, validate};

/// Scale of the loss in float16 below which training has diverged: it starts at 65536, and halves with each step whose
/// gradients are not finite.
const MIN_LOSS_SCALE: f32 = 1.0 / 16384.0;

/// A run in progress.
pub(crate) struct Trainer<'a> {
    config: &'a Config,
    data: &'a Dataset,
    schedule: LrSchedule,
    learner: Learner,
    folder: RunFolder,
    events: EventWriter,
    progress: Progress,
    position: Position,
    policy: CheckpointPolicy,
    /// Whether each step waits for the device to know whether it was skipped; otherwise this is found out every
    /// --log-interval steps and before the state is saved.
    wait: bool,
    /// Steps as CUDA graphs, if they are requested and there is a GPU.
    captured: Option<CapturedSteps>,
    /// Mean loss and accuracies of the epoch when they were last read.
    means: Option<[f64; 3]>,
    /// The batches of the next epoch, which are prepared during validation.
    upcoming: Option<Batches>,
    /// The first image of the epoch that this process could not read.
    first_bad: Option<BadImage>,
    /// When the state was last saved, and after which batch of the epoch.
    saved: Instant,
    saved_batch: usize,
}

impl<'a> Trainer<'a> {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one field, and there is one caller"
    )]
    pub(crate) fn new(
        config: &'a Config,
        data: &'a Dataset,
        learner: Learner,
        folder: RunFolder,
        events: EventWriter,
        progress: Progress,
        position: Position,
        policy: CheckpointPolicy,
    ) -> Self {
        let batches = config.batching().batches(data.training.len());
        Self {
            schedule: lr_schedule(config, batches),
            wait: learner.device() == Device::Cpu,
            captured: (config.machine.cuda_graphs && learner.device().is_cuda())
                .then(|| CapturedSteps::new(config.batch_size)),
            means: None,
            upcoming: None,
            first_bad: None,
            saved: Instant::now(),
            saved_batch: position.batch,
            config,
            data,
            learner,
            folder,
            events,
            progress,
            position,
            policy,
        }
    }

    /// Logs the start of a new run, or prints where a run is resumed, and prints and logs which settings changed.
    pub(crate) fn begin(&mut self, start: Start, change: Option<Change>) -> Result<(), TrainError> {
        if self.position.log_bytes == 0 {
            self.folder.log(&Event::Start(start), &mut self.position)?;
        } else {
            let Position { epoch, batch, .. } = self.position;
            self.progress
                .line(&format!("resuming at epoch {epoch}, batch {batch}"));
            if batch == 0 {
                self.write_missing_best()?;
            }
        }
        if let Some(change) = change {
            let changed = change.settings.iter().map(ChangedSetting::to_string);
            for line in changed.chain(change.decisions.iter().cloned()) {
                self.progress.line(&format!("  {line}"));
            }
            self.folder
                .log(&Event::Change(change), &mut self.position)?;
            self.save()?;
        }
        Ok(())
    }

    /// Trains through all remaining epochs; returns false if it was stopped.
    pub(crate) fn epochs(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        if self.position.epoch <= self.config.epochs {
            self.progress.header();
        }
        while self.position.epoch <= self.config.epochs {
            let stopped = stop.load(Ordering::Relaxed);
            if stopped || !self.train_epoch(stop)? || !self.end_epoch(stop)? {
                self.save()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Trains through the rest of an epoch; returns false if it was stopped.
    fn train_epoch(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let config = self.config;
        let epoch = self.position.epoch;
        let total = config.batching().batches(self.data.training.len());
        let mut clock = Instant::now();
        self.means = None;
        let batch = self.position.batch;
        let mut batches = match self.upcoming.take() {
            Some(batches) if batch == 0 => batches,
            _ => self
                .data
                .training
                .epoch(epoch, config.batching(), batch, Part::WHOLE),
        };
        let on_cpu = self.learner.device() == Device::Cpu;
        while self.position.batch < total {
            let first = self.position.batch;
            let count = config.grad_accum_steps.min(total - first);
            let mut group = Vec::with_capacity(count);
            let waiting = Instant::now();
            for (batch, number) in batches.by_ref().take(count).zip(first..) {
                group.push(self.received(batch?, number));
            }
            self.position.waiting_seconds += waiting.elapsed().as_secs_f64();
            let lr = self
                .schedule
                .learning_rate(epoch, first / config.grad_accum_steps);
            if self.train_step(&group, lr)? {
                self.position.images += group.iter().map(|batch| batch.labels.len()).sum::<usize>();
            }
            self.position.batch += count;
            self.position.skipped_images += group.iter().map(|batch| batch.skipped).sum::<usize>();
            self.position.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            let steps = self.position.batch.div_ceil(config.grad_accum_steps);
            let ends = self.position.batch == total;
            let check = steps.is_multiple_of(config.machine.log_interval) || ends;
            if check {
                self.check_skipped_steps()?;
            }
            self.show(on_cpu || check);
            if ends {
                self.check_epoch()?;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            self.save_if_due()?;
        }
        Ok(true)
    }

    /// A batch of training images, without the image that is left of it if the network cannot be trained on one.
    fn received(&mut self, batch: Batch, number: usize) -> Batch {
        if self.first_bad.is_none() {
            self.first_bad.clone_from(&batch.first_bad);
        }
        if batch.labels.is_empty() || self.learner.can_train_on(&batch) {
            return batch;
        }
        let layer = self.learner.single_value_norm().unwrap_or_default();
        self.progress.line(&format!(
            "epoch {}, batch {}: only one of {} images can be read; it is left out, because batch normalisation at {layer} \
             needs more",
            self.position.epoch,
            number + 1,
            batch.skipped + 1,
        ));
        Batch {
            skipped: batch.skipped + batch.labels.len(),
            first_bad: batch.first_bad,
            ..Batch::default()
        }
    }

    /// Makes one optimizer step from a group of batches; returns whether it was made, which is assumed if steps do not
    /// wait for the device.
    fn train_step(&mut self, group: &[Batch], lr: f64) -> Result<bool, TrainError> {
        let epoch = self.position.epoch;
        let images: usize = group.iter().map(|batch| batch.labels.len()).sum();
        if images == 0 {
            return Ok(false);
        }
        if let [batch] = group
            && self.captured_step(batch, lr)?
        {
            return Ok(true);
        }
        self.learner.zero_grad()?;
        for (batch, number) in group.iter().zip(self.position.batch..) {
            if batch.labels.is_empty() {
                continue;
            }
            let criterion = self.criterion(number)?;
            let weight = batch.labels.len() as f64 / images as f64;
            match self.learner.accumulate_gradients(batch, &criterion, weight) {
                Ok(()) => {}
                Err(StepError::NotFinite(_)) if self.may_skip() => {
                    self.learner.skip_step()?;
                    self.position.skipped_steps += self.learner.take_skipped().steps;
                    self.check_loss_scale(lr)?;
                    return Ok(false);
                }
                Err(error) => return Err(error.at(epoch, number + 1, lr)),
            }
        }
        let updated = self.learner.step(lr, self.step_number(), self.wait)?;
        if updated == Some(false) {
            if !self.may_skip() {
                let reason = match self.learner.non_finite_gradient() {
                    Some(name) => format!("the gradient of {name} is not finite"),
                    None => "the gradient is not finite".to_owned(),
                };
                return Err(StepError::NotFinite(reason).at(epoch, self.position.batch + 1, lr));
            }
            self.position.skipped_steps += self.learner.take_skipped().steps;
            self.check_loss_scale(lr)?;
        }
        Ok(updated != Some(false))
    }

    /// The loss of a batch of this epoch. Seeds the random numbers of the network, such as those of dropout.
    fn criterion(&self, batch: usize) -> Result<TrainingLoss, TrainError> {
        let epoch = self.position.epoch;
        let seed: u64 = generator(self.config.seed, Purpose::Batch { epoch, batch }).random();
        tch::manual_seed(seed as i64);
        Ok(criterion(self.config, epoch, seed)?)
    }

    /// Makes the step of a batch as a CUDA graph; returns whether it was made.
    fn captured_step(&mut self, batch: &Batch, lr: f64) -> Result<bool, TrainError> {
        let Some(mut steps) = self.captured.take() else {
            return Ok(false);
        };
        let Position {
            epoch,
            batch: number,
            ..
        } = self.position;
        let criterion = self.criterion(number)?;
        let loss = &self.config.loss;
        let value = |value: Option<Annealed>| {
            value.map_or(0.0, |value| value.at(epoch, self.config.epochs))
        };
        let settings = StepSettings {
            lr,
            number: self.step_number(),
            loss: [loss.used_tau(), loss.used_alpha()].map(value),
        };
        let made = self
            .learner
            .captured_step(&mut steps, batch, &criterion, settings);
        self.captured = Some(steps);
        made.map_err(|error| match error {
            StepError::Tch(error) => TrainError::Graphs(error),
            error @ StepError::NotFinite(_) => error.at(epoch, number + 1, lr),
        })
    }

    /// Number of the next step in the run, from 1. Skipped steps count.
    fn step_number(&self) -> usize {
        let Position { epoch, batch, .. } = self.position;
        (epoch - 1) * self.schedule.steps_per_epoch + batch / self.config.grad_accum_steps + 1
    }

    /// Whether steps that are not finite are skipped.
    fn may_skip(&self) -> bool {
        self.config.on_nan == ErrorPolicy::Skip || self.learner.scaler().is_some()
    }

    /// Counts skipped steps whose result was not waited for, or fails if steps must not be skipped.
    fn check_skipped_steps(&mut self) -> Result<(), TrainError> {
        if self.wait {
            return Ok(());
        }
        let skipped = self.learner.take_skipped();
        if skipped.steps == 0 {
            return Ok(());
        }
        let Position { epoch, batch, .. } = self.position;
        let last_step = batch.saturating_sub(1) / self.config.grad_accum_steps;
        let lr = self.schedule.learning_rate(epoch, last_step);
        if self.may_skip() {
            self.position.skipped_steps += skipped.steps;
            self.position.images = self.position.images.saturating_sub(skipped.images);
            return self.check_loss_scale(lr);
        }
        let (count, interval) = (skipped.steps, self.config.machine.log_interval);
        let reason = format!("{count} of the last {interval} gradients were not finite");
        Err(StepError::NotFinite(reason).at(epoch, batch, lr))
    }

    /// Fails if skipped steps have made the scale of the loss in float16 so small that its overflow is not the cause.
    fn check_loss_scale(&self, lr: f64) -> Result<(), TrainError> {
        let scaler = self.learner.scaler();
        let Some(scaler) = scaler.filter(|_| self.config.on_nan == ErrorPolicy::Fail) else {
            return Ok(());
        };
        let (scale, _) = scaler.state();
        if scale >= MIN_LOSS_SCALE {
            return Ok(());
        }
        let Position { epoch, batch, .. } = self.position;
        let reason =
            format!("gradients in float16 are not finite even with a loss scale of {scale}");
        Err(StepError::NotFinite(reason).at(epoch, batch + 1, lr))
    }

    /// Fails at the end of an epoch that trained on nothing.
    fn check_epoch(&mut self) -> Result<(), TrainError> {
        let Position {
            epoch,
            images,
            skipped_steps: steps,
            skipped_images: count,
            ..
        } = self.position;
        match (images, steps) {
            (1.., _) => Ok(()),
            (0, 1..) => Err(TrainError::AllStepsSkipped { epoch, steps }),
            (0, 0) => Err(TrainError::NoTrainingImages {
                epoch,
                count,
                first: self.first_bad.take(),
            }),
        }
    }

    /// Updates the progress bar, with loss and accuracy of now if `metrics`, which waits for the device, and otherwise as
    /// last read.
    fn show(&mut self, metrics: bool) {
        let Position {
            epoch,
            batch,
            images,
            seconds,
            ..
        } = self.position;
        if metrics {
            let sums = self.learner.running_metrics();
            self.means = Some(sums.map(|sum| sum / images.max(1) as f64));
        }
        self.progress
            .step(epoch, batch, images as f64 / seconds, self.means);
    }

    /// Validates, logs the epoch, and saves the state, and the network if it is the best so far; returns false if
    /// validation was stopped.
    fn end_epoch(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let start = Instant::now();
        let next = self.position.epoch + 1;
        if next <= self.config.epochs {
            let batching = self.config.batching();
            self.upcoming = Some(self.data.training.epoch(next, batching, 0, Part::WHOLE));
        }
        let Some(validation) = self.validate(stop)? else {
            return Ok(false);
        };
        let epoch = self.epoch_record(&validation);
        let time = EpochTime {
            epoch: epoch.epoch,
            seconds: self.position.seconds + start.elapsed().as_secs_f64(),
            images_per_second: self.position.images as f64 / self.position.seconds,
            waiting_seconds: self.position.waiting_seconds,
        };
        let best = self.note_best(epoch.val);
        self.folder
            .log(&Event::Epoch(epoch.clone()), &mut self.position)?;
        self.folder.time(&time, &mut self.position)?;
        self.events.epoch(&epoch, Some(&time))?;
        self.position.next_epoch();
        self.learner.set_running_metrics([0.0; 3]);
        self.save()?;
        self.write_best()?;
        write_page(self.folder.path())?;
        self.progress.epoch(&epoch, &time, &best);
        let first_bad = self.first_bad.take().or(validation.first_bad);
        let steps = self.schedule.steps_per_epoch;
        self.progress
            .left_out(&epoch, steps, first_bad.map(|image| image.name));
        Ok(true)
    }

    /// Ranks of the labels of the validation images; `None` if it was stopped.
    fn validate(&mut self, stop: &AtomicBool) -> Result<Option<Validation>, TrainError> {
        let epoch = self.position.epoch;
        let batch_size = self.config.validation_batch_size;
        let error = match validate(&self.learner, &self.data.validation, batch_size, stop) {
            Ok(validation) => return Ok(Some(validation)),
            Err(ValidationError::Interrupted) => return Ok(None),
            Err(ValidationError::Tch(error)) => return Err(error.into()),
            Err(ValidationError::NanScores(image)) => {
                return Err(TrainError::NanScores { epoch, image });
            }
            Err(ValidationError::Accuracy(error)) => {
                return Err(TrainError::Accuracy { epoch, error });
            }
            Err(ValidationError::BadImage(error)) => TrainError::BadImage(error),
            Err(ValidationError::AllBad(count, first)) => TrainError::NoValidationImages {
                epoch,
                count,
                first,
            },
        };
        // Once the images are repaired, the run resumes with this validation.
        self.save()?;
        Err(error)
    }

    /// The log's record of the current epoch.
    fn epoch_record(&self, validation: &Validation) -> Epoch {
        let config = self.config;
        let Position { epoch, images, .. } = self.position;
        let [loss, top1, topk] = self.learner.running_metrics();
        let annealed = |value: Option<Annealed>| {
            let value = value.filter(|value| !value.is_constant())?;
            Some(value.at(epoch, config.epochs))
        };
        let last_step = self.schedule.steps_per_epoch.saturating_sub(1);
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
            val: Accuracy::of(&validation.ranks, config.topk()),
            skipped_steps: self.position.skipped_steps,
            skipped_images: self.position.skipped_images,
            skipped_val_images: validation.skipped,
        }
    }

    /// Saves the state if it is due according to the checkpoint policy.
    fn save_if_due(&mut self) -> Result<(), TrainError> {
        let CheckpointPolicy { batches, interval } = self.policy;
        let by_count =
            batches.is_some_and(|every| self.position.batch - self.saved_batch >= every.max(1));
        // An epoch that has not trained on anything yet is repeated.
        if (by_count || self.saved.elapsed() >= interval) && self.position.images > 0 {
            self.save()?;
        }
        Ok(())
    }

    /// Saves the state, unless it is not finite.
    fn save(&mut self) -> Result<(), TrainError> {
        self.check_skipped_steps()?;
        if let Some(tensor) = self.learner.non_finite_tensor() {
            let Position { epoch, batch, .. } = self.position;
            return Err(TrainError::NotFiniteState {
                epoch,
                batch: batch + 1,
                tensor,
            });
        }
        State::save(self.folder.path(), &self.position, &self.learner)?;
        self.saved = Instant::now();
        self.saved_batch = self.position.batch;
        Ok(())
    }

    /// Removes the progress bar.
    pub(crate) fn finish_progress(&self) {
        self.progress.finish();
    }

    /// Exports and tests the best checkpoints, and ends the run; `None` if it was stopped.
    pub(crate) fn finish(
        self,
        runtime: &Runtime,
        stop: &AtomicBool,
    ) -> Result<Option<End>, TrainError> {
        let Self {
            config,
            data,
            learner,
            mut folder,
            mut events,
            mut position,
            progress,
            upcoming,
            captured,
            ..
        } = self;
        // ONNX Runtime needs the memory of the device.
        drop((captured, learner, upcoming));
        empty_cache();
        let path = folder.path().to_owned();
        let mut checkpoints = Vec::new();
        for best in &position.best {
            let tested = final_test(runtime, config, &path, best, data.test.as_ref(), stop)?;
            let Some(tested) = tested else {
                return Ok(None);
            };
            if let (Some(found), Some(set)) = (tested.test, &data.test)
                && found.images < set.len()
            {
                let (name, all) = (&tested.name, set.len());
                let count = all - found.images;
                progress.line(&format!(
                    "{name}: {count} of {all} test images left out as unreadable; {name}.json lists them"
                ));
            }
            checkpoints.push(tested);
        }
        let end = End { checkpoints };
        folder.log(&Event::End(end.clone()), &mut position)?;
        events.end(&end)?;
        write_page(&path)?;
        position.finished = true;
        State::save_position(&path, &position)?;
        Ok(Some(end))
    }
}
