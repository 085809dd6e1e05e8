//! The training loop: epochs, batches, checkpoints and logs.

mod checkpoints;
mod epoch_end;
mod reports;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tch::Device;
use topk_history::{Change, ChangedSetting, End, Event, EventWriter, Start};
use topk_libtorch::empty_cache;
use topk_native::Runtime;

use crate::TrainError;
use crate::captured::CapturedSteps;
use crate::config::Config;
use crate::dataset::Dataset;
use crate::final_test::final_test;
use crate::images::{BadImage, Batch, BatchError, Batches};
use crate::logging::StepLog;
use crate::observer::{BatchProgress, Extent, Followers, TrainingEvent};
use crate::ranks::{Ranks, Signals};
use crate::run_folder::RunFolder;
use crate::schedule::LrSchedule;
use crate::state::{Position, State};
use crate::step::Learner;
use crate::train::{CheckpointPolicy, lr_schedule, share_steps, write_reports};

/// Scale of the loss in float16 below which training has diverged: it starts at 65536, and halves with each step whose
/// gradients are not finite.
const MIN_LOSS_SCALE: f32 = 1.0 / 16384.0;

/// What a run writes to.
pub(crate) struct Output {
    pub(crate) folder: RunFolder,
    pub(crate) events: EventWriter,
}

/// A run in progress.
pub(crate) struct TrainingLoop<'a> {
    config: &'a Config,
    data: &'a Dataset,
    schedule: LrSchedule,
    learner: Learner,
    ranks: &'a mut Ranks,
    /// `None` on ranks that write nothing.
    output: Option<Output>,
    /// The log of steps, once the run begins.
    steps: Option<StepLog>,
    followers: Followers<'a>,
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
    /// Whether the ranks have been told that it is time to save the state again.
    save_requested: bool,
    /// Repeated requests to servers of this process that have been logged.
    logged_retries: usize,
    /// Why this rank cannot continue; it takes part in steps until the other ranks know.
    failure: Option<TrainError>,
}

impl<'a> TrainingLoop<'a> {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one field, and there is one caller"
    )]
    pub(crate) fn new(
        config: &'a Config,
        data: &'a Dataset,
        learner: Learner,
        ranks: &'a mut Ranks,
        output: Option<Output>,
        followers: Followers<'a>,
        position: Position,
        policy: CheckpointPolicy,
    ) -> Self {
        let batches = config.batching().batches(data.training.per_epoch());
        Self {
            schedule: lr_schedule(config, batches, position.plateau.clone()),
            wait: learner.device() == Device::Cpu,
            captured: (config.machine.cuda_graphs && learner.device().is_cuda())
                .then(|| CapturedSteps::new(config.batch_size)),
            means: None,
            upcoming: None,
            first_bad: None,
            saved: Instant::now(),
            saved_batch: position.batch,
            save_requested: false,
            logged_retries: 0,
            failure: None,
            config,
            data,
            learner,
            ranks,
            output,
            steps: None,
            followers,
            position,
            policy,
        }
    }

    /// Logs the start of a new run, or prints where a run is resumed, and prints and logs which settings changed.
    pub(crate) fn begin(&mut self, start: Start, change: Option<Change>) -> Result<(), TrainError> {
        let begun = match self.output {
            Some(_) => self.begin_output(start, change),
            None => Ok(()),
        };
        self.ranks.together(begun)
    }

    fn begin_output(&mut self, start: Start, change: Option<Change>) -> Result<(), TrainError> {
        if let Some(output) = &self.output {
            let step = self.step_number();
            let is_copied = change
                .as_ref()
                .is_some_and(|change| change.resume_from.is_some());
            let (folder, k) = (output.folder.path(), self.config.topk());
            let steps = StepLog::open(folder, &mut self.position, step, k, is_copied)?;
            self.steps = Some(steps);
        }
        if self.position.log_bytes == 0 {
            self.log(&Event::Start(start))?;
        } else {
            let Position { epoch, batch, .. } = self.position;
            self.followers
                .line(&format!("resuming at epoch {epoch}, batch {batch}"));
            if batch == 0 {
                self.write_missing_checkpoints()?;
            }
        }
        if let Some(change) = change {
            let changed = change.settings.iter().map(ChangedSetting::to_string);
            for line in changed.chain(change.decisions.iter().cloned()) {
                self.followers.line(&format!("  {line}"));
            }
            self.log(&Event::Change(change))?;
            self.write_state()?;
        }
        Ok(())
    }

    /// Appends an event to the log.
    fn log(&mut self, event: &Event) -> Result<(), TrainError> {
        if let Some(output) = &mut self.output {
            output.folder.log(event, &mut self.position)?;
            self.followers.tell(&TrainingEvent::Logged(event));
        }
        Ok(())
    }

    /// Trains through all remaining epochs; returns false if it was stopped.
    pub(crate) fn epochs(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        if self.position.epoch <= self.config.epochs {
            self.followers.tell(&TrainingEvent::Begun(Extent {
                epochs: self.config.epochs,
                batches: self
                    .config
                    .batching()
                    .batches(self.data.training.per_epoch()),
                k: self.config.topk(),
                has_further_results: self.config.validation.has_further_results(),
            }));
        }
        while self.position.epoch <= self.config.epochs {
            if self.position.batch == 0
                && let Some(reason) = self.position.stopped_early(self.config)
            {
                self.followers.line(&format!("stopped early: {reason}"));
                break;
            }
            let stopped = self.ranks.any(stop.load(Ordering::Relaxed))?;
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
        let total = config.batching().batches(self.data.training.per_epoch());
        self.begin_layers(epoch)?;
        let mut clock = Instant::now();
        self.means = None;
        let mut batches = match self.upcoming.take() {
            Some(batches) if self.position.batch == 0 => batches,
            _ => self.batches_of(epoch, self.position.batch),
        };
        // Other ranks would have to be waited for.
        let always = self.learner.device() == Device::Cpu && !self.ranks.are_several();
        while self.position.batch < total {
            let first = self.position.batch;
            let count = config.grad_accum_steps.min(total - first);
            let waiting = Instant::now();
            let group = (first..first + count).map(|number| self.next_batch(&mut batches, number));
            let group: Vec<Batch> = group.collect::<Result<_, _>>()?;
            self.position.waiting_seconds += waiting.elapsed().as_secs_f64();
            if epoch == 1
                && first == 0
                && let Some(batch) = group.first()
            {
                let logged = self.log_images(batch);
                self.ranks.together(logged)?;
            }
            let lr = self
                .schedule
                .learning_rate(epoch, first / config.grad_accum_steps);
            self.position.images += self.train_step(&group, lr)?;
            self.position.batch += count;
            self.position.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            let steps = self.position.batch.div_ceil(config.grad_accum_steps);
            let ends = self.position.batch == total;
            let check = steps.is_multiple_of(config.machine.log_interval) || ends;
            if check {
                self.check_skipped_steps()?;
            }
            self.show(always || check)?;
            if check {
                self.log_steps(lr)?;
            }
            if ends {
                self.check_epoch()?;
            }
            let signals = self.signals(stop);
            let signals = self.ranks.exchange(signals)?;
            if signals.failed {
                self.fail_together()?;
            }
            if signals.stop {
                return Ok(false);
            }
            self.save_if_due(signals.save)?;
        }
        Ok(true)
    }

    /// Trains the layers of --freeze from the epoch of --unfreeze-epoch on.
    fn begin_layers(&mut self, epoch: usize) -> Result<(), TrainError> {
        if !self.learner.begin_epoch(epoch) {
            return Ok(());
        }
        self.followers.line(&format!(
            "epoch {epoch}: all layers are trained from here on"
        ));
        // What was recorded leaves them out.
        if let Some(captured) = &mut self.captured {
            *captured = CapturedSteps::new(self.config.batch_size);
        }
        share_steps(self.ranks, &mut self.learner, self.config)
    }

    /// This rank's part of the batches of an epoch, from the batch of index `first` on.
    fn batches_of(&self, epoch: usize, first: usize) -> Batches {
        let part = self.ranks.part(self.learner.least_images());
        let training = &self.data.training;
        training.epoch(epoch, self.config.batching(), first, part)
    }

    /// The next batch. If it cannot be loaded, the other ranks must know before this one ends.
    fn next_batch(&mut self, batches: &mut Batches, number: usize) -> Result<Batch, TrainError> {
        match batches.next() {
            Some(Ok(batch)) => Ok(self.received(batch, number)),
            Some(Err(error)) if self.ranks.are_several() => {
                self.failure = Some(BatchError::into(error));
                Ok(Batch::default())
            }
            Some(Err(error)) => Err(error.into()),
            // After an error.
            None => Ok(Batch::default()),
        }
    }

    /// What the other ranks must know after a step.
    fn signals(&mut self, stop: &AtomicBool) -> Signals {
        let is_time = self.saved.elapsed() >= self.policy.interval;
        let save = self.ranks.is_first() && is_time && !self.save_requested;
        self.save_requested |= save;
        Signals {
            stop: stop.load(Ordering::Relaxed),
            save,
            failed: self.failure.is_some(),
        }
    }

    /// Fails if any rank cannot continue.
    fn fail_together(&mut self) -> Result<(), TrainError> {
        let failure = self.failure.take();
        self.ranks.together(failure.map_or(Ok(()), Err))
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
        self.followers.line(&format!(
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

    /// Tells how far the epoch is, with loss and accuracy of now if `metrics`, which waits for the device, and otherwise as
    /// last read.
    fn show(&mut self, metrics: bool) -> Result<(), TrainError> {
        let Position {
            epoch,
            batch,
            images,
            seconds,
            ..
        } = self.position;
        if metrics {
            self.collect_metrics()?;
            let sums = self.learner.running_metrics();
            self.means = Some(sums.map(|sum| sum / images.max(1) as f64));
        }
        self.followers.tell(&TrainingEvent::Batch(BatchProgress {
            epoch,
            batch,
            images_per_second: images as f64 / seconds,
            means: self.means,
        }));
        Ok(())
    }

    /// Moves the running metrics of all ranks to rank 0.
    fn collect_metrics(&mut self) -> Result<(), TrainError> {
        if self.ranks.are_several() {
            let sums = self.learner.running_metrics();
            let sums = self.ranks.move_sums_to_first(sums)?;
            self.learner.set_running_metrics(sums);
        }
        Ok(())
    }

    /// Saves the state if it is due according to the checkpoint policy: by the number of batches, or `by_time`.
    fn save_if_due(&mut self, by_time: bool) -> Result<(), TrainError> {
        let done = self.position.batch - self.saved_batch;
        let by_count = self
            .policy
            .batches
            .is_some_and(|every| done >= every.max(1));
        if by_time {
            self.save_requested = false;
        }
        // An epoch that has not trained on anything yet is repeated.
        if (by_count || by_time) && self.position.images > 0 {
            self.save()?;
        }
        Ok(())
    }

    /// Saves the state, unless it is not finite or a rank has failed.
    fn save(&mut self) -> Result<(), TrainError> {
        self.fail_together()?;
        self.check_skipped_steps()?;
        self.collect_metrics()?;
        let written = self.write_state();
        self.ranks.together(written)
    }

    fn write_state(&mut self) -> Result<(), TrainError> {
        if let Some(output) = &self.output {
            if let Some(tensor) = self.learner.non_finite_tensor() {
                let Position { epoch, batch, .. } = self.position;
                return Err(TrainError::NotFiniteState {
                    epoch,
                    batch: batch + 1,
                    tensor,
                });
            }
            let card = self.model_card(self.position.begun(), None);
            State::save(output.folder.path(), &self.position, &self.learner, &card)?;
        }
        self.saved = Instant::now();
        self.saved_batch = self.position.batch;
        Ok(())
    }

    /// Ends what the ranks do together.
    pub(crate) fn finish_steps(&mut self) -> Result<(), TrainError> {
        self.followers.tell(&TrainingEvent::Trained);
        if self.ranks.is_first()
            && let Some(line) = topk_data::remote::transferred()
        {
            self.followers.line(&format!("data from servers: {line}"));
        }
        self.ranks.finish()
    }

    /// Exports and tests the best checkpoints, and ends the run; `None` if it was stopped, and on ranks that write
    /// nothing.
    pub(crate) fn finish(
        self,
        runtime: &Runtime,
        stop: &AtomicBool,
    ) -> Result<Option<End>, TrainError> {
        let Self {
            config,
            data,
            learner,
            output,
            mut position,
            mut followers,
            upcoming,
            captured,
            ..
        } = self;
        let Some(Output {
            mut folder,
            mut events,
        }) = output
        else {
            return Ok(None);
        };
        // ONNX Runtime needs the memory of the device.
        drop((captured, learner, upcoming));
        empty_cache();
        let path = folder.path().to_owned();
        let mut checkpoints = Vec::new();
        for (name, of) in Self::final_checkpoints(config, &position) {
            let test = data.test.as_ref();
            let tested = final_test(runtime, config, &path, &name, &of, test, stop)?;
            let Some(tested) = tested else {
                return Ok(None);
            };
            if let (Some(found), Some(set)) = (tested.test, &data.test)
                && found.images < set.len()
            {
                let (name, all) = (&tested.name, set.len());
                let count = all - found.images;
                followers.line(&format!(
                    "{name}: {count} of {all} test images left out as unreadable; {name}.json lists them"
                ));
            }
            checkpoints.push(tested);
        }
        let ended_early = position.epoch <= config.epochs;
        let stopped = position.stopped_early(config).filter(|_| ended_early);
        let end = End {
            checkpoints,
            stopped,
        };
        let event = Event::End(end.clone());
        folder.log(&event, &mut position)?;
        followers.tell(&TrainingEvent::Logged(&event));
        events.end(&end)?;
        write_reports(&path)?;
        position.finished = true;
        State::save_position(&path, &position)?;
        Ok(Some(end))
    }
}
