//! The optimizer steps of a run.

use rand::RngExt;
use topk_ops::Reduction;

use super::{MIN_LOSS_SCALE, TrainingLoop};
use crate::TrainError;
use crate::annealed::Annealed;
use crate::captured::StepSettings;
use crate::config::ErrorPolicy;
use crate::images::Batch;
use crate::loss::TrainingLoss;
use crate::random::{Purpose, generator, with_torch_seed};
use crate::state::Position;
use crate::step::StepError;
use crate::train::criterion;

impl TrainingLoop<'_> {
    /// Makes one optimizer step from a group of batches; returns the number of images on all ranks that it was made with,
    /// 0 if it was not made. That it was is assumed if steps do not wait for the device.
    pub(super) fn train_step(&mut self, group: &[Batch], lr: f64) -> Result<usize, TrainError> {
        let epoch = self.position.epoch;
        let count = |number: fn(&Batch) -> usize| group.iter().map(number).sum::<usize>();
        let (own, skipped) = (
            count(|batch| batch.labels.len()),
            count(|batch| batch.skipped),
        );
        let planned = match self.ranks.are_several() {
            true => self.planned_images(group.len()),
            false => own,
        };
        // Unless images are skipped, all that were planned are read.
        let counts = match self.config.on_bad_image {
            ErrorPolicy::Skip => Some(self.ranks.start_sum([own, skipped])?),
            ErrorPolicy::Fail => None,
        };
        if planned == 0 {
            self.position.skipped_images += skipped;
            return Ok(0);
        }
        if let [batch] = group
            && self.captured_step(batch, lr)?
        {
            return Ok(own);
        }
        let weights = self.class_weights(group)?;
        self.learner.zero_grad()?;
        let ranks = self.ranks.world_size() as f64;
        for (index, batch) in group.iter().enumerate() {
            let (number, last) = (self.position.batch + index, index + 1 == group.len());
            let accumulated = match batch.labels.len() {
                0 => self.learner.accumulate_nothing(last),
                images => {
                    let criterion = self.criterion(number)?;
                    let criterion = match &weights {
                        Some(weights) => criterion
                            .with_weight(weights.clone())?
                            .with_reduction(Reduction::Sum),
                        None => criterion,
                    };
                    // The gradients of all ranks are averaged.
                    let weight = images as f64 * ranks / planned as f64;
                    self.learner
                        .accumulate_gradients(batch, &criterion, weight, last)
                }
            };
            match accumulated {
                Ok(()) => {}
                Err(StepError::NotFinite(_)) if self.may_skip() => {
                    self.learner.skip_step()?;
                    self.position.skipped_steps += self.learner.take_skipped().steps;
                    self.position.skipped_images += skipped;
                    self.check_loss_scale(lr)?;
                    return Ok(0);
                }
                Err(error) => return Err(error.at(epoch, number + 1, lr)),
            }
        }
        let [images, skipped] = match counts {
            Some(counts) => counts.wait()?,
            None => [planned, skipped],
        };
        self.position.skipped_images += skipped;
        if images == 0 {
            return Ok(0);
        }
        self.learner.set_images(planned, images)?;
        let updated = self.learner.step(lr, self.step_number(), self.wait)?;
        if updated == Some(false) {
            self.skipped_step(lr)?;
            return Ok(0);
        }
        Ok(images)
    }

    /// The weights of the classes for the sum of the losses of a step, over the number of its images, to be the mean that
    /// PyTorch defines: the sum of the weighted losses over the sum of the weights of the labels. It is that of all
    /// batches of the step on all ranks, as if they were one.
    ///
    /// The targets of mixed images are probabilities, for which PyTorch divides by the number of images.
    fn class_weights(&self, group: &[Batch]) -> Result<Option<Vec<f64>>, TrainError> {
        // Sums of multiples of this do not depend on the order in which they are added.
        const UNIT: f64 = 1.0 / (1 << 24) as f64;
        let Some(weights) = &self.config.loss.of_classes.weights else {
            return Ok(None);
        };
        if self.config.mix.is_some() {
            return Ok(Some(weights.clone()));
        }
        let labels = group.iter().flat_map(|batch| &batch.labels);
        let units = labels.map(|&label| (weights[label as usize] / UNIT).round() as usize);
        let own = group.iter().map(|batch| batch.labels.len());
        let [units, images] = self.ranks.sum([units.sum(), own.sum()])?;
        let scale = match units {
            0 => 0.0,
            units => images as f64 / (units as f64 * UNIT),
        };
        Ok(Some(weights.iter().map(|weight| weight * scale).collect()))
    }

    /// Number of images of the next batches, on all ranks.
    fn planned_images(&self, batches: usize) -> usize {
        let (batching, all) = (self.config.batching(), self.data.training.per_epoch());
        let numbers = self.position.batch..self.position.batch + batches;
        numbers
            .map(|number| batching.positions(all, number).len())
            .sum()
    }

    /// Counts a step that did not change the weights, or fails if steps must not be skipped.
    fn skipped_step(&mut self, lr: f64) -> Result<(), TrainError> {
        if !self.may_skip() {
            let Position { epoch, batch, .. } = self.position;
            let of_gradient = match self.learner.non_finite_gradient() {
                Some(name) => format!("the gradient of {name} is not finite"),
                None => "the gradient is not finite".to_owned(),
            };
            let reason = self.not_finite_loss()?.unwrap_or(of_gradient);
            return Err(StepError::NotFinite(reason).at(epoch, batch + 1, lr));
        }
        self.learner.take_not_finite();
        self.position.skipped_steps += self.learner.take_skipped().steps;
        self.check_loss_scale(lr)
    }

    /// The first rank whose loss was not finite, and why, if there are several: their gradients are averaged, so that
    /// only the losses tell where it began.
    fn not_finite_loss(&mut self) -> Result<Option<String>, TrainError> {
        let own = self.learner.take_not_finite();
        let reasons = self.ranks.gather(&own)?.into_iter().enumerate();
        let mut reasons = reasons.filter_map(|(rank, reason)| Some((rank, reason?)));
        let first = reasons.next();
        Ok(first.map(|(rank, reason)| format!("on rank {rank}, {reason}")))
    }

    /// The loss of a batch of this epoch. Seeds the random numbers of the network, such as those of dropout.
    fn criterion(&self, batch: usize) -> Result<TrainingLoss, TrainError> {
        let epoch = self.position.epoch;
        let generator = generator(self.config.seed, Purpose::Batch { epoch, batch });
        // Each rank draws others.
        let seed: u64 = generator
            .random_iter()
            .nth(self.ranks.rank())
            .expect("a generator does not end");
        with_torch_seed(seed as i64, || ());
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
            error => error.at(epoch, number + 1, lr),
        })
    }

    /// Number of the next step in the run, from 1. Skipped steps count.
    pub(super) fn step_number(&self) -> usize {
        let Position { epoch, batch, .. } = self.position;
        (epoch - 1) * self.schedule.steps_per_epoch + batch / self.config.grad_accum_steps + 1
    }

    /// Whether steps that are not finite are skipped.
    fn may_skip(&self) -> bool {
        self.config.on_nan == ErrorPolicy::Skip || self.learner.scaler().is_some()
    }

    /// Counts skipped steps whose result was not waited for, or fails if steps must not be skipped.
    pub(super) fn check_skipped_steps(&mut self) -> Result<(), TrainError> {
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
        let of_gradients = format!("{count} of the last {interval} gradients were not finite");
        let reason = self.not_finite_loss()?.unwrap_or(of_gradients);
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
}
