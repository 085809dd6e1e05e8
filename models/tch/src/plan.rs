//! The forward pass.

use std::collections::BTreeMap;

use tch::Tensor;
use topk_models::Architecture;
use topk_models::op::{Op, Value};

use crate::compute::Operation;
use crate::network::Mode;
use crate::sync_batch_norm::SyncBatchNorm;

/// What a forward pass may free and overwrite, worked out once per network.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each node, the values that no later node reads.
    last_uses: Vec<Vec<Value>>,
    /// For each node, whether it may overwrite its input.
    in_place: Vec<bool>,
}

impl Plan {
    pub(crate) fn new(architecture: &Architecture) -> Self {
        Self {
            last_uses: last_uses(architecture),
            in_place: in_place(architecture),
        }
    }

    /// Scores `[N, classes]` of normalised images `[N, C, H, W]`, with these parameters and statistics.
    pub(crate) fn scores(
        &self,
        architecture: &Architecture,
        tensors: &BTreeMap<String, Tensor>,
        images: &Tensor,
        mode: Mode,
        sync_batch_norm: Option<&dyn SyncBatchNorm>,
    ) -> Tensor {
        let nodes = architecture.nodes();
        // By index of value; `None` once no later node reads it.
        let mut values = vec![Some(images.shallow_clone())];
        for ((node, last_uses), &in_place) in nodes.iter().zip(&self.last_uses).zip(&self.in_place)
        {
            let result = {
                let read = |value: &Value| values[value.index()].as_ref();
                let inputs: Vec<&Tensor> = node.inputs.iter().filter_map(read).collect();
                let operation = Operation {
                    node,
                    tensors,
                    mode,
                    in_place,
                    sync_batch_norm,
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
}

/// For each node, the values that no later node reads.
fn last_uses(architecture: &Architecture) -> Vec<Vec<Value>> {
    let mut seen = vec![false; architecture.nodes().len() + 1];
    let mut last_uses: Vec<Vec<Value>> = architecture
        .nodes()
        .iter()
        .rev()
        .map(|node| {
            let inputs = node.inputs.iter().copied();
            inputs
                .filter(|value| !std::mem::replace(&mut seen[value.index()], true))
                .collect()
        })
        .collect();
    last_uses.reverse();
    last_uses
}

/// For each node, whether it may overwrite its input: no other node reads it, and the node that computed it
/// does not need it for its gradient. This saves the memory of one value, and the time the system takes to
/// clear that memory.
fn in_place(architecture: &Architecture) -> Vec<bool> {
    let nodes = architecture.nodes();
    let mut readers = vec![0; nodes.len() + 1];
    let mut unused_by_gradient = vec![false; nodes.len() + 1];
    for (index, node) in nodes.iter().enumerate() {
        for value in &node.inputs {
            readers[value.index()] += 1;
        }
        unused_by_gradient[Value::of_node(index).index()] = matches!(
            node.op,
            Op::Conv2d { .. } | Op::BatchNorm2d { .. } | Op::Linear { .. } | Op::Add
        );
    }
    let may = |value: Value| readers[value.index()] == 1 && unused_by_gradient[value.index()];
    nodes.iter().map(|node| may(node.inputs[0])).collect()
}
