use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::proto::{AttributeProto, ModelProto, NodeProto, TensorProto};
use crate::visit;

/// Operators whose results depend on more than the image that they are computed for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Behavior {
    /// Operators in training mode: dropout that drops, and batch normalisation with the statistics of the
    /// batch.
    pub training: Operators,
    /// Operators that draw random numbers.
    pub random: Operators,
    /// Operators that quantise with a scale computed from the whole batch.
    pub dynamic_quantization: Operators,
}

/// Number of nodes by operator. Displayed as `Dropout` or `2 BatchNormalization, 1 Dropout`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Operators(BTreeMap<String, usize>);

impl Operators {
    /// Whether no operator was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is among them.
    pub fn contains(&self, operator: &str) -> bool {
        self.0.contains_key(operator)
    }

    fn add(&mut self, node: &NodeProto) {
        *self.0.entry(node.op_type.clone()).or_default() += 1;
    }
}

impl fmt::Display for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.0.iter().map(|(name, count)| format!("{count} {name}"));
        let counted: Vec<String> = counted.collect();
        f.write_str(&counted.join(", "))
    }
}

/// Constants, and the nodes that compute other values, by name.
pub(crate) struct Values<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    pub(crate) nodes: HashMap<&'a str, &'a NodeProto>,
}

impl<'a> Values<'a> {
    pub(crate) fn of(model: &'a ModelProto) -> Self {
        let mut constants = HashMap::new();
        visit::tensors(model, &mut |tensor, _| {
            if !tensor.name.is_empty() {
                constants.insert(&*tensor.name, tensor);
            }
        });
        let mut nodes = HashMap::new();
        visit::nodes(model, &mut |node, _| {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                nodes.insert(&**output, node);
                if node.op_type == "Constant" {
                    let mut tensors = node.attribute.iter().filter_map(|value| value.t.as_ref());
                    constants.extend(tensors.next().map(|tensor| (&**output, tensor)));
                }
            }
        });
        Self { constants, nodes }
    }

    /// The constant that an input of a node is, also through casts.
    pub(crate) fn constant(&self, node: &NodeProto, input: usize) -> Option<&'a TensorProto> {
        let mut name = node.input.get(input)?.as_str();
        for _ in 0..8 {
            if let Some(constant) = self.constants.get(name) {
                return Some(constant);
            }
            let node = self.nodes.get(name)?;
            if ![
                "Identity",
                "Cast",
                "CastLike",
                "Reshape",
                "Unsqueeze",
                "Squeeze",
            ]
            .contains(&&*node.op_type)
            {
                return None;
            }
            name = node.input.first()?;
        }
        None
    }

    /// Whether an input of a node is computed when the model runs.
    fn is_computed(&self, node: &NodeProto, input: usize) -> bool {
        let computed = |name: &String| {
            let node = self.nodes.get(&**name);
            node.is_some_and(|node| node.op_type != "Constant")
        };
        node.input.get(input).is_some_and(computed) && self.constant(node, input).is_none()
    }

    /// The operator that computes an input of a node.
    pub(crate) fn operator(&self, node: &NodeProto, input: usize) -> Option<&'a NodeProto> {
        self.nodes.get(&**node.input.get(input)?).copied()
    }
}

impl Behavior {
    /// That of a model, which may lack its weights.
    pub fn of(model: &ModelProto) -> Self {
        let values = Values::of(model);
        let mut behavior = Self::default();
        visit::nodes(model, &mut |node, opset| {
            match &*node.op_type {
                "Dropout" if drops(node, opset, &values) => behavior.training.add(node),
                "BatchNormalization" if uses_batch(node, opset) => behavior.training.add(node),
                "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike"
                | "Bernoulli" | "Multinomial" => behavior.random.add(node),
                "DynamicQuantizeLinear" | "DynamicQuantizeMatMul" | "DynamicQuantizeLSTM" => {
                    behavior.dynamic_quantization.add(node);
                }
                "QuantizeLinear" if values.is_computed(node, 1) => {
                    behavior.dynamic_quantization.add(node);
                }
                // Quantised by other operators than `QuantizeLinear`.
                "MatMulInteger" | "ConvInteger" | "MatMulIntegerToFloat"
                    if values
                        .operator(node, 0)
                        .is_some_and(|before| before.op_type == "Cast") =>
                {
                    behavior.dynamic_quantization.add(node);
                }
                _ => {}
            }
        });
        behavior
    }
}

fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    let named = |attribute: &&AttributeProto| attribute.name == name;
    node.attribute.iter().find(named)?.i
}

/// Whether a `Dropout` node drops.
fn drops(node: &NodeProto, opset: i64, values: &Values) -> bool {
    match opset {
        // `is_test` is 0 by default.
        1..7 => integer(node, "is_test").unwrap_or(0) == 0,
        7..12 => false,
        _ => {
            let is_zero = |constant: &TensorProto| is_zero(constant) == Some(true);
            let training = values.constant(node, 2);
            training.is_some_and(|constant| !is_zero(constant))
                && !values.constant(node, 1).is_some_and(is_zero)
        }
    }
}

/// Whether a `BatchNormalization` node normalises with the statistics of the batch.
fn uses_batch(node: &NodeProto, opset: i64) -> bool {
    match opset {
        1..7 => integer(node, "is_test").unwrap_or(0) == 0,
        // The updated statistics are outputs in training mode alone.
        7..14 => node.output.iter().skip(1).any(|name| !name.is_empty()),
        _ => integer(node, "training_mode").unwrap_or(0) != 0,
    }
}

/// Whether a constant of one element is zero or false; `None` if it has another number of elements or is not in
/// the file.
fn is_zero(constant: &TensorProto) -> Option<bool> {
    if constant.dims.iter().any(|&dim| dim != 1) {
        return None;
    }
    let parts = [
        &constant.raw_data,
        &constant.float_data,
        &constant.int32_data,
    ];
    let bytes = parts.into_iter().find(|bytes| !bytes.is_empty())?;
    Some(bytes.iter().all(|&byte| byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::DataType;
    use crate::{GraphBuilder, attribute, model};

    fn of(opset: i64, build: impl FnOnce(&mut GraphBuilder)) -> Behavior {
        let mut graph = GraphBuilder::new("test");
        build(&mut graph);
        let mut model = model(graph.finish(), "", []);
        model.opset_import[0].version = opset;
        Behavior::of(&model)
    }

    fn boolean(name: &str, value: bool) -> TensorProto {
        TensorProto::new(name, DataType::Bool, &[], vec![value.into()])
    }

    /// As the Python package `onnx` writes it.
    fn boolean_as_integer(name: &str, value: bool) -> TensorProto {
        TensorProto {
            raw_data: Default::default(),
            int32_data: vec![u8::from(value)].into(),
            ..boolean(name, value)
        }
    }

    #[test]
    fn dropout_in_training_mode() {
        let with = |training: TensorProto, ratio: f32| {
            let found = of(17, |graph| {
                graph.initializer("ratio", &[], &[ratio]);
                graph.constant(training);
                graph.node("Dropout", "y", &["x", "ratio", "training"], []);
            });
            found.training.to_string()
        };
        assert_eq!(with(boolean("training", true), 0.5), "1 Dropout");
        assert_eq!(with(boolean_as_integer("training", true), 0.5), "1 Dropout");
        assert_eq!(with(boolean("training", false), 0.5), "");
        assert_eq!(with(boolean_as_integer("training", false), 0.5), "");
        assert_eq!(with(boolean("training", true), 0.0), "");
        let constant = of(13, |graph| {
            let value = attribute::tensor("value", boolean("", true));
            graph.node("Constant", "training", &[], [value]);
            graph.node("Identity", "same", &["training"], []);
            graph.node("Dropout", "y", &["x", "", "same"], []);
        });
        assert!(!constant.training.is_empty());
        for (opset, expected) in [(6, false), (7, true), (12, true)] {
            let found = of(opset, |graph| graph.node("Dropout", "y", &["x"], []));
            assert_eq!(found.training.is_empty(), expected, "{opset}");
        }
        let test = of(6, |graph| {
            graph.node("Dropout", "y", &["x"], [attribute::int("is_test", 1)]);
        });
        assert!(test.training.is_empty());
    }

    #[test]
    fn batch_normalization_in_training_mode() {
        let inputs = ["x", "scale", "bias", "mean", "var"];
        let with = |opset: i64, outputs: &[&str], mode: Option<i64>| {
            let mode = mode.map(|mode| attribute::int("training_mode", mode));
            let mode: Vec<_> = mode.into_iter().collect();
            let node = NodeProto::new("BatchNormalization", &inputs, outputs, mode);
            !of(opset, |graph| graph.nodes([node])).training.is_empty()
        };
        assert!(with(15, &["y", "mean2", "var2"], Some(1)));
        assert!(!with(15, &["y"], Some(0)));
        assert!(!with(15, &["y"], None));
        assert!(with(9, &["y", "m", "v", "sm", "sv"], None));
        assert!(!with(9, &["y"], None));
        assert!(with(6, &["y"], None));
    }

    #[test]
    fn dynamic_quantization() {
        let operators = |build: &dyn Fn(&mut GraphBuilder)| {
            of(17, |graph| build(graph))
                .dynamic_quantization
                .to_string()
        };
        let dynamic = operators(&|graph| {
            let outputs = ["q", "scale", "zero"];
            graph.nodes([NodeProto::new(
                "DynamicQuantizeLinear",
                &["x"],
                &outputs,
                [],
            )]);
            graph.node("MatMulInteger", "y", &["q", "w", "zero"], []);
        });
        assert_eq!(dynamic, "1 DynamicQuantizeLinear");
        let computed = operators(&|graph| {
            graph.node("ReduceMax", "scale", &["x"], []);
            graph.node("QuantizeLinear", "q", &["x", "scale"], []);
        });
        assert_eq!(computed, "1 QuantizeLinear");
        let by_hand = operators(&|graph| {
            graph.node("Cast", "q", &["rounded"], []);
            graph.node("ConvInteger", "y", &["q", "w"], []);
        });
        assert_eq!(by_hand, "1 ConvInteger");
        let fixed = operators(&|graph| {
            graph.initializer("scale", &[], &[0.1]);
            graph.node("QuantizeLinear", "q", &["x", "scale"], []);
            graph.node("Cast", "half", &["scale"], []);
            graph.node("QuantizeLinear", "p", &["x", "half"], []);
            graph.node("MatMulInteger", "y", &["q", "w"], []);
        });
        assert_eq!(fixed, "");
    }

    #[test]
    fn random_operators_in_branches() {
        let mut branch = GraphBuilder::new("branch");
        branch.node("RandomNormalLike", "noise", &["x"], []);
        branch.node("Bernoulli", "mask", &["x"], []);
        branch.node("Bernoulli", "more", &["x"], []);
        let found = of(17, |graph| {
            let branch = AttributeProto {
                name: "then_branch".to_owned(),
                g: Some(Box::new(branch.finish())),
                ..AttributeProto::default()
            };
            graph.node("If", "y", &["c"], [branch]);
        });
        assert_eq!(found.random.to_string(), "2 Bernoulli, 1 RandomNormalLike");
        assert!(found.training.is_empty());
    }
}
