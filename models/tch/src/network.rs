use std::collections::{BTreeMap, HashMap};

use tch::nn::{Path, VarStore, init};
use tch::{Device, Tensor, no_grad};
use thiserror::Error;
use topk_models::op::{Init, Parameter};
use topk_models::{Architecture, Checkpoint};
use topk_onnx::ModelCard;
use topk_weights::{Dtype, Tensor as Weight};

use crate::plan::Plan;
use crate::sync_batch_norm::SyncBatchNorm;
use crate::tensor::{tensor_of, weight_of};

/// What a network is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Training: batch norm uses the statistics of the batch and updates the running statistics, unless its weight
    /// does not require gradients; dropout
    /// and stochastic depth draw from libtorch's generator.
    Train,
    /// Evaluation: batch norm uses the running statistics; nothing is random.
    Eval,
}

/// A network in libtorch, built from an [`Architecture`].
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    variables: VarStore,
    tensors: BTreeMap<String, Tensor>,
    plan: Plan,
    sync_batch_norm: Option<Box<dyn SyncBatchNorm>>,
}

/// A tensor is not a parameter of the network.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{architecture} has no parameter {name} of shape {shape:?} and type {dtype}")]
pub struct LoadError {
    architecture: String,
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Network {
    /// A network with initial weights, drawn from libtorch's generator (`tch::manual_seed`).
    pub fn new(architecture: Architecture, device: Device) -> Self {
        Self::build(architecture, device, |parameter, path, name| {
            let init = match parameter.init {
                Init::Constant(value) => init::Init::Const(value),
                Init::Normal { std } => init::Init::Randn {
                    mean: 0.0,
                    stdev: std,
                },
                Init::Uniform { bound } => init::Init::Uniform {
                    lo: -bound,
                    up: bound,
                },
            };
            variable(parameter, path, name, init)
        })
    }

    fn build(
        architecture: Architecture,
        device: Device,
        mut variable: impl FnMut(&Parameter, &Path, &str) -> Tensor,
    ) -> Self {
        let variables = VarStore::new(device);
        let mut tensors = BTreeMap::new();
        for parameter in architecture.parameters() {
            let mut names: Vec<&str> = parameter.name.split('.').collect();
            let last = names.pop().expect("a name is not empty");
            let path = names
                .iter()
                .fold(variables.root(), |path, name| path.sub(*name));
            let tensor = variable(&parameter, &path, last);
            tensors.insert(parameter.name, tensor);
        }
        Self {
            plan: Plan::new(&architecture),
            architecture,
            variables,
            tensors,
            sync_batch_norm: None,
        }
    }

    /// From now on, batch normalisation in [`Mode::Train`] is computed by `sync`.
    pub fn synchronize_batch_norm(&mut self, sync: Box<dyn SyncBatchNorm>) {
        self.sync_batch_norm = Some(sync);
    }

    /// The architecture that the network was built from.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The variables, for an optimizer.
    pub fn variables(&self) -> &VarStore {
        &self.variables
    }

    /// The parameters and statistics themselves, by name. Trainable ones require gradients.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Scores `[N, classes]` of normalised images `[N, C, H, W]`.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        let sync = self.sync_batch_norm.as_deref();
        self.plan
            .scores(&self.architecture, &self.tensors, images, mode, sync)
    }

    /// A copy of the parameters and statistics, by name.
    pub fn weights(&self) -> BTreeMap<String, Weight> {
        let weights = self.tensors.iter();
        weights
            .map(|(name, tensor)| (name.clone(), weight_of(tensor)))
            .collect()
    }

    /// A checkpoint with a copy of the current weights.
    pub fn checkpoint(&self, card: ModelCard) -> Checkpoint {
        let checkpoint = Checkpoint::of_network(card, self.architecture.clone(), self.weights());
        checkpoint.expect("a network has the tensors of its architecture")
    }

    /// Copies weights into the network, by name, such as those of [`Architecture::matched`]. Parameters
    /// that are not among them keep their values.
    ///
    /// # Errors
    /// If one is not a parameter of this network, or has another shape or type; the network is then
    /// unchanged.
    pub fn load(&mut self, weights: &BTreeMap<String, Weight>) -> Result<(), LoadError> {
        let shapes: HashMap<_, _> = self.architecture.parameter_shapes().into_iter().collect();
        for (name, weight) in weights {
            let shape = shapes.get(name);
            if shape.is_none_or(|shape| shape != weight.shape()) || weight.dtype() != Dtype::F32 {
                return Err(LoadError {
                    architecture: self.architecture.name().to_owned(),
                    name: name.clone(),
                    shape: weight.shape().to_vec(),
                    dtype: weight.dtype(),
                });
            }
        }
        no_grad(|| {
            for (name, weight) in weights {
                self.tensors[name].shallow_clone().copy_(&tensor_of(weight));
            }
        });
        Ok(())
    }
}

/// A new variable, trainable if its parameter is.
fn variable(parameter: &Parameter, path: &Path, name: &str, init: init::Init) -> Tensor {
    let shape: Vec<i64> = parameter.shape.iter().map(|&dim| dim as i64).collect();
    if parameter.trainable {
        return path.var(name, &shape, init);
    }
    let tensor = path.zeros_no_train(name, &shape);
    no_grad(|| tensor.shallow_clone().init(init));
    tensor
}
