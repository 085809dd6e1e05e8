use std::collections::BTreeMap;
use std::sync::Arc;

use tch::{Device, Kind, TchError, Tensor, no_grad};
use topk_libtorch::{Sgd, SgdOptions, autocast, channels_last, copy_all, move_towards};
use topk_models_tch::{LoadError, Mode, Network};
use topk_ops::accuracy;
use topk_ops_tch::{TensorLossError, loss};
use topk_weights::Tensor as Weight;

use crate::TrainError;
use crate::config::{Config, OnBad};
use crate::images::{BadImage, Batch, Images};
use crate::loss::TrainingLoss;

/// A network that learns, and what belongs to it.
#[derive(Debug)]
pub(crate) struct Learner {
    network: Network,
    averaged: Option<Averaged>,
    sgd: Sgd,
    /// Names of the optimizer's parameters, in its order.
    names: Vec<String>,
    /// What a step changes besides parameters: statistics and sums.
    changing: Vec<Tensor>,
    /// Its values before the step, if steps may be left out.
    before: Option<Vec<Tensor>>,
    /// Of the images of an epoch, the loss and the number of those right at 1 and at k: on the device,
    /// because reading them at every step would wait for it.
    sums: Tensor,
    /// Steps of the epoch that were left out, on the device.
    skipped: Tensor,
    settings: Settings,
}

/// A network with the average of the weights.
#[derive(Debug)]
struct Averaged {
    network: Network,
    decay: f64,
    /// Its tensors, and in the same order those that they follow.
    averages: Vec<Tensor>,
    values: Vec<Tensor>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    shape: [usize; 3],
    k: usize,
    label_smoothing: f64,
    clip_norm: Option<f64>,
    amp: bool,
    channels_last: bool,
}

/// Why a step cannot be made.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The scores are not finite, in words.
    NotFinite(String),
    /// libtorch failed.
    Tch(TchError),
}

impl Fault {
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

impl From<TchError> for Fault {
    fn from(error: TchError) -> Self {
        Self::Tch(error)
    }
}

impl From<TensorLossError> for Fault {
    fn from(error: TensorLossError) -> Self {
        match error {
            TensorLossError::Tch(error) => Self::Tch(error),
            // Labels, shapes and types are those of the data: what is left are the scores.
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
            for tensor in network
                .tensors()
                .values()
                .filter(|tensor| tensor.dim() == 4)
            {
                let laid_out = channels_last(&tensor.detach())?;
                tensor.shallow_clone().set_data(&laid_out);
            }
        }
        let device = network.variables().device();
        let averaged = config.ema.map(|decay| {
            let mut averaged = Network::new(network.architecture().clone(), device);
            let loaded = averaged.load(&network.weights());
            loaded.expect("it is the same network");
            let [averages, values] = [&averaged, &network].map(|network| {
                let tensors = network.tensors().values();
                tensors.map(Tensor::shallow_clone).collect()
            });
            Averaged {
                network: averaged,
                decay,
                averages,
                values,
            }
        });
        let tensors = network.tensors().iter();
        let (learning, fixed): (Vec<_>, Vec<_>) =
            tensors.partition(|(_, tensor)| tensor.requires_grad());
        let clones = |(_, tensor): &(&String, &Tensor)| tensor.shallow_clone();
        let options = SgdOptions {
            momentum: config.momentum,
            weight_decay: config.weight_decay,
            // Without momentum there is nothing to look ahead along.
            nesterov: config.momentum > 0.0,
        };
        let sums = Tensor::zeros([3], (Kind::Double, device));
        let mut changing: Vec<Tensor> = fixed.iter().map(clones).collect();
        changing.push(sums.shallow_clone());
        let copies = || changing.iter().map(Tensor::copy).collect();
        Ok(Self {
            averaged,
            sgd: Sgd::new(learning.iter().map(clones).collect(), options),
            names: learning.iter().map(|(name, _)| (*name).clone()).collect(),
            before: (config.on_nan == OnBad::Skip).then(copies),
            changing,
            sums,
            skipped: Tensor::zeros([], (Kind::Float, device)),
            network,
            settings: Settings {
                shape,
                k: config.topk,
                label_smoothing: config.loss.label_smoothing,
                clip_norm: config.clip_norm,
                amp: config.amp,
                channels_last: config.channels_last,
            },
        })
    }

    /// Takes over weights and, if there are such, averages.
    pub(crate) fn load(
        &mut self,
        weights: &BTreeMap<String, Weight>,
        averages: &BTreeMap<String, Weight>,
    ) -> Result<(), LoadError> {
        self.network.load(weights)?;
        match &mut self.averaged {
            Some(averaged) => averaged.network.load(averages),
            None => Ok(()),
        }
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The network that is validated and kept.
    pub(crate) fn kept(&self) -> &Network {
        self.averaged().unwrap_or(&self.network)
    }

    pub(crate) fn averaged(&self) -> Option<&Network> {
        self.averaged.as_ref().map(|averaged| &averaged.network)
    }

    pub(crate) fn device(&self) -> Device {
        self.network.variables().device()
    }

    /// Names and velocities of what learns.
    pub(crate) fn velocities(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.names.iter().zip(self.sgd.velocities())
    }

    /// Loss and right images of the epoch so far.
    pub(crate) fn sums(&self) -> [f64; 3] {
        let sums: Vec<f64> = Vec::try_from(&self.sums).expect("three numbers are a vector");
        [sums[0], sums[1], sums[2]]
    }

    pub(crate) fn set_sums(&mut self, sums: [f64; 3]) {
        self.sums.copy_(&Tensor::from_slice(&sums));
    }

    /// Steps that were left out since this was last asked. Waits for the device.
    pub(crate) fn take_skipped(&mut self) -> usize {
        let skipped = self.skipped.double_value(&[]);
        let _ = self.skipped.zero_();
        skipped as usize
    }

    /// Begins a step: remembers what can be gone back to.
    pub(crate) fn begin_step(&mut self) -> Result<(), TchError> {
        self.sgd.clear_gradients()?;
        match &self.before {
            Some(before) => copy_all(before, &self.changing),
            None => Ok(()),
        }
    }

    /// Goes back to what was before the step, if that was remembered.
    fn go_back(&mut self) -> Result<(), TchError> {
        match &self.before {
            Some(before) => copy_all(&self.changing, before),
            None => Ok(()),
        }
    }

    /// Adds the gradient of the mean loss of a batch, times `weight`.
    pub(crate) fn learn(
        &mut self,
        batch: &Batch,
        criterion: &TrainingLoss,
        weight: f64,
    ) -> Result<(), Fault> {
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
            Some((partners, own)) => {
                let partners = Tensor::from_slice(partners).to_device(device);
                let with_own = self.loss(criterion, &scores, &labels)?;
                let with_partners = self.loss(criterion, &scores, &partners)?;
                with_own * *own + with_partners * (1.0 - own)
            }
        };
        (&mean * weight).f_backward()?;
        no_grad(|| {
            let of_label = scores.gather(1, &labels.unsqueeze(1), false);
            let above = scores.gt_tensor(&of_label);
            let ranks = above.sum_dim_intlist([1i64].as_slice(), false, None);
            let count = |k: usize| ranks.lt(k as i64).sum(Kind::Double);
            let total = mean.to_kind(Kind::Double) * batch.labels.len() as f64;
            self.sums += Tensor::stack(&[total, count(1), count(self.settings.k)], 0);
        });
        Ok(())
    }

    /// The mean loss of a batch.
    pub(crate) fn loss(
        &self,
        criterion: &TrainingLoss,
        scores: &Tensor,
        labels: &Tensor,
    ) -> Result<Tensor, Fault> {
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

    /// Makes a step with the gradients that were added, unless they are not finite. Says whether it was
    /// made if `wait`, which waits for the device.
    pub(crate) fn step(&mut self, lr: f64, wait: bool) -> Result<Option<bool>, TchError> {
        let norm = self.sgd.gradient_norm()?;
        let skip = norm.isfinite().logical_not().to_kind(Kind::Float);
        if let Some(largest) = self.settings.clip_norm {
            // PyTorch's 1e-6, so that nothing is divided by 0.
            let factor = (largest / (norm + 1e-6)).clamp_max(1.0);
            self.sgd.scale_gradients(&factor)?;
        }
        self.sgd.step(lr, &skip)?;
        self.skipped += &skip;
        let made = wait.then(|| skip.double_value(&[]) == 0.0);
        if made == Some(false) {
            self.go_back()?;
        } else if let Some(averaged) = &self.averaged {
            let Averaged {
                decay,
                averages,
                values,
                ..
            } = averaged;
            move_towards(averages, values, 1.0 - decay)?;
        }
        Ok(made)
    }

    /// Leaves out a step that was begun.
    pub(crate) fn give_up_step(&mut self) -> Result<(), TchError> {
        self.sgd.clear_gradients()?;
        self.skipped += 1.0;
        self.go_back()
    }

    /// The first parameter whose gradient is not finite.
    pub(crate) fn bad_gradient(&self) -> Option<&str> {
        let mut pairs = self.names.iter().zip(self.sgd.parameters());
        let bad = pairs.find(|(_, parameter)| {
            let grad = parameter.grad();
            grad.defined() && grad.isfinite().all().int64_value(&[]) == 0
        });
        bad.map(|(name, _)| name.as_str())
    }

    fn images(&self, batch: &Batch) -> Result<Tensor, TchError> {
        let images = image_tensor(batch, self.settings.shape, self.device());
        match self.settings.channels_last {
            true => channels_last(&images),
            false => Ok(images),
        }
    }
}

/// For each image, the number of classes that score higher than its label, in the images' order, as
/// [`accuracy::label_ranks`] counts them; without images that were left out as they could not be read.
///
/// # Errors
/// If an image cannot be read, or its scores have a NaN: then with its place.
pub(crate) fn label_ranks(
    network: &Network,
    images: &Arc<Images>,
    shape: [usize; 3],
    batch_size: usize,
) -> Result<Vec<usize>, RankError> {
    let mut ranks = Vec::with_capacity(images.len());
    for batch in images.in_order(batch_size) {
        let batch = batch?;
        if batch.labels.is_empty() {
            continue;
        }
        let scores = scores(network, &batch, shape);
        let start = ranks.len();
        let found = accuracy::label_ranks(&scores, &batch.labels);
        ranks.extend(found.map_err(|image| RankError::Nan(start + image))?);
    }
    Ok(ranks)
}

/// The scores of a batch in evaluation, in host memory: `[images, classes]`, row by row.
pub(crate) fn scores(network: &Network, batch: &Batch, shape: [usize; 3]) -> Vec<f32> {
    let input = image_tensor(batch, shape, network.variables().device());
    let scores = no_grad(|| network.forward(&input, Mode::Eval));
    let scores = scores
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous();
    Vec::try_from(scores.view(-1)).expect("a flat tensor of f32 is a vector of f32")
}

/// Why images cannot be judged.
#[derive(Debug)]
pub(crate) enum RankError {
    BadImage(BadImage),
    /// The scores of the image at this place have a NaN.
    Nan(usize),
}

impl From<BadImage> for RankError {
    fn from(error: BadImage) -> Self {
        Self::BadImage(error)
    }
}

/// The images of a batch on the device.
fn image_tensor(batch: &Batch, shape: [usize; 3], device: Device) -> Tensor {
    let [c, h, w] = shape.map(|dim| dim as i64);
    let images = Tensor::from_slice(&batch.images);
    images.view([-1, c, h, w]).to_device(device)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use topk_models::architecture;

    use super::*;
    use crate::args::Args;
    use crate::training::criterion;

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

    /// Makes a step, or leaves it out, as a run does.
    fn step(learner: &mut Learner, config: &Config, batch: &Batch) -> bool {
        learner.begin_step().unwrap();
        match learner.learn(batch, &criterion(config, 1, 0).unwrap(), 1.0) {
            Ok(()) => learner.step(0.1, true).unwrap() == Some(true),
            Err(Fault::NotFinite(_)) => {
                learner.give_up_step().unwrap();
                false
            }
            Err(Fault::Tch(error)) => panic!("{error}"),
        }
    }

    /// Weights, velocities, averages and sums.
    fn everything(learner: &Learner) -> Vec<Vec<f32>> {
        let averages = learner.averaged().unwrap().tensors();
        let tensors = learner
            .network()
            .tensors()
            .values()
            .chain(averages.values());
        let velocities = learner.velocities().map(|(_, velocity)| velocity);
        let values = |tensor: &Tensor| Vec::try_from(tensor.detach().reshape(-1)).unwrap();
        let mut all: Vec<Vec<f32>> = tensors.chain(velocities).map(values).collect();
        all.push(learner.sums().map(|sum| sum as f32).to_vec());
        all
    }

    #[test]
    fn steps_that_are_left_out_leave_no_trace() {
        let flags = [
            "--data=D",
            "--model=basic-4",
            "--on-nan=skip",
            "--ema=0.9",
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
        assert_eq!(skips.take_skipped(), 2);
        for each in [&mut skips, &mut never] {
            assert!(step(each, &config, &batch(4, 1.0)));
        }
        assert!(everything(&skips) == everything(&never));
        assert!(everything(&skips) != before);
        assert_eq!((skips.take_skipped(), never.take_skipped()), (0, 0));
    }
}
