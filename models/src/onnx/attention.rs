//! Multi-head attention as ONNX nodes.

use topk_onnx::proto::NodeProto;
use topk_onnx::{GraphBuilder, attribute};

use super::nodes::{add_linear, add_reshape, ints};
use crate::op::Node;

/// Adds multi-head self-attention of tokens `[N, tokens, features]`.
pub(super) fn add_attention(
    graph: &mut GraphBuilder,
    node: &Node,
    name: &str,
    x: &str,
    features: usize,
    heads: usize,
) {
    let part = |part: &str| format!("{name}.{part}");
    let projected = part("projected");
    let (weight, bias) = (
        node.parameter("in_proj_weight"),
        node.parameter("in_proj_bias"),
    );
    add_linear(graph, &projected, x, &weight, &bias);
    let flat = ["query", "key", "value"].map(|of| part(&format!("flat_{of}")));
    let sizes = part("sizes");
    graph.integers(&sizes, &[3], &[features as i64; 3]);
    let split = NodeProto::new(
        "Split",
        &[&projected, &sizes],
        &flat.each_ref().map(String::as_str),
        [attribute::int("axis", 2)],
    );
    graph.nodes([split]);
    // [N, heads, tokens, size], and the keys transposed.
    let size = features / heads;
    let orders = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]];
    let per_head = ["query", "key", "value"].map(part);
    for ((flat, made), order) in flat.iter().zip(&per_head).zip(&orders) {
        let reshaped = format!("{flat}_heads");
        add_reshape(graph, &reshaped, flat, &[0, 0, heads as i64, size as i64]);
        graph.node("Transpose", made, &[&reshaped], [ints("perm", order)]);
    }
    let [query, key, value] = &per_head;
    let [scale, scaled, scores, weights] = ["scale", "scaled", "scores", "weights"].map(part);
    graph.initializer(&scale, &[], &[1.0 / (size as f32).sqrt()]);
    graph.node("Mul", &scaled, &[query, &scale], []);
    graph.node("MatMul", &scores, &[&scaled, key], []);
    let axis = attribute::int("axis", -1);
    graph.node("Softmax", &weights, &[&scores], [axis]);
    let [mixed, swapped, merged] = ["mixed", "swapped", "merged"].map(part);
    graph.node("MatMul", &mixed, &[&weights, value], []);
    let order = ints("perm", &[0, 2, 1, 3]);
    graph.node("Transpose", &swapped, &[&mixed], [order]);
    add_reshape(graph, &merged, &swapped, &[0, 0, features as i64]);
    let (weight, bias) = (
        node.parameter("out_proj.weight"),
        node.parameter("out_proj.bias"),
    );
    add_linear(graph, name, &merged, &weight, &bias);
}
