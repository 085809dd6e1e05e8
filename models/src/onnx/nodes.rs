//! The nodes of a network in ONNX.
//!
//! Where ONNX offers a choice, nodes are chosen that every engine in the tests computes correctly. OpenCV's
//! engine reads numbers from initializers but not from `Constant`, lacks `count_include_pad` of
//! `AveragePool`, treats every product with a `HardSigmoid` as a `HardSwish`, and cannot `Expand` to a
//! dynamic batch.

use topk_onnx::proto::AttributeProto;
use topk_onnx::{GraphBuilder, attribute};

use super::activation::add_activation;
use super::attention::add_attention;
use super::names::{INPUT, LOGITS};
use crate::architecture::Architecture;
use crate::op::{Node, Op, Pool};

/// Adds the network from [`INPUT`] to [`LOGITS`]. Values are named after the modules that compute them.
pub(super) fn add_nodes(graph: &mut GraphBuilder, architecture: &Architecture) {
    // Operations that only matter in training add no node: their value is their input.
    let mut names = vec![INPUT];
    let last = architecture.nodes().len() - 1;
    for (i, node) in architecture.nodes().iter().enumerate() {
        let inputs: Vec<&str> = node.inputs.iter().map(|v| names[v.index()]).collect();
        if let Op::Dropout { .. } | Op::StochasticDepth { .. } = node.op {
            names.push(inputs[0]);
            continue;
        }
        let name = if i == last { LOGITS } else { &node.name };
        let mut lowering = Lowering {
            graph,
            node,
            name,
            inputs: &inputs,
        };
        lowering.add();
        names.push(name);
    }
}

/// One operation of a network on its way into a graph.
struct Lowering<'a> {
    graph: &'a mut GraphBuilder,
    node: &'a Node,
    /// Name of the value it computes.
    name: &'a str,
    /// Names of the values it reads.
    inputs: &'a [&'a str],
}

impl Lowering<'_> {
    fn add(&mut self) {
        let (name, x) = (self.name, self.inputs[0]);
        match &self.node.op {
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
                self.with_parameters("Conv", attributes);
            }
            Op::BatchNorm2d { settings, .. } => {
                let eps = attribute::float("epsilon", settings.eps as f32);
                self.with_parameters("BatchNormalization", vec![eps]);
            }
            &Op::LayerNorm { eps, .. } => {
                let eps = attribute::float("epsilon", eps as f32);
                self.with_parameters("LayerNormalization", vec![attribute::int("axis", -1), eps]);
            }
            Op::Activation(activation) => add_activation(self.graph, *activation, name, x),
            Op::MaxPool2d(pool) => self.plain("MaxPool", windows(pool)),
            Op::AvgPool2d(pool) if pool.padding > 0 => self.padded_avg_pool(pool),
            Op::AvgPool2d(pool) => self.plain("AveragePool", windows(pool)),
            Op::AdaptiveAvgPool2d { to: [1, 1], .. } => self.plain("GlobalAveragePool", vec![]),
            &Op::AdaptiveAvgPool2d { from, to } => self.adaptive_avg_pool(from, to),
            Op::Flatten(1) => self.plain("Flatten", vec![attribute::int("axis", 1)]),
            &Op::Flatten(start) => {
                // A 0 in a shape keeps that dimension.
                let mut shape = vec![0; start];
                shape.push(-1);
                add_reshape(self.graph, name, x, &shape);
            }
            Op::Permute(dims) => self.plain("Transpose", vec![ints("perm", dims)]),
            Op::Linear { .. } if self.node.shape.len() == 1 => {
                self.with_parameters("Gemm", vec![attribute::int("transB", 1)]);
            }
            Op::Linear { .. } => {
                let [weight, bias] = ["weight", "bias"].map(|of| self.node.parameter(of));
                add_linear(self.graph, name, x, &weight, &bias);
            }
            Op::Dropout { .. } | Op::StochasticDepth { .. } => {
                unreachable!("operations that only matter in training are skipped")
            }
            Op::Add => self.plain("Add", vec![]),
            Op::Mul => self.plain("Mul", vec![]),
            Op::Concat => self.plain("Concat", vec![attribute::int("axis", 1)]),
            Op::LayerScale { .. } => self.with_parameters("Mul", vec![]),
            Op::ClassToken { parameter, .. } => self.class_token(parameter),
            Op::PositionEmbedding { .. } => self.with_parameters("Add", vec![]),
            &Op::MultiheadAttention { features, heads } => {
                add_attention(self.graph, self.node, name, x, features, heads);
            }
            Op::FirstToken => self.first_token(),
        }
    }

    /// A single node that reads the inputs.
    fn plain(&mut self, op_type: &str, attributes: Vec<AttributeProto>) {
        self.graph.node(op_type, self.name, self.inputs, attributes);
    }

    /// A single node that reads the inputs and all parameters.
    fn with_parameters(&mut self, op_type: &str, attributes: Vec<AttributeProto>) {
        let parameters = self.node.parameters();
        let parameters = parameters.iter().map(|parameter| parameter.name.as_str());
        let inputs: Vec<&str> = self.inputs.iter().copied().chain(parameters).collect();
        self.graph.node(op_type, self.name, &inputs, attributes);
    }

    /// Name of an intermediate value or a constant.
    fn part(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    /// PyTorch includes the padding zeros in the average, so they are added as a node of their own.
    fn padded_avg_pool(&mut self, pool: &Pool) {
        let [padded, pads] = ["padded", "pads"].map(|part| self.part(part));
        let side = pool.padding as i64;
        self.graph
            .integers(&pads, &[8], &[0, 0, side, side, 0, 0, side, side]);
        self.graph
            .node("Pad", &padded, &[self.inputs[0], &pads], []);
        let inside = Pool {
            padding: 0,
            ..*pool
        };
        self.graph
            .node("AveragePool", self.name, &[&padded], windows(&inside));
    }

    /// ONNX has no such operator. Averages are linear, and rows and columns are independent, so two matrix
    /// products compute it.
    fn adaptive_avg_pool(&mut self, from: [usize; 2], to: [usize; 2]) {
        let [rows, columns, by_rows] = ["rows", "columns", "by_rows"].map(|part| self.part(part));
        let ([height, width], [to_height, to_width]) = (from, to);
        let over_rows = pooling_matrix(height, to_height);
        self.graph
            .initializer(&rows, &[to_height, height], &over_rows.concat());
        let over_columns = transposed(pooling_matrix(width, to_width));
        self.graph
            .initializer(&columns, &[width, to_width], &over_columns.concat());
        self.graph
            .node("MatMul", &by_rows, &[&rows, self.inputs[0]], []);
        self.graph
            .node("MatMul", self.name, &[&by_rows, &columns], []);
    }

    /// Prepends a token of zeros to the others, then adds the parameter to it.
    fn class_token(&mut self, parameter: &str) {
        let [pads, padded, first, token] =
            ["pads", "padded", "first", "token"].map(|part| self.part(part));
        let tokens = self.node.shape[0];
        self.graph.integers(&pads, &[6], &[0, 1, 0, 0, 0, 0]);
        self.graph
            .node("Pad", &padded, &[self.inputs[0], &pads], []);
        let mut is_first = vec![0.0; tokens];
        is_first[0] = 1.0;
        self.graph.initializer(&first, &[1, tokens, 1], &is_first);
        self.graph.node("Mul", &token, &[parameter, &first], []);
        self.graph.node("Add", self.name, &[&padded, &token], []);
    }

    fn first_token(&mut self) {
        let index = self.part("index");
        self.graph.integers(&index, &[], &[0]);
        let axis = attribute::int("axis", 1);
        self.graph
            .node("Gather", self.name, &[self.inputs[0], &index], [axis]);
    }
}

/// PyTorch's `linear` for inputs of more than two dimensions, which `Gemm` does not accept.
pub(super) fn add_linear(graph: &mut GraphBuilder, name: &str, x: &str, weight: &str, bias: &str) {
    let (transposed, product) = (format!("{name}.transposed"), format!("{name}.product"));
    let swap = ints("perm", &[1, 0]);
    graph.node("Transpose", &transposed, &[weight], [swap]);
    graph.node("MatMul", &product, &[x, &transposed], []);
    graph.node("Add", name, &[&product, bias], []);
}

pub(super) fn add_reshape(graph: &mut GraphBuilder, name: &str, x: &str, shape: &[i64]) {
    let dims = format!("{name}.shape");
    graph.integers(&dims, &[shape.len()], shape);
    graph.node("Reshape", name, &[x, &dims], []);
}

/// The matrix `[to, from]` that averages a side of `from` elements adaptively down (or up) to `to`.
fn pooling_matrix(from: usize, to: usize) -> Vec<Vec<f32>> {
    (0..to)
        .map(|i| {
            let (start, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
            let weight = 1.0 / (end - start) as f32;
            let inside = |j| (start..end).contains(&j);
            (0..from)
                .map(|j| if inside(j) { weight } else { 0.0 })
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

pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    attribute::ints(name, values)
}
