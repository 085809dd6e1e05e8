//! Activations as ONNX nodes.

use topk_onnx::GraphBuilder;

use crate::op::Activation;

/// Adds the value `name`, the activation of the value `x`.
pub(super) fn add_activation(
    graph: &mut GraphBuilder,
    activation: Activation,
    name: &str,
    x: &str,
) {
    let part = |part| format!("{name}.{part}");
    let number = |graph: &mut GraphBuilder, name: &str, value: f32| {
        graph.initializer(name, &[], &[value]);
    };
    match activation {
        Activation::Relu => graph.node("Relu", name, &[x], []),
        Activation::Relu6 => {
            let [low, high] = ["low", "high"].map(part);
            number(graph, &low, 0.0);
            number(graph, &high, 6.0);
            graph.node("Clip", name, &[x, &low, &high], []);
        }
        Activation::Silu => {
            let sigmoid = part("sigmoid");
            graph.node("Sigmoid", &sigmoid, &[x], []);
            graph.node("Mul", name, &[x, &sigmoid], []);
        }
        Activation::Hardswish => graph.node("HardSwish", name, &[x], []),
        // PyTorch's definition: relu6(x + 3) / 6.
        Activation::Hardsigmoid => {
            let [three, low, high] = ["three", "low", "high"].map(part);
            number(graph, &three, 3.0);
            number(graph, &low, 0.0);
            number(graph, &high, 6.0);
            let [sum, clipped] = ["sum", "clipped"].map(part);
            graph.node("Add", &sum, &[x, &three], []);
            graph.node("Clip", &clipped, &[&sum, &low, &high], []);
            graph.node("Div", name, &[&clipped, &high], []);
        }
        Activation::Sigmoid => graph.node("Sigmoid", name, &[x], []),
        // Opset 17 has no Gelu: x / 2 · (1 + erf(x / √2)).
        Activation::Gelu => {
            let [root, one, half] = ["root", "one", "half"].map(part);
            number(graph, &root, std::f32::consts::SQRT_2);
            number(graph, &one, 1.0);
            number(graph, &half, 0.5);
            let [scaled, erf, sum, product] = ["scaled", "erf", "sum", "product"].map(part);
            graph.node("Div", &scaled, &[x, &root], []);
            graph.node("Erf", &erf, &[&scaled], []);
            graph.node("Add", &sum, &[&erf, &one], []);
            graph.node("Mul", &product, &[x, &sum], []);
            graph.node("Mul", name, &[&product, &half], []);
        }
    }
}
