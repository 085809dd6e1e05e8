//! One step of training: forward and backward pass, optimizer, EMA, and skipping of steps that are not finite.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor, no_grad};
use topk_libtorch::{Sgd, SgdOptions, autocast, channels_last, copy_all};
use topk_models_tch::{LoadError, Mode, Network};
use topk_ops_tch::{TensorLossError, loss};
use topk_weights::Tensor as Weight;

use crate::TrainError;
use crate::config::{Config, ErrorPolicy};
use crate::ema::Ema;
use crate::images::Batch;
use crate::loss::TrainingLoss;
use crate::validate::image_tensor;

/// A network in training with its optimizer, EMA and running metrics.
#[derive(Debug)]
pub(crate) struct Learner {
    network: Network,
    ema: Option<Ema>,
    sgd: Sgd,
    /// Names of the optimizer's parameters, in its order.
    names: Vec<String>,
    /// State other than parameters that a step changes: batch norm statistics and running metrics.
    buffers: Vec<Tensor>,
    /// Values of `buffers` before the step, if steps may be skipped.
    snapshot: Option<Vec<Tensor>>,
    /// Sums over the images of the epoch: loss, correct at 1, correct at k. They stay on the device because
    /// reading them at every step would wait for it.
    running_metrics: Tensor,
    /// Number of skipped steps of the epoch, on the device.
    skipped: Tensor,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    shape: [usize; 3],
    k: usize,
    label_smoothing: f64,
    clip_grad: Option<f64>,
    amp: bool,
    channels_last: bool,
}

/// A step failed.
#[derive(Debug)]
pub(crate) enum StepError {
    /// The scores or gradients are not finite; the reason as a clause.
    NotFinite(String),
    /// libtorch failed.
    Tch(TchError),
}

impl StepError {
    /// The error that ends a run; epochs and batches count from 1.
    pub(crate) fn at(self, epoch: usize, batch: usize, lr: f64) -> TrainError {
        match self {
            Self::Tch(error) => TrainError::Tch(error),
            Self::NotFinite(reason) => TrainError::Diverged {
                epoch,
                batch,
                lr,
                reason,
            },
        }
    }
}

impl From<TchError> for StepError {
    fn from(error: TchError) -> Self {
        Self::Tch(error)
    }
}

impl From<TensorLossError> for StepError {
    fn from(error: TensorLossError) -> Self {
        match error {
            TensorLossError::Tch(error) => Self::Tch(error),
            // Labels, shapes and types have been checked, so the scores are the only possible cause.
            error => Self::NotFinite(error.to_string()),
        }
    }
}

impl Learner {
    pub(crate) fn new(
        config: &Config,
        network: Network,
        shape: [usize; 3],
    ) -> Result<Self, TchError> {
        if config.channels_last {
            lay_out_channels_last(&network)?;
        }
        let device = network.variables().device();
        let ema = config.model_ema_decay.map(|decay| {
            let warmup = config.model_ema_warmup.unwrap_or(true);
            Ema::new(&network, decay, warmup)
        });
        if let Some(ema) = &ema
            && config.channels_last
        {
            lay_out_channels_last(ema.network())?;
        }
        let tensors = network.tensors().iter();
        let (trainable, fixed): (Vec<_>, Vec<_>) =
            tensors.partition(|(_, tensor)| tensor.requires_grad());
        let clones = |(_, tensor): &(&String, &Tensor)| tensor.shallow_clone();
        let options = SgdOptions {
            momentum: config.momentum,
            weight_decay: config.weight_decay,
            nesterov: config.uses_nesterov(),
        };
        let running_metrics = Tensor::zeros([3], (Kind::Double, device));
        let mut buffers: Vec<Tensor> = fixed.iter().map(clones).collect();
        buffers.push(running_metrics.shallow_clone());
        let copies = || buffers.iter().map(Tensor::copy).collect();
        Ok(Self {
            ema,
            sgd: Sgd::new(trainable.iter().map(clones).collect(), options),
            names: trainable.iter().map(|(name, _)| (*name).clone()).collect(),
            snapshot: (config.on_nan == ErrorPolicy::Skip).then(copies),
            buffers,
            running_metrics,
            skipped: Tensor::zeros([], (Kind::Float, device)),
            network,
            settings: Settings {
                shape,
                k: config.topk(),
                label_smoothing: config.loss.label_smoothing,
                clip_grad: config.clip_grad,
                amp: config.amp,
                channels_last: config.channels_last,
            },
        })
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

    /// Names and momentum buffers of the trainable parameters.
    pub(crate) fn momentum_buffers(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.names.iter().zip(self.sgd.momentum_buffers())
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

    /// Returns the number of skipped steps and resets it. Waits for the device.
    pub(crate) fn take_skipped_steps(&mut self) -> usize {
        let skipped = self.skipped.double_value(&[]);
        let _ = self.skipped.zero_();
        skipped as usize
    }

    /// The layer that makes a batch of one image unusable; see [`Architecture::single_value_norm`].
    ///
    /// [`Architecture::single_value_norm`]: topk_models::Architecture::single_value_norm
    pub(crate) fn single_value_norm(&self) -> Option<&str> {
        self.network.architecture().single_value_norm()
    }

    /// Whether a batch has as many images as the network needs in training, after those that cannot be read.
    pub(crate) fn can_train_on(&self, batch: &Batch) -> bool {
        match batch.labels.len() {
            0 => false,
            1 => self.single_value_norm().is_none(),
            _ => true,
        }
    }

    /// Starts a step: clears the gradients and saves what [`skip_step`](Self::skip_step) restores.
    pub(crate) fn zero_grad(&mut self) -> Result<(), TchError> {
        self.sgd.zero_grad()?;
        match &self.snapshot {
            Some(snapshot) => copy_all(snapshot, &self.buffers),
            None => Ok(()),
        }
    }

    /// Restores the buffers to their values before the step, if these were saved.
    fn rollback(&mut self) -> Result<(), TchError> {
        match &self.snapshot {
            Some(snapshot) => copy_all(&self.buffers, snapshot),
            None => Ok(()),
        }
    }

    /// Forward and backward pass: adds the gradient of the mean loss of a batch, times `weight`.
    pub(crate) fn accumulate_gradients(
        &mut self,
        batch: &Batch,
        criterion: &TrainingLoss,
        weight: f64,
    ) -> Result<(), StepError> {
        let device = self.device();
        let images = self.images(batch)?;
        let labels = Tensor::from_slice(&batch.labels).to_device(device);
        let forward = || self.network.forward(&images, Mode::Train);
        let scores = match self.settings.amp {
            true => autocast(device, forward),
            false => forward(),
        };
        let mean = match &batch.mixed {
            None => self.loss(criterion, &scores, &labels)?,
            Some((partners, lambda)) => {
                let partners = Tensor::from_slice(partners).to_device(device);
                let with_own = self.loss(criterion, &scores, &labels)?;
                let with_partners = self.loss(criterion, &scores, &partners)?;
                with_own * *lambda + with_partners * (1.0 - lambda)
            }
        };
        (&mean * weight).f_backward()?;
        no_grad(|| {
            let ranks = label_ranks(&scores, &labels);
            let count = |k: usize| ranks.lt(k as i64).sum(Kind::Double);
            let total = mean.to_kind(Kind::Double) * batch.labels.len() as f64;
            self.running_metrics += Tensor::stack(&[total, count(1), count(self.settings.k)], 0);
        });
        Ok(())
    }

    /// The mean loss of a batch.
    pub(crate) fn loss(
        &self,
        criterion: &TrainingLoss,
        scores: &Tensor,
        labels: &Tensor,
    ) -> Result<Tensor, StepError> {
        let smoothing = self.settings.label_smoothing;
        let mean = loss(criterion, scores, labels)?;
        if smoothing == 0.0 {
            return Ok(mean);
        }
        let uniform = -scores
            .to_kind(Kind::Float)
            .log_softmax(1, None)
            .mean(Kind::Float);
        Ok(mean * (1.0 - smoothing) + uniform * smoothing)
    }

    /// Updates the weights with the accumulated gradients, unless these are not finite; `number` is that of the step in
    /// the run, from 1. With `wait`, waits for the device and returns whether the weights were updated.
    pub(crate) fn step(
        &mut self,
        lr: f64,
        number: usize,
        wait: bool,
    ) -> Result<Option<bool>, TchError> {
        let norm = self.sgd.gradient_norm()?;
        let skip = norm.isfinite().logical_not().to_kind(Kind::Float);
        if let Some(max_norm) = self.settings.clip_grad {
            // The 1e-6 of PyTorch's clip_grad_norm_ avoids a division by 0.
            let factor = (max_norm / (norm + 1e-6)).clamp_max(1.0);
            self.sgd.scale_gradients(&factor)?;
        }
        self.sgd.step(lr, &skip)?;
        self.skipped += &skip;
        let updated = wait.then(|| skip.double_value(&[]) == 0.0);
        if updated == Some(false) {
            self.rollback()?;
        } else if let Some(ema) = &self.ema {
            ema.update(number)?;
        }
        Ok(updated)
    }

    /// Abandons the current step: discards its gradients and restores the buffers.
    pub(crate) fn skip_step(&mut self) -> Result<(), TchError> {
        self.sgd.zero_grad()?;
        self.skipped += 1.0;
        self.rollback()
    }

    /// Name of the first parameter whose gradient is not finite.
    pub(crate) fn non_finite_gradient(&self) -> Option<&str> {
        let mut pairs = self.names.iter().zip(self.sgd.parameters());
        let bad = pairs.find(|(_, parameter)| {
            let grad = parameter.grad();
            grad.defined() && grad.isfinite().all().int64_value(&[]) == 0
        });
        bad.map(|(name, _)| name.as_str())
    }

    /// Name of the first tensor that is not finite, among weights, batch norm statistics, momentum buffers and EMA.
    pub(crate) fn non_finite_tensor(&self) -> Option<String> {
        let finite = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) != 0;
        let named = |prefix: &'static str, network: &'_ Network| {
            let mut tensors = network.tensors().iter();
            let found = tensors.find(|(_, tensor)| !finite(tensor));
            found.map(|(name, _)| format!("{prefix}{name}"))
        };
        named("", &self.network)
            .or_else(|| {
                let mut buffers = self.momentum_buffers();
                let found = buffers.find(|(_, buffer)| !finite(buffer));
                found.map(|(name, _)| format!("the momentum buffer of {name}"))
            })
            .or_else(|| named("the EMA of ", self.ema()?))
    }

    /// The scores that the validated network gives a batch, in host memory: `[images, classes]`, row by row. Precision
    /// and memory format are those of training.
    pub(crate) fn scores(&self, batch: &Batch) -> Result<Vec<f32>, TchError> {
        let images = self.images(batch)?;
        let forward = || self.validated_network().forward(&images, Mode::Eval);
        let scores = no_grad(|| match self.settings.amp {
            true => autocast(self.device(), forward),
            false => forward(),
        });
        let scores = scores
            .to_device(Device::Cpu)
            .to_kind(Kind::Float)
            .contiguous();
        Ok(Vec::try_from(scores.view(-1)).expect("a flat f32 tensor converts to a vector of f32"))
    }

    fn images(&self, batch: &Batch) -> Result<Tensor, TchError> {
        let images = image_tensor(batch, self.settings.shape, self.device());
        match self.settings.channels_last {
            true => channels_last(&images),
            false => Ok(images),
        }
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
            images: (0..8 * 3 * 32 * 32).map(value).collect(),
            labels: (0..8).map(|i| ((i + seed) % 10) as i64).collect(),
            ..Batch::default()
        }
    }

    /// Makes or skips a step, as a run does.
    fn step(learner: &mut Learner, config: &Config, batch: &Batch) -> bool {
        learner.zero_grad().unwrap();
        match learner.accumulate_gradients(batch, &criterion(config, 1, 0).unwrap(), 1.0) {
            Ok(()) => learner.step(0.1, 1, true).unwrap() == Some(true),
            Err(StepError::NotFinite(_)) => {
                learner.skip_step().unwrap();
                false
            }
            Err(StepError::Tch(error)) => panic!("{error}"),
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
        let buffers = learner.momentum_buffers().map(|(_, buffer)| buffer);
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
        assert_eq!(skips.take_skipped_steps(), 2);
        for each in [&mut skips, &mut never] {
            assert!(step(each, &config, &batch(4, 1.0)));
        }
        assert!(everything(&skips) == everything(&never));
        assert!(everything(&skips) != before);
        assert_eq!(
            (skips.take_skipped_steps(), never.take_skipped_steps()),
            (0, 0)
        );
    }
}
