//! One step of training: forward and backward pass, optimizer, EMA, and skipping of steps that are not finite.

mod freezing;
mod gradients;
mod outcome;
mod reduction;
mod sync_bn;
mod targets;

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor, no_grad};
use topk_libtorch::{LossScaler, Optimizer, autocast, channels_last};
use topk_models_tch::{LoadError, Mode, Network};
use topk_weights::Tensor as Weight;

use crate::TrainError;
use crate::config::{Config, ErrorPolicy};
use crate::delivery::Inputs;
use crate::ema::Ema;
use crate::images::Batch;
use crate::loss::TrainingLoss;
use crate::optimizer::{ClipMode, Parameters};
use crate::ranks::exact;
use crate::statistics::Statistics;
use crate::teacher::Teacher;
use reduction::Reduction;
use targets::ThresholdedBce;

pub(crate) use outcome::{Skipped, StepError};

/// A network in training with its optimizer, EMA and running metrics.
#[derive(Debug)]
pub(crate) struct Learner {
    network: Network,
    ema: Option<Ema>,
    optimizer: Optimizer,
    /// Names of the optimizer's parameters, in its order.
    names: Vec<String>,
    /// Indices of the parameters that --freeze names, and of those that are not of the classifier.
    frozen: Vec<usize>,
    backbone: Vec<usize>,
    /// The scale of the loss in float16.
    scaler: Option<LossScaler>,
    /// What a step changes besides parameters, if steps may be skipped.
    statistics: Option<Statistics>,
    /// Sums over the images of the epoch: loss, correct at 1, correct at k. They stay on the device because
    /// reading them at every step would wait for it.
    running_metrics: Tensor,
    /// Number of skipped steps since it was last read, and of the images that they were made with, on the device.
    skipped: Tensor,
    /// Number of images whose gradients have been accumulated for the next step.
    images: usize,
    /// Whose scores are imitated.
    teacher: Option<Teacher>,
    /// What takes part in the steps of other ranks, if there are any.
    reduction: Option<Reduction>,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    shape: [usize; 3],
    k: usize,
    /// In place of the loss, if it is requested.
    bce: Option<ThresholdedBce>,
    clip_grad: Option<(ClipMode, f64)>,
    /// Epoch from which no layer is frozen.
    unfreeze_epoch: Option<usize>,
    /// Type of mixed precision.
    amp: Option<Kind>,
    channels_last: bool,
}

impl Learner {
    pub(crate) fn new(
        config: &Config,
        network: Network,
        shape: [usize; 3],
    ) -> Result<Self, TrainError> {
        let channels_last = config.machine.channels_last == Some(true);
        if channels_last {
            lay_out_channels_last(&network)?;
        }
        let device = network.variables().device();
        let ema = config.model_ema_decay.map(|decay| {
            let warmup = config.model_ema_warmup.unwrap_or(true);
            Ema::new(&network, decay, warmup)
        });
        if let Some(ema) = &ema
            && channels_last
        {
            lay_out_channels_last(ema.network())?;
        }
        let tensors = network.tensors().iter();
        let (trainable, fixed): (Vec<_>, Vec<_>) =
            tensors.partition(|(_, tensor)| tensor.requires_grad());
        let clones = |(_, tensor): &(&String, &Tensor)| tensor.shallow_clone();
        let optimizer = &config.optimizer;
        let Parameters {
            options,
            frozen,
            backbone,
        } = Parameters::new(
            optimizer,
            config.peak_lr(),
            network.architecture(),
            trainable.iter().copied(),
        )?;
        let parameters = trainable.iter().map(clones).collect();
        let running_metrics = Tensor::zeros([3], (Kind::Double, device));
        let amp = config.machine.amp_kind();
        // The scale of the loss is found by trying, so that some steps are skipped.
        let scaler = (amp == Some(Kind::Half)).then(|| LossScaler::new(device));
        let may_skip = config.on_nan == ErrorPolicy::Skip || scaler.is_some();
        let statistics = may_skip.then(|| {
            let buffers: Vec<Tensor> = fixed.iter().map(clones).collect();
            Statistics::new(&buffers, running_metrics.shallow_clone())
        });
        let mut learner = Self {
            ema,
            optimizer: Optimizer::with_options(parameters, optimizer.algorithm(), &options),
            frozen,
            backbone,
            names: trainable.iter().map(|(name, _)| (*name).clone()).collect(),
            scaler,
            statistics: statistics.transpose()?,
            running_metrics,
            skipped: Tensor::zeros([2], (Kind::Double, device)),
            images: 0,
            teacher: None,
            reduction: None,
            network,
            settings: Settings {
                shape,
                k: config.topk(),
                bce: config
                    .loss
                    .used_bce_target_thresh()
                    .map(|threshold| ThresholdedBce {
                        threshold,
                        label_smoothing: config.loss.label_smoothing,
                        is_sum: config.loss.bce_sum,
                    }),
                clip_grad: optimizer
                    .clip_grad
                    .map(|limit| (optimizer.clip_mode, limit)),
                unfreeze_epoch: optimizer.unfreeze_epoch,
                amp,
                channels_last,
            },
        };
        learner.begin_epoch(1);
        Ok(learner)
    }

    /// Loads weights and, if an EMA is kept, its weights.
    pub(crate) fn load(
        &mut self,
        weights: &BTreeMap<String, Weight>,
        ema: &BTreeMap<String, Weight>,
    ) -> Result<(), LoadError> {
        self.network.load(weights)?;
        match &mut self.ema {
            Some(average) => average.network_mut().load(ema),
            None => Ok(()),
        }
    }

    /// Adds a teacher, whose scores the network imitates from now on.
    pub(crate) fn set_teacher(&mut self, teacher: Teacher) {
        self.teacher = Some(teacher);
    }

    pub(crate) fn teacher(&self) -> Option<&Teacher> {
        self.teacher.as_ref()
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The network that is validated and saved as a checkpoint: the EMA if there is one.
    pub(crate) fn validated_network(&self) -> &Network {
        self.ema().unwrap_or(&self.network)
    }

    /// The network with the averaged weights, if an EMA is kept.
    pub(crate) fn ema(&self) -> Option<&Network> {
        self.ema.as_ref().map(Ema::network)
    }

    pub(crate) fn device(&self) -> Device {
        self.network.variables().device()
    }

    /// The state of the optimizer: for each tensor, PyTorch's name of the state, and the parameter.
    pub(crate) fn optimizer_state(&self) -> impl Iterator<Item = (&'static str, &String, &Tensor)> {
        self.optimizer.state().flat_map(|(state, tensors)| {
            let named = self.names.iter().zip(tensors);
            named.map(move |(name, tensor)| (state, name, tensor))
        })
    }

    /// Number of the optimizer's steps for each trainable parameter, if they depend on it.
    pub(crate) fn optimizer_steps(&self) -> Option<&Tensor> {
        self.optimizer.steps()
    }

    /// Sums over the images of the epoch so far: loss, correct at 1, correct at k.
    pub(crate) fn running_metrics(&self) -> [f64; 3] {
        let sums: Vec<f64> =
            Vec::try_from(&self.running_metrics).expect("a tensor of three f64 is a vector");
        [sums[0], sums[1], sums[2]]
    }

    pub(crate) fn set_running_metrics(&mut self, sums: [f64; 3]) {
        self.running_metrics.copy_(&Tensor::from_slice(&sums));
    }

    /// The scale of the loss in float16.
    pub(crate) fn scaler(&self) -> Option<&LossScaler> {
        self.scaler.as_ref()
    }

    pub(crate) fn scaler_mut(&mut self) -> Option<&mut LossScaler> {
        self.scaler.as_mut()
    }

    /// Waits until the device has made all steps.
    pub(crate) fn wait(&self) {
        let _ = self.skipped.double_value(&[0]);
    }

    /// Returns what was skipped since the last call. Waits for the device.
    pub(crate) fn take_skipped(&mut self) -> Skipped {
        let counts: Vec<f64> = Vec::try_from(&self.skipped).expect("a tensor of two f64");
        let _ = self.skipped.zero_();
        Skipped {
            steps: counts[0] as usize,
            images: counts[1] as usize,
        }
    }

    /// The layer that makes a batch of one image unusable; see [`Architecture::single_value_norm`].
    ///
    /// [`Architecture::single_value_norm`]: topk_models::Architecture::single_value_norm
    pub(crate) fn single_value_norm(&self) -> Option<&str> {
        self.network.architecture().single_value_norm()
    }

    /// Whether a batch has as many images as the network needs in training, after those that cannot be read.
    pub(crate) fn can_train_on(&self, batch: &Batch) -> bool {
        batch.labels.len() >= self.least_images()
    }

    /// Starts a step: clears the gradients and saves what [`skip_step`](Self::skip_step) restores.
    pub(crate) fn zero_grad(&mut self) -> Result<(), TchError> {
        self.images = 0;
        self.optimizer.zero_grad()?;
        self.statistics.as_mut().map_or(Ok(()), Statistics::save)
    }

    /// Restores the statistics to their values before the step, if these were saved.
    fn rollback(&mut self) -> Result<(), TchError> {
        self.statistics.as_mut().map_or(Ok(()), Statistics::restore)
    }

    /// Forward and backward pass: adds the gradient of the mean loss of a batch, times `weight`. The gradients of all
    /// ranks are averaged with the last batch of a step, `last`.
    pub(crate) fn accumulate_gradients(
        &mut self,
        batch: &Batch,
        criterion: &TrainingLoss,
        weight: f64,
        last: bool,
    ) -> Result<(), StepError> {
        let inputs = batch.inputs(self.settings.shape, self.device())?;
        self.accumulate(inputs, criterion, weight, last)
    }

    /// As [`accumulate_gradients`](Self::accumulate_gradients), of a batch on the device.
    pub(crate) fn accumulate(
        &mut self,
        inputs: Inputs,
        criterion: &TrainingLoss,
        weight: f64,
        last: bool,
    ) -> Result<(), StepError> {
        let Inputs {
            images,
            labels,
            mixed,
        } = inputs;
        self.images += labels.size()[0] as usize;
        let labels = &labels;
        self.prepare_reduction(last)?;
        let scores = self.forward_in_training(&images)?;
        // The gradient of scores in float16 is rounded only after it is scaled.
        let scores = match self.scaler {
            Some(_) => scores.to_kind(Kind::Float),
            None => scores,
        };
        let mean = self.mean_loss(criterion, &scores, labels, mixed.as_ref());
        let mean = match &mut self.teacher {
            Some(teacher) => {
                let imitated = teacher.logits(&images)?;
                let distillation = teacher.distillation();
                mean.and_then(|mean| Ok(distillation.mean(&mean, &scores, &imitated)?))
            }
            None => mean,
        };
        let mean = mean.or_else(|error| self.not_finite_loss(error, &scores))?;
        let weighted = &mean * weight;
        match &self.scaler {
            Some(scaler) => self.backward(&(weighted * scaler.scale()))?,
            None => self.backward(&weighted)?,
        }
        no_grad(|| {
            let ranks = label_ranks(&scores, labels);
            let count = |k: usize| ranks.lt(k as i64).sum(Kind::Double);
            let total = mean.to_kind(Kind::Double) * labels.size()[0] as f64;
            let total = match self.reduction {
                Some(_) => exact(&total),
                None => total,
            };
            self.running_metrics += Tensor::stack(&[total, count(1), count(self.settings.k)], 0);
        });
        Ok(())
    }

    /// The scores of images, which are laid out for the network.
    fn forward(&self, network: &Network, images: &Tensor, mode: Mode) -> Result<Tensor, TchError> {
        let images = match self.settings.channels_last {
            true => channels_last(images)?,
            false => images.f_contiguous()?,
        };
        let forward = || network.forward(&images, mode);
        Ok(match self.settings.amp {
            Some(kind) => autocast(self.device(), kind, forward),
            None => forward(),
        })
    }

    /// Updates the weights with the accumulated gradients, unless these are not finite; `number` is that of the step in
    /// the run, from 1. With `wait`, waits for the device and returns whether the weights were updated.
    pub(crate) fn step(
        &mut self,
        lr: f64,
        number: usize,
        wait: bool,
    ) -> Result<Option<bool>, TchError> {
        let skip = self.finish_gradients()?;
        self.optimizer.step(lr, &skip)?;
        self.count_skipped(&skip);
        if !wait {
            self.undo_if(&skip)?;
            if let Some(ema) = &self.ema {
                match self.statistics {
                    Some(_) => {
                        let weight = skip.f_full_like(ema.weight(number))?;
                        ema.update_unless(&skip, &weight)?;
                    }
                    // A step that is not finite ends the run.
                    None => ema.update(number)?,
                }
            }
            return Ok(None);
        }
        let updated = skip.double_value(&[]) == 0.0;
        if !updated {
            self.rollback()?;
        } else if let Some(ema) = &self.ema {
            ema.update(number)?;
        }
        Ok(Some(updated))
    }

    /// As [`step`](Self::step) without waiting, with a learning rate and the [weight](Self::ema_weight) of the EMA on the
    /// device.
    pub(crate) fn step_on_device(
        &mut self,
        lr: &Tensor,
        ema_weight: &Tensor,
    ) -> Result<(), TchError> {
        let skip = self.finish_gradients()?;
        self.optimizer.step_by(lr, &skip)?;
        self.count_skipped(&skip);
        self.undo_if(&skip)?;
        match &self.ema {
            Some(ema) => ema.update_unless(&skip, ema_weight),
            None => Ok(()),
        }
    }

    /// The weight of the values in the EMA's update after a step, from 1; 0 without an EMA.
    pub(crate) fn ema_weight(&self, number: usize) -> f64 {
        self.ema.as_ref().map_or(0.0, |ema| ema.weight(number))
    }

    fn count_skipped(&mut self, skip: &Tensor) {
        let skip = skip.to_kind(Kind::Double);
        let images = &skip * self.images as f64;
        self.skipped += Tensor::stack(&[skip, images], 0);
    }

    /// Restores the statistics on the device if `skip` is 1.
    fn undo_if(&mut self, skip: &Tensor) -> Result<(), TchError> {
        match &mut self.statistics {
            Some(statistics) => statistics.restore_if(skip),
            None => Ok(()),
        }
    }

    /// Abandons the current step, whose scores are not finite: discards its gradients and restores the statistics.
    pub(crate) fn skip_step(&mut self) -> Result<(), TchError> {
        self.optimizer.zero_grad()?;
        let skip = Tensor::from(1f32).f_to_device(self.device())?;
        if let Some(scaler) = &mut self.scaler {
            scaler.update(&skip)?;
        }
        self.count_skipped(&skip);
        self.rollback()
    }

    /// Name of the first tensor that is not finite, among weights, batch norm statistics, the optimizer's state and EMA.
    pub(crate) fn non_finite_tensor(&self) -> Option<String> {
        let finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) != 0;
        let named = |prefix: &'static str, network: &'_ Network| {
            let mut tensors = network.tensors().iter();
            let found = tensors.find(|(_, tensor)| !finite(tensor));
            found.map(|(name, _)| format!("{prefix}{name}"))
        };
        named("", &self.network)
            .or_else(|| {
                let mut state = self.optimizer_state();
                let found = state.find(|(_, _, tensor)| !finite(tensor));
                found.map(|(state, name, _)| format!("the {} of {name}", state.replace('_', " ")))
            })
            .or_else(|| named("the EMA of ", self.ema()?))
    }

    /// The scores that networks give a batch, in host memory: `[images, classes]`, row by row. Precision and memory
    /// format are those of training.
    pub(crate) fn scores(
        &self,
        batch: &Batch,
        networks: &[&Network],
    ) -> Result<Vec<Vec<f32>>, TchError> {
        let inputs = batch.inputs(self.settings.shape, self.device())?;
        let networks = networks.iter();
        let scores = networks.map(|network| {
            let scores = no_grad(|| self.forward(network, &inputs.images, Mode::Eval))?;
            let scores = scores
                .to_device(Device::Cpu)
                .to_kind(Kind::Float)
                .contiguous();
            let scores = Vec::try_from(scores.view(-1));
            Ok(scores.expect("a flat f32 tensor converts to a vector of f32"))
        });
        scores.collect()
    }
}

/// Changes the memory format of the kernels of all convolutions.
fn lay_out_channels_last(network: &Network) -> Result<(), TchError> {
    let tensors = network.tensors().values();
    for tensor in tensors.filter(|tensor| tensor.dim() == 4) {
        let laid_out = channels_last(&tensor.detach())?;
        tensor.shallow_clone().set_data(&laid_out);
    }
    Ok(())
}

/// For each image, the number of classes before its label, as [`topk_ops::accuracy::label_rank`] counts them: of equal
/// scores, which are frequent in bfloat16, the lower class index comes first.
fn label_ranks(scores: &Tensor, labels: &Tensor) -> Tensor {
    let scores = scores.to_kind(Kind::Float);
    let labels = labels.unsqueeze(1);
    let of_label = scores.gather(1, &labels, false);
    let classes = Tensor::arange(scores.size()[1], (Kind::Int64, scores.device()));
    let equal_before = scores
        .eq_tensor(&of_label)
        .logical_and(&classes.lt_tensor(&labels));
    let before = scores.gt_tensor(&of_label).logical_or(&equal_before);
    before.sum_dim_intlist([1i64].as_slice(), false, None)
}

#[cfg(test)]
mod parity;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use topk_models::architecture;

    use super::*;
    use crate::args::Args;
    use crate::images::Pixels;
    use crate::train::criterion;

    const SHAPE: [usize; 3] = [3, 32, 32];

    fn learner(config: &Config) -> Learner {
        let network = Network::new(architecture("basic-4", SHAPE, 10).unwrap(), Device::Cpu);
        Learner::new(config, network, SHAPE).unwrap()
    }

    /// Eight images of values around `scale`.
    fn batch(seed: usize, scale: f32) -> Batch {
        let value = |i: usize| scale * ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0;
        Batch {
            images: Pixels::Normalized((0..8 * 3 * 32 * 32).map(value).collect()),
            labels: (0..8).map(|i| ((i + seed) % 10) as i64).collect(),
            ..Batch::default()
        }
    }

    /// Makes or skips a step, as a run does.
    fn step(learner: &mut Learner, config: &Config, batch: &Batch) -> bool {
        learner.zero_grad().unwrap();
        match learner.accumulate_gradients(batch, &criterion(config, 1, 0).unwrap(), 1.0, true) {
            Ok(()) => learner.step(0.1, 1, true).unwrap() == Some(true),
            Err(StepError::NotFinite(_)) => {
                learner.skip_step().unwrap();
                false
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Weights, momentum buffers, EMA and running metrics.
    fn everything(learner: &Learner) -> Vec<Vec<f32>> {
        let averages = learner.ema().unwrap().tensors();
        let tensors = learner
            .network()
            .tensors()
            .values()
            .chain(averages.values());
        let buffers = learner.optimizer_state().map(|(_, _, tensor)| tensor);
        let values = |tensor: &Tensor| Vec::try_from(tensor.detach().reshape(-1)).unwrap();
        let mut all: Vec<Vec<f32>> = tensors.chain(buffers).map(values).collect();
        all.push(learner.running_metrics().map(|sum| sum as f32).to_vec());
        all
    }

    #[test]
    fn of_equal_scores_the_lower_class_comes_first() {
        let rows = [
            [0.5f32, 2.0, -1.0, 2.0],
            // The differences vanish in bfloat16.
            [1.0, 1.001, 1.0, 0.999],
        ];
        let scores = Tensor::from_slice(&rows.concat()).view([2, 4]);
        for kind in [Kind::Float, Kind::BFloat16] {
            let scores = scores.to_kind(kind);
            let values: Vec<f32> = Vec::try_from(scores.to_kind(Kind::Float).view(-1)).unwrap();
            for label in 0..4 {
                let labels = [label; 2];
                let ranks = label_ranks(&scores, &Tensor::from_slice(&labels));
                let expected = topk_ops::accuracy::label_ranks(&values, &labels).unwrap();
                let found: Vec<i64> = Vec::try_from(ranks).unwrap();
                let expected: Vec<i64> = expected.into_iter().map(|rank| rank as i64).collect();
                assert_eq!(found, expected, "{kind:?}, label {label}");
            }
        }
    }

    #[test]
    fn skipped_steps_change_nothing() {
        let flags = [
            "--data=D",
            "--model=basic-4",
            "--on-nan=skip",
            "--model-ema-decay=0.9",
            "--loss=ce",
        ];
        let config = Args::config_of(flags.map(OsString::from)).unwrap();
        let (mut skips, mut never) = (learner(&config), learner(&config));
        let start = skips.network().weights();
        never.load(&start, &start).unwrap();
        for each in [&mut skips, &mut never] {
            assert!(step(each, &config, &batch(1, 1.0)));
        }
        let before = everything(&skips);
        assert!(before == everything(&never));
        // Scores that are not finite.
        assert!(!step(&mut skips, &config, &batch(2, f32::INFINITY)));
        assert!(everything(&skips) == before);
        // Finite scores with a gradient that is not.
        let scale = |learner: &Learner, factor: f64| {
            let mut weight = learner.network().tensors()["fc.weight"].detach();
            weight *= factor;
        };
        let large = 2f64.powi(90);
        scale(&skips, large);
        assert!(!step(&mut skips, &config, &batch(3, 1.0)));
        scale(&skips, 1.0 / large);
        assert!(everything(&skips) == before);
        let skipped = Skipped {
            steps: 2,
            images: 16,
        };
        assert_eq!(skips.take_skipped(), skipped);
        for each in [&mut skips, &mut never] {
            assert!(step(each, &config, &batch(4, 1.0)));
        }
        assert!(everything(&skips) == everything(&never));
        assert!(everything(&skips) != before);
        let none = Skipped::default();
        assert_eq!([skips.take_skipped(), never.take_skipped()], [none; 2]);
    }
}
