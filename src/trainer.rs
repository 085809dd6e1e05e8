//! The training loop: epochs, batches, checkpoints and logs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::RngExt;
use tch::Device;
use topk_history::{Accuracy, BEST1, BESTK, End, Epoch, EpochTime, Event, EventWriter, Start};
use topk_native::Runtime;
use topk_onnx::{CardResize, ModelCard, Training};
use topk_preprocessing::Interpolation;

use crate::TrainError;
use crate::annealed::Annealed;
use crate::config::{Config, ErrorPolicy};
use crate::dataset::Dataset;
use crate::final_test::final_test;
use crate::images::Batch;
use crate::progress::Progress;
use crate::random::{Purpose, generator};
use crate::run_folder::RunFolder;
use crate::schedule::LrSchedule;
use crate::state::{BestSoFar, Position, State};
use crate::step::{Learner, StepError};
use crate::train::{CheckpointPolicy, criterion, lr_schedule, write_page};
use crate::validate::{ValidationError, label_ranks};

/// Number of steps on a GPU after which skipped steps are looked for: reading their number waits for the device.
const CHECK_INTERVAL: usize = 50;

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
    /// When the state was last saved.
    saved: Instant,
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
        Self {
            schedule: lr_schedule(config, data.training.batches(config.batch_size)),
            config,
            data,
            learner,
            folder,
            events,
            progress,
            position,
            policy,
            saved: Instant::now(),
        }
    }

    /// Logs the start of a new run, or prints where a run is resumed.
    pub(crate) fn begin(&mut self, start: Start) -> Result<(), TrainError> {
        if self.position.log_bytes == 0 {
            self.folder.log(&Event::Start(start), &mut self.position)?;
        } else {
            let Position { epoch, batch, .. } = self.position;
            self.progress
                .line(&format!("resuming at epoch {epoch}, batch {batch}"));
        }
        Ok(())
    }

    /// Trains through all remaining epochs; returns false if it was stopped.
    pub(crate) fn epochs(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        if self.position.epoch <= self.config.epochs {
            self.progress.header();
        }
        while self.position.epoch <= self.config.epochs {
            if !self.train_epoch(stop)? {
                self.save()?;
                return Ok(false);
            }
            self.end_epoch()?;
        }
        Ok(true)
    }

    /// Trains through the rest of an epoch; returns false if it was stopped.
    fn train_epoch(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let config = self.config;
        let epoch = self.position.epoch;
        let total = self.data.training.batches(config.batch_size);
        let mut clock = Instant::now();
        let mut batches = self
            .data
            .training
            .epoch(epoch, config.batch_size, self.position.batch);
        let wait = self.learner.device() == Device::Cpu || config.on_nan == ErrorPolicy::Skip;
        while self.position.batch < total {
            let first = self.position.batch;
            let count = config.grad_accum_steps.min(total - first);
            let mut group = Vec::with_capacity(count);
            let waiting = Instant::now();
            for batch in batches.by_ref().take(count) {
                group.push(batch?);
            }
            self.position.waiting_seconds += waiting.elapsed().as_secs_f64();
            let lr = self
                .schedule
                .learning_rate(epoch, first / config.grad_accum_steps);
            self.train_step(&group, lr, wait)?;
            self.position.batch += count;
            for batch in &group {
                self.position.images += batch.labels.len();
                self.position.skipped_images += batch.skipped;
            }
            self.position.seconds += clock.elapsed().as_secs_f64();
            clock = Instant::now();
            let steps = self.position.batch.div_ceil(config.grad_accum_steps);
            if !wait && (steps.is_multiple_of(CHECK_INTERVAL) || self.position.batch == total) {
                self.check_skipped_steps(lr)?;
            }
            self.show(self.learner.device() == Device::Cpu);
            if self.position.batch < total {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                self.save_if_due()?;
            }
        }
        Ok(true)
    }

    /// Makes one optimizer step from a group of batches.
    fn train_step(&mut self, group: &[Batch], lr: f64, wait: bool) -> Result<(), TrainError> {
        let epoch = self.position.epoch;
        let images: usize = group.iter().map(|batch| batch.labels.len()).sum();
        if images == 0 {
            return Ok(());
        }
        self.learner.zero_grad()?;
        for (batch, number) in group.iter().zip(self.position.batch..) {
            if batch.labels.is_empty() {
                continue;
            }
            let purpose = Purpose::Batch {
                epoch,
                batch: number,
            };
            let seed: u64 = generator(self.config.seed, purpose).random();
            // Seeds the random numbers of the network, such as those of dropout.
            tch::manual_seed(seed as i64);
            let criterion = criterion(self.config, epoch, seed)?;
            let weight = batch.labels.len() as f64 / images as f64;
            match self.learner.accumulate_gradients(batch, &criterion, weight) {
                Ok(()) => {}
                Err(StepError::NotFinite(_)) if self.config.on_nan == ErrorPolicy::Skip => {
                    self.learner.skip_step()?;
                    self.position.skipped_steps += self.learner.take_skipped_steps();
                    return Ok(());
                }
                Err(error) => return Err(error.at(epoch, number + 1, lr)),
            }
        }
        let updated = self.learner.step(lr, wait)?;
        if updated == Some(false) {
            if self.config.on_nan == ErrorPolicy::Fail {
                let reason = match self.learner.non_finite_gradient() {
                    Some(name) => format!("the gradient of {name} is not finite"),
                    None => "the gradient is not finite".to_owned(),
                };
                return Err(StepError::NotFinite(reason).at(epoch, self.position.batch + 1, lr));
            }
            self.position.skipped_steps += self.learner.take_skipped_steps();
        }
        Ok(())
    }

    /// Fails if one of the last steps on a GPU was skipped.
    fn check_skipped_steps(&mut self, lr: f64) -> Result<(), TrainError> {
        match self.learner.take_skipped_steps() {
            0 => Ok(()),
            count => {
                let reason =
                    format!("{count} of the last {CHECK_INTERVAL} gradients were not finite");
                let Position { epoch, batch, .. } = self.position;
                Err(StepError::NotFinite(reason).at(epoch, batch, lr))
            }
        }
    }

    /// Updates the progress bar, with loss and accuracy if `metrics`: reading them waits for the device.
    fn show(&self, metrics: bool) {
        let Position {
            epoch,
            batch,
            images,
            seconds,
            ..
        } = self.position;
        let means = metrics.then(|| {
            let sums = self.learner.running_metrics();
            sums.map(|sum| sum / images.max(1) as f64)
        });
        self.progress
            .step(epoch, batch, images as f64 / seconds, means);
    }

    /// Validates, saves the network if it is the best so far, and logs the epoch.
    fn end_epoch(&mut self) -> Result<(), TrainError> {
        let start = Instant::now();
        let val = self.validate()?;
        let epoch = self.epoch_record(val);
        let time = EpochTime {
            epoch: epoch.epoch,
            seconds: self.position.seconds + start.elapsed().as_secs_f64(),
            images_per_second: self.position.images as f64 / self.position.seconds,
            waiting_seconds: self.position.waiting_seconds,
        };
        let best = self.save_best(val)?;
        self.folder
            .log(&Event::Epoch(epoch.clone()), &mut self.position)?;
        self.folder.time(&time, &mut self.position)?;
        self.events.epoch(&epoch, Some(&time))?;
        self.position.next_epoch();
        self.learner.set_running_metrics([0.0; 3]);
        self.save()?;
        write_page(self.folder.path())?;
        self.progress.epoch(&epoch, &time, &best);
        Ok(())
    }

    /// Accuracy on the validation images.
    fn validate(&self) -> Result<Accuracy, TrainError> {
        let ranks = label_ranks(
            self.learner.validated_network(),
            &self.data.validation,
            self.data.shape,
            self.config.validation_batch_size,
        );
        let ranks = ranks.map_err(|error| match error {
            ValidationError::BadImage(error) => TrainError::BadImage(error),
            ValidationError::NanScores(image) => TrainError::NanScores {
                epoch: self.position.epoch,
                image,
            },
        })?;
        Ok(Accuracy::of(&ranks, self.config.topk))
    }

    /// The log's record of the current epoch.
    fn epoch_record(&self, val: Accuracy) -> Epoch {
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
            val,
            skipped_steps: self.position.skipped_steps,
            skipped_images: self.position.skipped_images,
        }
    }

    /// Saves the network as the checkpoint of each kind of accuracy that is the best so far; returns their k.
    fn save_best(&mut self, val: Accuracy) -> Result<Vec<usize>, TrainError> {
        type Correct = fn(&Accuracy) -> usize;
        let kinds: [(&str, usize, Correct); 2] = [
            (BEST1, 1, |accuracy| accuracy.top1_correct),
            (BESTK, self.config.topk, |accuracy| accuracy.topk_correct),
        ];
        let mut improved = Vec::new();
        let mut checkpoint = None;
        for (name, k, correct) in kinds {
            let known = self.position.best.iter().position(|best| best.name == name);
            if known.is_some_and(|at| correct(&val) <= correct(&self.position.best[at].val)) {
                continue;
            }
            let path = self.folder.path().join(name).with_extension("safetensors");
            checkpoint
                .get_or_insert_with(|| {
                    self.learner
                        .validated_network()
                        .checkpoint(self.model_card(&val))
                })
                .save(&path)?;
            let best = BestSoFar {
                name: name.to_owned(),
                epoch: self.position.epoch,
                val,
            };
            match known {
                Some(at) => self.position.best[at] = best,
                None => self.position.best.push(best),
            }
            improved.push(k);
        }
        improved.dedup();
        Ok(improved)
    }

    /// Metadata of a checkpoint of the current epoch.
    fn model_card(&self, val: &Accuracy) -> ModelCard {
        let (config, data) = (self.config, self.data);
        let epoch = self.position.epoch;
        let at_epoch = |value: Option<Annealed>| value.map(|value| value.at(epoch, config.epochs));
        ModelCard {
            format: ModelCard::FORMAT,
            architecture: config.model.clone(),
            class_names: Some(data.class_names.clone()),
            input_size: data.shape,
            resize: data.test_resize.map(|shorter_side| CardResize {
                shorter_side: shorter_side as usize,
                interpolation: Interpolation::Bilinear,
            }),
            mean: data.normalization.mean,
            std: data.normalization.std,
            training: Some(Training {
                dataset: config
                    .data
                    .as_deref()
                    .map(Dataset::name)
                    .unwrap_or_default(),
                noise: config.noise,
                loss: config.loss.name.as_str().to_owned(),
                k: config.topk,
                tau: at_epoch(config.loss.used_tau()),
                alpha: at_epoch(config.loss.used_alpha()),
                seed: config.seed.into(),
                epoch,
                val_top1: val.top1(),
                val_topk: val.topk(),
            }),
        }
    }

    /// Saves the state if it is due according to the checkpoint policy.
    fn save_if_due(&mut self) -> Result<(), TrainError> {
        let CheckpointPolicy { batches, interval } = self.policy;
        let by_count =
            batches.is_some_and(|every| self.position.batch.is_multiple_of(every.max(1)));
        if by_count || self.saved.elapsed() >= interval {
            self.save()?;
        }
        Ok(())
    }

    /// Saves the state.
    fn save(&mut self) -> Result<(), TrainError> {
        State::save(self.folder.path(), &self.position, &self.learner)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Removes the progress bar.
    pub(crate) fn finish_progress(&self) {
        self.progress.finish();
    }

    /// Exports and tests the best checkpoints, and ends the run.
    pub(crate) fn finish(mut self, runtime: &Runtime) -> Result<End, TrainError> {
        let folder = self.folder.path().to_owned();
        let best = self.position.best.iter();
        let checkpoints = best
            .map(|best| final_test(runtime, self.config, &folder, best, self.data.test.as_ref()))
            .collect::<Result<_, _>>()?;
        let end = End { checkpoints };
        self.folder
            .log(&Event::End(end.clone()), &mut self.position)?;
        self.events.end(&end)?;
        write_page(&folder)?;
        self.position.finished = true;
        self.save()?;
        Ok(end)
    }
}
