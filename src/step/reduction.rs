//! How a learner takes part in the steps of other ranks.

use tch::{Kind, TchError, Tensor, no_grad};
use topk_distributed::{DistributedError, Group, Reducer, ReducerOptions};
use topk_models_tch::Mode;

use super::sync_bn::OverRanks;
use super::{Learner, StepError};

/// What averages the gradients of all ranks.
#[derive(Debug)]
pub(crate) struct Reduction {
    reducer: Reducer,
    /// Batch normalisation with the images of all ranks, if that is requested; then each forward and backward pass
    /// needs all of them.
    sync_bn: Option<OverRanks>,
    /// Why the loss of this rank is not finite in the current step.
    not_finite: Option<String>,
}

impl Learner {
    /// Takes part in the steps of a group, whose ranks have the same weights.
    pub(crate) fn join(&mut self, group: &Group, sync_bn: bool) -> Result<(), StepError> {
        // An earlier reducer may not know all parameters that are trained now.
        self.reduction = None;
        let parameters = self.names.iter().zip(self.optimizer.parameters());
        let trained = parameters.filter(|(_, parameter)| parameter.requires_grad());
        let trained = trained.map(|(name, parameter)| (name.clone(), parameter.shallow_clone()));
        let (names, parameters): (Vec<String>, Vec<Tensor>) = trained.unzip();
        let options = ReducerOptions {
            names,
            ..ReducerOptions::default()
        };
        let sync_bn = sync_bn.then(|| OverRanks::new(group));
        if let Some(sync_bn) = &sync_bn {
            self.network
                .synchronize_batch_norm(Box::new(sync_bn.clone()));
        }
        let mut reducer = Reducer::new(group, &parameters, options)?;
        // So that the steps of a resumed run add gradients in the order of those of an uninterrupted one.
        reducer.warm_up()?;
        self.reduction = Some(Reduction {
            reducer,
            sync_bn,
            not_finite: None,
        });
        Ok(())
    }

    /// Smallest number of images of a batch that this rank can train on.
    pub(crate) fn least_images(&self) -> usize {
        match self.single_value_norm() {
            Some(_) if !self.synchronizes_batch_norm() => 2,
            _ => 1,
        }
    }

    pub(super) fn synchronizes_batch_norm(&self) -> bool {
        let reduction = self.reduction.as_ref();
        reduction.is_some_and(|reduction| reduction.sync_bn.is_some())
    }

    /// The scores of images in training.
    pub(super) fn forward_in_training(&self, images: &Tensor) -> Result<Tensor, StepError> {
        let scores = self.forward(&self.network, images, Mode::Train);
        let reduction = self.reduction.as_ref();
        let sync_bn = reduction.and_then(|reduction| reduction.sync_bn.as_ref());
        match sync_bn.and_then(OverRanks::take_error) {
            Some(error) => Err(error.into()),
            None => Ok(scores?),
        }
    }

    /// Called before the forward pass of a batch; `last` if it is the last one of a step.
    pub(super) fn prepare_reduction(&mut self, last: bool) -> Result<(), DistributedError> {
        match &mut self.reduction {
            Some(reduction) if last => reduction.reducer.prepare(),
            _ => Ok(()),
        }
    }

    /// The backward pass. Averages the gradients of all ranks if this was [prepared](Self::prepare_reduction).
    pub(super) fn backward(&mut self, loss: &Tensor) -> Result<(), StepError> {
        match &mut self.reduction {
            Some(reduction) => Ok(reduction.reducer.backward(loss)?),
            None => Ok(loss.f_backward()?),
        }
    }

    /// Takes part in the backward passes of the other ranks for a batch of which this rank has no image.
    pub(crate) fn accumulate_nothing(&mut self, last: bool) -> Result<(), StepError> {
        if self.synchronizes_batch_norm() {
            let [channels, height, width] = self.settings.shape.map(|dim| dim as i64);
            let options = (Kind::Float, self.device());
            let none = Tensor::f_zeros([0, channels, height, width], options)?;
            self.prepare_reduction(last)?;
            let scores = self.forward_in_training(&none)?;
            return self.backward(&scores.f_sum(Kind::Float)?);
        }
        match &mut self.reduction {
            Some(reduction) if last => {
                reduction.reducer.prepare()?;
                Ok(reduction.reducer.backward_constant(0.0)?)
            }
            _ => Ok(()),
        }
    }

    /// In place of a loss that is not finite: with other ranks, one whose gradient is NaN, which they notice too.
    pub(super) fn not_finite_loss(
        &mut self,
        error: StepError,
        scores: &Tensor,
    ) -> Result<Tensor, StepError> {
        match (error, &mut self.reduction) {
            (StepError::NotFinite(reason), Some(reduction)) => {
                reduction.not_finite.get_or_insert(reason);
                Ok(scores.f_sum(Kind::Float)? * f64::NAN)
            }
            (error, _) => Err(error),
        }
    }

    /// Why the loss of this rank was not finite in the current step, if it was not.
    pub(crate) fn take_not_finite(&mut self) -> Option<String> {
        self.reduction.as_mut()?.not_finite.take()
    }

    /// Changes the number of images that the accumulated gradients are the mean of, of all ranks: from those that were
    /// planned to those that could be read.
    pub(crate) fn set_images(&mut self, planned: usize, read: usize) -> Result<(), TchError> {
        self.images = read;
        if planned == read {
            return Ok(());
        }
        let factor = Tensor::from(planned as f32 / read as f32).f_to_device(self.device())?;
        self.optimizer.scale_gradients(&factor)
    }

    /// Everything that a step changes, except for running metrics and the scale of the loss: weights, statistics,
    /// the optimizer's state and EMA.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let averages = self
            .ema()
            .into_iter()
            .flat_map(|ema| ema.tensors().values());
        let tensors = self.network.tensors().values().chain(averages);
        let state = self.optimizer_state().map(|(_, _, tensor)| tensor);
        let tensors = tensors.chain(state).chain(self.optimizer_steps());
        no_grad(|| tensors.map(Tensor::detach).collect())
    }

    /// The statistics of batch normalisation, which differ between ranks, of the network and of the EMA.
    pub(crate) fn buffers(&self) -> Vec<Tensor> {
        let networks = std::iter::once(&self.network).chain(self.ema());
        let fixed = networks.flat_map(|network| {
            let tensors = network.tensors().iter();
            // The tensors of an EMA require gradients where those of the network do.
            tensors.filter(|(name, _)| !self.names.contains(name))
        });
        fixed.map(|(_, tensor)| tensor.detach()).collect()
    }
}
