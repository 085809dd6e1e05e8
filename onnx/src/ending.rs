//! How a graph computes its outputs.

use std::collections::{HashMap, HashSet};

use crate::proto::{ModelProto, NodeProto};

/// Deeper nesting of functions is not followed.
const MAX_DEPTH: usize = 32;

/// What the last operator of a graph makes of the scores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Probabilities that sum to 1.
    Softmax,
    /// Logarithms of such probabilities.
    LogSoftmax,
    /// A probability for each class, independent of the other classes.
    Sigmoid,
    /// Something else, such as logits.
    Other,
}

/// Values that nodes compute, by name.
type Producers<'a> = HashMap<&'a str, (&'a NodeProto, usize)>;

fn producers(nodes: &[NodeProto]) -> Producers<'_> {
    let outputs = nodes.iter().flat_map(|node| {
        let names = node.output.iter().enumerate();
        names.map(move |(at, name)| (name.as_str(), (node, at)))
    });
    outputs.filter(|(name, _)| !name.is_empty()).collect()
}

/// How the value `output` of a graph ends, where reshaping, casting, quantising and the like is not counted.
pub fn ending(model: &ModelProto, output: &str) -> Ending {
    let Some(graph) = &model.graph else {
        return Ending::Other;
    };
    match trace(model, &producers(&graph.node), output, 0) {
        Traced::Ending(ending) => ending,
        Traced::Value(_) => Ending::Other,
    }
}

/// The value that the last operator of the value `output` of a graph takes, if [`ending`] is not [`Ending::Other`] and
/// this operator is a node of the graph itself: the scores before a softmax, say.
pub fn value_before_ending<'a>(model: &'a ModelProto, output: &'a str) -> Option<&'a str> {
    let producers = producers(&model.graph.as_ref()?.node);
    let mut value = output;
    for _ in 0..=producers.len() {
        let (node, _) = producers.get(value)?;
        let input = node.input.first()?;
        value = match &*node.op_type {
            "Softmax" | "LogSoftmax" | "Sigmoid" | "HardSigmoid" => return Some(input),
            "Identity" | "Cast" | "CastLike" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze"
            | "Transpose" | "Dropout" | "Log" | "Exp" => input,
            _ => return None,
        };
    }
    None
}

/// Where the search for the last operator ended.
enum Traced<'a> {
    Ending(Ending),
    /// A value that no node computes.
    Value(&'a str),
}

fn trace<'a>(
    model: &'a ModelProto,
    values: &Producers<'a>,
    mut value: &'a str,
    depth: usize,
) -> Traced<'a> {
    // A cycle is not a valid graph.
    for _ in 0..=values.len() {
        let Some(&(node, at)) = values.get(value) else {
            return Traced::Value(value);
        };
        let input = |at: usize| node.input.get(at).map_or("", String::as_str);
        let operator = |value: &str| values.get(value).map(|(node, _)| &*node.op_type);
        let function = model
            .functions
            .iter()
            .find(|function| function.name == node.op_type && function.domain == node.domain);
        value = match (function, &*node.op_type) {
            (Some(function), _) if depth < MAX_DEPTH => {
                let inside = producers(&function.node);
                let output = function.output.get(at).map_or("", String::as_str);
                match trace(model, &inside, output, depth + 1) {
                    Traced::Value(name) => {
                        match function.input.iter().position(|input| input == name) {
                            Some(at) => input(at),
                            None => return Traced::Ending(Ending::Other),
                        }
                    }
                    found @ Traced::Ending(_) => return found,
                }
            }
            (_, "Softmax" | "QLinearSoftmax") => return Traced::Ending(Ending::Softmax),
            (_, "LogSoftmax") => return Traced::Ending(Ending::LogSoftmax),
            (_, "Sigmoid" | "HardSigmoid" | "QLinearSigmoid") => {
                return Traced::Ending(Ending::Sigmoid);
            }
            (_, operator @ ("Log" | "Exp")) => {
                let before = trace(model, values, input(0), depth + 1);
                return Traced::Ending(match (operator, before) {
                    _ if depth >= MAX_DEPTH => Ending::Other,
                    ("Log", Traced::Ending(Ending::Softmax)) => Ending::LogSoftmax,
                    ("Exp", Traced::Ending(Ending::LogSoftmax)) => Ending::Softmax,
                    _ => Ending::Other,
                });
            }
            // A softmax in parts.
            (_, "Div")
                if operator(input(0)) == Some("Exp")
                    && operator(input(1)) == Some("ReduceSum")
                    && values[input(1)].0.input.first() == node.input.first() =>
            {
                return Traced::Ending(Ending::Softmax);
            }
            (
                _,
                "Identity" | "Cast" | "CastLike" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze"
                | "Transpose" | "Dropout" | "QuantizeLinear" | "DequantizeLinear",
            ) => input(0),
            _ => return Traced::Ending(Ending::Other),
        };
    }
    Traced::Ending(Ending::Other)
}

/// All values that the value `output` of a graph depends on.
pub fn ancestors<'a>(model: &'a ModelProto, output: &str) -> HashSet<&'a str> {
    let Some(graph) = &model.graph else {
        return HashSet::new();
    };
    let producers = producers(&graph.node);
    let inputs = |value: &str| producers.get(value).map(|(node, _)| &node.input);
    let mut found = HashSet::new();
    let mut open: Vec<&str> = inputs(output)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    while let Some(value) = open.pop() {
        if !value.is_empty() && found.insert(value) {
            open.extend(inputs(value).into_iter().flatten().map(String::as_str));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{DataType, FunctionProto};
    use crate::{Dim, GraphBuilder, model};

    /// A model whose nodes each take the value before, starting with `x`.
    fn chain(operators: &[&str]) -> ModelProto {
        let mut graph = GraphBuilder::new("chain");
        let dims = [Dim::Dynamic("batch"), Dim::Fixed(3)];
        graph.input("x", DataType::Float, &dims, "");
        let mut value = "x".to_owned();
        for (at, operator) in operators.iter().enumerate() {
            let next = format!("v{at}");
            graph.node(operator, &next, &[&value], []);
            value = next;
        }
        graph.node("Identity", "y", &[&value], []);
        model(graph.finish(), "", [])
    }

    #[test]
    fn the_last_operator_counts() {
        for (operators, expected) in [
            (&["Gemm", "Softmax"][..], Ending::Softmax),
            (&["Softmax", "Reshape", "Cast"], Ending::Softmax),
            (
                &["Softmax", "QuantizeLinear", "DequantizeLinear"],
                Ending::Softmax,
            ),
            (&["LogSoftmax", "Exp"], Ending::Softmax),
            (&["LogSoftmax", "Flatten"], Ending::LogSoftmax),
            (&["Softmax", "Squeeze", "Log"], Ending::LogSoftmax),
            (&["Gemm", "Sigmoid"], Ending::Sigmoid),
            // Attention, squeeze-and-excitation and the like.
            (&["Softmax", "MatMul"], Ending::Other),
            (&["Sigmoid", "Mul", "Gemm"], Ending::Other),
            (&["Exp", "Log"], Ending::Other),
            (&[], Ending::Other),
        ] {
            assert_eq!(ending(&chain(operators), "y"), expected, "{operators:?}");
        }
    }

    #[test]
    fn scores_before_a_softmax_are_found() {
        for (operators, expected) in [
            (&["Gemm", "Softmax", "Reshape"][..], Some("v0")),
            (&["LogSoftmax", "Exp"], Some("x")),
            (&["Gemm", "Sigmoid"], Some("v0")),
            (&["Gemm", "QLinearSoftmax"], None),
            (&["Softmax", "MatMul"], None),
            (&[], None),
        ] {
            let model = chain(operators);
            assert_eq!(value_before_ending(&model, "y"), expected, "{operators:?}");
        }
    }

    #[test]
    fn a_softmax_in_parts_is_recognised() {
        let mut model = chain(&["Gemm", "Exp", "ReduceSum"]);
        let graph = model.graph.as_mut().unwrap();
        let divide = NodeProto::new("Div", &["v1", "v2"], &["probs"], []);
        graph.node.push(divide);
        assert_eq!(ending(&model, "probs"), Ending::Softmax);
    }

    #[test]
    fn functions_are_followed() {
        let mut model = chain(&["Softmax", "keep", "end"]);
        let function = |name: &str, operator: &str| FunctionProto {
            name: name.to_owned(),
            input: vec!["in".to_owned()],
            output: vec!["out".to_owned()],
            node: vec![NodeProto::new(operator, &["in"], &["out"], [])],
            ..FunctionProto::default()
        };
        model.functions = vec![function("keep", "Identity"), function("end", "Cast")];
        assert_eq!(ending(&model, "y"), Ending::Softmax);
        model.functions[1] = function("end", "LogSoftmax");
        assert_eq!(ending(&model, "y"), Ending::LogSoftmax);
        // A function that calls itself is not valid, and must not hang.
        model.functions[1] = function("end", "end");
        assert_eq!(ending(&model, "y"), Ending::Other);
    }

    #[test]
    fn ancestors_are_what_a_value_is_computed_from() {
        let model = chain(&["Conv", "Gemm"]);
        let mut found: Vec<_> = ancestors(&model, "v1").into_iter().collect();
        found.sort_unstable();
        assert_eq!(found, ["v0", "x"]);
        assert!(ancestors(&model, "x").is_empty());
    }
}
