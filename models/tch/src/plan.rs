//! What a forward pass may free and overwrite, worked out once per network.

use topk_models::Architecture;
use topk_models::op::{Op, Value};

/// For each node, the values that no later node reads.
pub(crate) fn last_uses(architecture: &Architecture) -> Vec<Vec<Value>> {
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
pub(crate) fn in_place(architecture: &Architecture) -> Vec<bool> {
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
