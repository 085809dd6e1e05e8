//! The nodes of networks in ONNX: what each operation becomes.
//!
//! Where there is a choice, the nodes are such that all engines of the tests compute them alike. OpenCV's
//! takes numbers as initializers, not from `Constant`; it has no `count_include_pad` of `AveragePool`,
//! takes every product with a `HardSigmoid` for a `HardSwish`, and does not `Expand` to a dynamic batch.

use topk_onnx::proto::{AttributeProto, NodeProto};
use topk_onnx::{GraphBuilder, attribute};

use crate::architecture::Architecture;
use crate::export::{INPUT, LOGITS};
use crate::op::{Activation, Node, Op, Pool};

/// Adds the network from [`INPUT`] to [`LOGITS`]. Values are named after the modules that make them.
pub(crate) fn add_nodes(graph: &mut GraphBuilder, architecture: &Architecture) {
    // What training alone needs makes no node: its value is the one it reads.
    let mut names = vec![INPUT];
    let last = architecture.nodes().len() - 1;
    for (i, node) in architecture.nodes().iter().enumerate() {
        let inputs: Vec<&str> = node.inputs.iter().map(|v| names[v.place()]).collect();
        if let Op::Dropout { .. } | Op::StochasticDepth { .. } = node.op {
            names.push(inputs[0]);
            continue;
        }
        let name = if i == last { LOGITS } else { &node.name };
        add_node(graph, node, name, &inputs);
        names.push(name);
    }
}

/// Adds what computes the value `name` of a node from `inputs`.
fn add_node(graph: &mut GraphBuilder, node: &Node, name: &str, inputs: &[&str]) {
    let simple = |graph: &mut GraphBuilder, op_type, attributes: Vec<AttributeProto>| {
        graph.node(op_type, name, inputs, attributes);
    };
    let with_parameters = |graph: &mut GraphBuilder, op_type, attributes: Vec<AttributeProto>| {
        let parameters = node.parameters();
        let parameters = parameters.iter().map(|parameter| parameter.name.as_str());
        let inputs: Vec<&str> = inputs.iter().copied().chain(parameters).collect();
        graph.node(op_type, name, &inputs, attributes);
    };
    match &node.op {
        &Op::Conv2d {
            kernel,
            stride,
            pads,
            groups,
            ..
        } => {
            let attributes = vec![
                ints("kernel_shape", &kernel),
                ints("strides", &[stride; 2]),
                ints("pads", &pads),
                attribute::int("group", groups as i64),
            ];
            with_parameters(graph, "Conv", attributes);
        }
        Op::BatchNorm2d { settings, .. } => {
            let eps = attribute::float("epsilon", settings.eps as f32);
            with_parameters(graph, "BatchNormalization", vec![eps]);
        }
        &Op::LayerNorm { eps, .. } => {
            let eps = attribute::float("epsilon", eps as f32);
            let attributes = vec![attribute::int("axis", -1), eps];
            with_parameters(graph, "LayerNormalization", attributes);
        }
        Op::Activation(activation) => add_activation(graph, *activation, name, inputs[0]),
        Op::MaxPool2d(pool) => simple(graph, "MaxPool", windows(pool)),
        Op::AvgPool2d(pool) if pool.padding > 0 => {
            // The zeros count in PyTorch's averages.
            let (padded, pads) = (format!("{name}.padded"), format!("{name}.pads"));
            let side = pool.padding as i64;
            graph.integers(&pads, &[8], &[0, 0, side, side, 0, 0, side, side]);
            graph.node("Pad", &padded, &[inputs[0], &pads], []);
            let inside = Pool {
                padding: 0,
                ..*pool
            };
            graph.node("AveragePool", name, &[&padded], windows(&inside));
        }
        Op::AvgPool2d(pool) => simple(graph, "AveragePool", windows(pool)),
        Op::AdaptiveAvgPool2d { to: [1, 1], .. } => simple(graph, "GlobalAveragePool", vec![]),
        &Op::AdaptiveAvgPool2d { from, to } => {
            // ONNX has no such operator; averages are linear, and those of rows and columns independent.
            let (rows, columns) = (format!("{name}.rows"), format!("{name}.columns"));
            let by_rows = format!("{name}.by_rows");
            let ([height, width], [to_height, to_width]) = (from, to);
            let shares = shares(height, to_height);
            graph.initializer(&rows, &[to_height, height], &shares.concat());
            let transposed = transposed(self::shares(width, to_width));
            graph.initializer(&columns, &[width, to_width], &transposed.concat());
            graph.node("MatMul", &by_rows, &[&rows, inputs[0]], []);
            graph.node("MatMul", name, &[&by_rows, &columns], []);
        }
        Op::Flatten(1) => simple(graph, "Flatten", vec![attribute::int("axis", 1)]),
        &Op::Flatten(start) => {
            // Zeros keep a dimension.
            let mut shape = vec![0; start];
            shape.push(-1);
            add_reshape(graph, name, inputs[0], &shape);
        }
        Op::Permute(dims) => simple(graph, "Transpose", vec![ints("perm", dims)]),
        Op::Linear { .. } if node.shape.len() == 1 => {
            with_parameters(graph, "Gemm", vec![attribute::int("transB", 1)]);
        }
        Op::Linear { .. } => {
            let (weight, bias) = (node.parameter("weight"), node.parameter("bias"));
            add_linear(graph, name, inputs[0], &weight, &bias);
        }
        Op::Dropout { .. } | Op::StochasticDepth { .. } => {
            unreachable!("what only training needs has been left out")
        }
        Op::Add => simple(graph, "Add", vec![]),
        Op::Mul => simple(graph, "Mul", vec![]),
        Op::Concat => simple(graph, "Concat", vec![attribute::int("axis", 1)]),
        Op::LayerScale { .. } => with_parameters(graph, "Mul", vec![]),
        Op::ClassToken { parameter, .. } => {
            // Zeros before the other tokens, and the parameter in their place.
            let part = |part| format!("{name}.{part}");
            let [pads, padded, first, token] = ["pads", "padded", "first", "token"].map(part);
            let tokens = node.shape[0];
            graph.integers(&pads, &[6], &[0, 1, 0, 0, 0, 0]);
            graph.node("Pad", &padded, &[inputs[0], &pads], []);
            let mut is_first = vec![0.0; tokens];
            is_first[0] = 1.0;
            graph.initializer(&first, &[1, tokens, 1], &is_first);
            graph.node("Mul", &token, &[parameter, &first], []);
            graph.node("Add", name, &[&padded, &token], []);
        }
        Op::PositionEmbedding { .. } => with_parameters(graph, "Add", vec![]),
        &Op::MultiheadAttention { features, heads } => {
            add_attention(graph, node, name, inputs[0], features, heads);
        }
        Op::FirstToken => {
            let index = format!("{name}.index");
            graph.integers(&index, &[], &[0]);
            let axis = attribute::int("axis", 1);
            graph.node("Gather", name, &[inputs[0], &index], [axis]);
        }
    }
}

fn add_activation(graph: &mut GraphBuilder, activation: Activation, name: &str, x: &str) {
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
        // Operator set 17 has no Gelu: x / 2 · (1 + erf(x / √2)).
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

/// PyTorch's `linear` of more than two dimensions, which Gemm does not take.
fn add_linear(graph: &mut GraphBuilder, name: &str, x: &str, weight: &str, bias: &str) {
    let (transposed, product) = (format!("{name}.transposed"), format!("{name}.product"));
    let swap = ints("perm", &[1, 0]);
    graph.node("Transpose", &transposed, &[weight], [swap]);
    graph.node("MatMul", &product, &[x, &transposed], []);
    graph.node("Add", name, &[&product, bias], []);
}

/// Multi-head attention of tokens `[N, tokens, features]` to themselves.
fn add_attention(
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
    let of_heads = ["query", "key", "value"].map(part);
    for ((flat, made), order) in flat.iter().zip(&of_heads).zip(&orders) {
        let reshaped = format!("{flat}_heads");
        add_reshape(graph, &reshaped, flat, &[0, 0, heads as i64, size as i64]);
        graph.node("Transpose", made, &[&reshaped], [ints("perm", order)]);
    }
    let [query, key, value] = &of_heads;
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

fn add_reshape(graph: &mut GraphBuilder, name: &str, x: &str, shape: &[i64]) {
    let dims = format!("{name}.shape");
    graph.integers(&dims, &[shape.len()], shape);
    graph.node("Reshape", name, &[x, &dims], []);
}

/// For each of `to` adaptive averages over a side of `from` elements, the share of each element.
fn shares(from: usize, to: usize) -> Vec<Vec<f32>> {
    (0..to)
        .map(|i| {
            let (start, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
            let share = 1.0 / (end - start) as f32;
            (0..from)
                .map(|j| {
                    if (start..end).contains(&j) {
                        share
                    } else {
                        0.0
                    }
                })
                .collect()
        })
        .collect()
}

fn transposed(rows: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    (0..rows[0].len())
        .map(|j| rows.iter().map(|row| row[j]).collect())
        .collect()
}

fn windows(pool: &Pool) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", &[pool.kernel; 2]),
        ints("strides", &[pool.stride; 2]),
        ints("pads", &[pool.padding; 4]),
        attribute::int("ceil_mode", pool.ceil.into()),
    ]
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    attribute::ints(name, values)
}
