use std::collections::{HashMap, HashSet};
use std::mem;

use crate::proto::{DataType, GraphProto, NodeProto, TensorProto};

/// Default ε of `BatchNormalization`.
const DEFAULT_EPSILON: f32 = 1e-5;

/// Folds each `BatchNormalization` that follows a `Conv` into the weight and bias of the convolution, which
/// is valid for inference, and returns the number of nodes folded.
///
/// With γ, β, μ, σ² and ε of the batch norm, the weight of each channel is multiplied by γ/√(σ² + ε), and
/// the bias b becomes (b − μ) γ/√(σ² + ε) + β; both are computed in `f64`. A convolution is unchanged if its output
/// or weight has another use, or if a parameter is not an `f32` constant. The output of the batch norm keeps
/// its name. Unused constants are removed.
pub fn fold_batch_norm(graph: &mut GraphProto) -> usize {
    let uses = uses(graph);
    let producers: HashMap<String, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(i, node)| node.output.iter().map(move |name| (name.clone(), i)))
        .collect();
    let constants: HashMap<String, usize> = graph
        .initializer
        .iter()
        .enumerate()
        .filter(|(_, constant)| constant.data_type() == DataType::Float)
        .map(|(i, constant)| (constant.name.clone(), i))
        .collect();

    let mut folded = HashSet::new();
    for i in 0..graph.node.len() {
        let norm = &graph.node[i];
        let Some(&producer) = norm.input.first().and_then(|value| producers.get(value)) else {
            continue;
        };
        let conv = &graph.node[producer];
        let used_once = |value: &String| uses[value] == 1;
        if norm.op_type != "BatchNormalization"
            || conv.op_type != "Conv"
            || !(norm.domain.is_empty() && conv.domain.is_empty())
            || !(used_once(&conv.output[0]) && used_once(&conv.input[1]))
        {
            continue;
        }
        let constant = |name: &String| Some(graph.initializer[*constants.get(name)?].floats());
        let Some(channels) = Channels::new(conv, norm, constant) else {
            continue;
        };
        let Some(&weight) = constants.get(&conv.input[1]) else {
            continue;
        };

        let output = norm.output.clone();
        let weight = &mut graph.initializer[weight];
        let bias = channels.fold_into(weight);
        let conv = &mut graph.node[producer];
        conv.input.truncate(2);
        conv.input.push(bias.name.clone());
        conv.output = output;
        graph.initializer.push(bias);
        folded.insert(i);
    }

    let mut index = 0..;
    graph
        .node
        .retain(|_| !folded.contains(&index.next().expect("the range is unbounded")));
    let uses = self::uses(graph);
    graph
        .initializer
        .retain(|constant| uses.contains_key(&constant.name));
    folded.len()
}

/// How often each value is used, by nodes or as an output.
fn uses(graph: &GraphProto) -> HashMap<String, usize> {
    let inputs = graph.node.iter().flat_map(|node| &node.input);
    let outputs = graph.output.iter().map(|output| &output.name);
    let mut uses = HashMap::new();
    for name in inputs.chain(outputs) {
        *uses.entry(name.clone()).or_default() += 1;
    }
    uses
}

fn epsilon(norm: &NodeProto) -> f64 {
    let epsilon = norm.attribute.iter().find(|a| a.name == "epsilon");
    epsilon.and_then(|a| a.f).unwrap_or(DEFAULT_EPSILON).into()
}

/// The changes to each channel of a convolution.
struct Channels {
    /// Factor of its weights.
    factors: Vec<f64>,
    /// The new bias.
    bias: Vec<f32>,
}

impl Channels {
    /// `None` if a parameter is not a constant.
    fn new(
        conv: &NodeProto,
        norm: &NodeProto,
        constant: impl Fn(&String) -> Option<Vec<f32>>,
    ) -> Option<Self> {
        let [scale, shift, mean, variance] = &norm.input[1..] else {
            return None;
        };
        let (scale, shift) = (constant(scale)?, constant(shift)?);
        let (mean, variance) = (constant(mean)?, constant(variance)?);
        let epsilon = epsilon(norm);
        let factors: Vec<f64> = scale
            .iter()
            .zip(variance)
            .map(|(&scale, variance)| f64::from(scale) / (f64::from(variance) + epsilon).sqrt())
            .collect();
        let bias = match conv.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => constant(name)?,
            None => vec![0.0; factors.len()],
        };
        let bias = (0..factors.len()).map(|channel| {
            let centered = f64::from(bias[channel]) - f64::from(mean[channel]);
            (centered * factors[channel] + f64::from(shift[channel])) as f32
        });
        Some(Self {
            bias: bias.collect(),
            factors,
        })
    }

    /// Scales the weight, and returns the new bias.
    fn fold_into(self, weight: &mut TensorProto) -> TensorProto {
        let mut bytes = Vec::from(mem::take(&mut weight.raw_data));
        let (values, _) = bytes.as_chunks_mut();
        let channel = values.len() / self.factors.len();
        for (values, factor) in values.chunks_mut(channel).zip(self.factors) {
            for value in values {
                let scaled = f64::from(f32::from_le_bytes(*value)) * factor;
                *value = (scaled as f32).to_le_bytes();
            }
        }
        weight.raw_data = bytes.into();
        let name = format!("{}.folded_bias", weight.name);
        TensorProto::of_floats(&name, &[self.bias.len()], &self.bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, GraphBuilder, attribute, check, model};

    const NORM: [&str; 4] = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];

    /// A convolution of 1 × 1 from one channel to two, and a batch norm of ε = 0.
    fn graph(bias: bool) -> GraphBuilder {
        let dims = [
            Dim::Dynamic("batch"),
            Dim::Fixed(1),
            Dim::Fixed(3),
            Dim::Fixed(3),
        ];
        let mut graph = GraphBuilder::new("test");
        graph.input("x", DataType::Float, &dims, "");
        graph.initializer("conv.weight", &[2, 1, 1, 1], &[3.0, -1.0]);
        graph.initializer("conv.bias", &[2], &[1.0, 2.0]);
        for (name, values) in NORM
            .iter()
            .zip([[2.0, 1.0], [0.5, 0.0], [4.0, 1.0], [0.25, 1.0]])
        {
            graph.initializer(name, &[2], &values);
        }
        let inputs = ["x", "conv.weight", "conv.bias"];
        graph.node("Conv", "conv", &inputs[..2 + usize::from(bias)], []);
        graph
    }

    fn norm(graph: &mut GraphBuilder, value: &str) {
        let inputs: Vec<&str> = std::iter::once(value).chain(NORM).collect();
        let epsilon = attribute::float("epsilon", 0.0);
        graph.node("BatchNormalization", "bn", &inputs, [epsilon]);
        graph.output("bn", DataType::Float, &[], "");
    }

    fn constant(graph: &GraphProto, name: &str) -> Vec<f32> {
        let constant = graph.initializer.iter().find(|c| c.name == name).unwrap();
        constant.floats()
    }

    #[test]
    fn weight_and_bias_combine_both() {
        for (bias, expected) in [(false, [-15.5, -1.0]), (true, [-11.5, 1.0])] {
            let mut builder = graph(bias);
            norm(&mut builder, "conv");
            let mut graph = builder.finish();
            assert_eq!(fold_batch_norm(&mut graph), 1);
            assert_eq!(constant(&graph, "conv.weight"), [12.0, -1.0]);
            assert_eq!(constant(&graph, "conv.weight.folded_bias"), expected);
            assert_eq!(graph.node.len(), 1);
            assert_eq!(graph.node[0].output, ["bn"]);
            assert_eq!(graph.initializer.len(), 2);
            check(&model(graph, "", [])).unwrap();
        }
    }

    #[test]
    fn values_with_other_uses_are_kept() {
        let mut builder = graph(true);
        builder.node("Relu", "relu", &["conv"], []);
        builder.output("relu", DataType::Float, &[], "");
        norm(&mut builder, "conv");
        let mut used = builder.finish();
        let before = used.clone();
        assert_eq!(fold_batch_norm(&mut used), 0);
        assert_eq!(used, before);

        // The node before the batch norm is not a convolution.
        let mut builder = graph(true);
        builder.node("Relu", "relu", &["conv"], []);
        norm(&mut builder, "relu");
        assert_eq!(fold_batch_norm(&mut builder.finish()), 0);
    }
}
