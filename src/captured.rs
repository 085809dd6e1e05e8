//! Whole steps as CUDA graphs: recorded once, and started by a single call for each batch.
//!
//! A replay uses the memory of the recording, so that everything that changes between steps is a tensor: the batch, the
//! learning rate, and the weight of the EMA. What is not a tensor makes a new recording: the loss's settings. Batches of
//! another size are computed as usual.

use tch::{Kind, Tensor};
use topk_libtorch::Graph;

use crate::delivery::UploadedImages;
use crate::images::{Batch, Pixels};
use crate::loss::TrainingLoss;
use crate::step::{Learner, StepError};

/// Steps before the recording: they choose algorithms and allocate what lasts.
const WARM_UP: usize = 3;

/// A recorded step.
#[derive(Debug)]
pub(crate) struct CapturedStep {
    /// `None` on the CPU, where the operations run one by one.
    graph: Option<Graph>,
    memory: Memory,
    /// Temperature and margin of the loss.
    loss: [f64; 2],
}

/// What the operations of a step read.
#[derive(Debug)]
struct Memory {
    /// The tensors of a batch as they are uploaded.
    batch: Vec<Tensor>,
    lr: Tensor,
    ema_weight: Tensor,
}

/// The captured steps of a learner.
#[derive(Debug)]
pub(crate) struct CapturedSteps {
    /// Number of images of the batches whose steps are captured.
    batch_size: usize,
    /// Steps of this size that were computed as usual.
    warm_up: usize,
    step: Option<CapturedStep>,
}

/// What differs between the steps of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepSettings {
    pub(crate) lr: f64,
    /// Number of the step in the run, from 1.
    pub(crate) number: usize,
    /// Temperature and margin of the loss; 0 where it has none.
    pub(crate) loss: [f64; 2],
}

impl CapturedSteps {
    pub(crate) fn new(batch_size: usize) -> Self {
        Self {
            batch_size,
            warm_up: 0,
            step: None,
        }
    }
}

impl Learner {
    /// Makes the step of a batch as a graph, which is recorded first if there is none for this loss. Returns false if
    /// the batch must be computed as usual.
    pub(crate) fn captured_step(
        &mut self,
        steps: &mut CapturedSteps,
        batch: &Batch,
        criterion: &TrainingLoss,
        settings: StepSettings,
    ) -> Result<bool, StepError> {
        let Pixels::Uploaded(images) = &batch.images else {
            return Ok(false);
        };
        if batch.labels.len() != steps.batch_size {
            return Ok(false);
        }
        if steps.warm_up < WARM_UP {
            steps.warm_up += 1;
            return Ok(false);
        }
        let tensors = images.tensors()?;
        let step = match steps.step.take() {
            Some(step) if step.loss == settings.loss => step,
            // The memory of the earlier recording is free for the next.
            earlier => {
                drop(earlier);
                self.capture(images, &tensors, criterion, settings.loss)?
            }
        };
        let Memory {
            batch: inputs,
            lr,
            ema_weight,
        } = &step.memory;
        for (input, tensor) in inputs.iter().zip(&tensors) {
            input.shallow_clone().f_copy_(tensor)?;
        }
        let _ = lr.shallow_clone().f_fill_(settings.lr)?;
        let weight = self.ema_weight(settings.number);
        let _ = ema_weight.shallow_clone().f_fill_(weight)?;
        match &step.graph {
            Some(graph) => graph.replay()?,
            None => self.whole_step(images, &step.memory, criterion)?,
        }
        steps.step = Some(step);
        Ok(true)
    }

    fn capture(
        &mut self,
        images: &UploadedImages,
        tensors: &[Tensor],
        criterion: &TrainingLoss,
        loss: [f64; 2],
    ) -> Result<CapturedStep, StepError> {
        let device = self.device();
        let scalar = || Tensor::f_zeros([], (Kind::Float, device));
        let copies = tensors.iter().map(Tensor::f_empty_like);
        let memory = Memory {
            batch: copies.collect::<Result<_, _>>()?,
            lr: scalar()?,
            ema_weight: scalar()?,
        };
        // Gradients are to be allocated by the recording.
        self.zero_grad()?;
        let graph = match device.is_cuda() {
            true => Some(Graph::record(|| {
                self.whole_step(images, &memory, criterion)
            })?),
            false => None,
        };
        Ok(CapturedStep {
            graph,
            memory,
            loss,
        })
    }

    /// A step from the uploaded batch to the new weights, without anything on the host that differs between steps.
    fn whole_step(
        &mut self,
        images: &UploadedImages,
        memory: &Memory,
        criterion: &TrainingLoss,
    ) -> Result<(), StepError> {
        self.zero_grad()?;
        let inputs = images.inputs_of(&memory.batch)?;
        self.accumulate(inputs, criterion, 1.0, true)?;
        self.step_on_device(&memory.lr, &memory.ema_weight)?;
        Ok(())
    }
}
