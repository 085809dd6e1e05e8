use std::collections::{BTreeMap, HashMap};

use tch::nn::{Path, VarStore, init};
use tch::{Device, Tensor, no_grad};
use thiserror::Error;
use topk_models::op::{Init, Parameter, Value};
use topk_models::{Architecture, Checkpoint};
use topk_onnx::ModelCard;
use topk_weights::{Dtype, Tensor as Weight};

use crate::compute::Operation;
use crate::plan::{in_place, last_uses};
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
    /// For each node, the values that no later node reads.
    last_uses: Vec<Vec<Value>>,
    /// For each node, whether it may overwrite its input.
    in_place: Vec<bool>,
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

    /// A network with the weights of a checkpoint. Moves them one by one, so that at no time all weights
    /// are in memory twice. Uses no random numbers.
    pub fn of_checkpoint(checkpoint: Checkpoint, device: Device) -> Self {
        let architecture = checkpoint.architecture().clone();
        let mut weights = checkpoint.into_weights();
        Self::build(architecture, device, |parameter, path, name| {
            let mut tensor = variable(parameter, path, name, init::Init::Const(0.0));
            let weight = weights.remove(&parameter.name);
            let weight = weight.expect("a checkpoint has the weights of its architecture");
            no_grad(|| tensor.copy_(&tensor_of(&weight)));
            tensor
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
            last_uses: last_uses(&architecture),
            in_place: in_place(&architecture),
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
        let nodes = self.architecture.nodes();
        // By index of value; `None` once no later node reads it.
        let mut values = vec![Some(images.shallow_clone())];
        for ((node, last_uses), &in_place) in nodes.iter().zip(&self.last_uses).zip(&self.in_place)
        {
            let result = {
                let read = |value: &Value| values[value.index()].as_ref();
                let inputs: Vec<&Tensor> = node.inputs.iter().filter_map(read).collect();
                let operation = Operation {
                    node,
                    tensors: &self.tensors,
                    mode,
                    in_place,
                    sync_batch_norm: self.sync_batch_norm.as_deref(),
                };
                operation.compute(&inputs)
            };
            values.push(Some(result));
            for value in last_uses {
                values[value.index()] = None;
            }
        }
        let scores = values.pop().flatten();
        scores.expect("the last node computes the scores, which no node reads")
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
        checkpoint(card, self.architecture.clone(), self.weights())
    }

    /// A checkpoint with the weights of a network that is no longer needed. Moves them one by one, so that
    /// at no time all weights are in memory twice.
    pub fn into_checkpoint(self, card: ModelCard) -> Checkpoint {
        let Self {
            architecture,
            variables,
            tensors,
            ..
        } = self;
        // It shares the tensors, which would therefore outlive the loop below.
        drop(variables);
        let weights = tensors.into_iter();
        let weights = weights
            .map(|(name, tensor)| (name, weight_of(&tensor)))
            .collect();
        checkpoint(card, architecture, weights)
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

fn checkpoint(
    card: ModelCard,
    architecture: Architecture,
    weights: BTreeMap<String, Weight>,
) -> Checkpoint {
    let checkpoint = Checkpoint::of_network(card, architecture, weights);
    checkpoint.expect("a network has the tensors of its architecture")
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
