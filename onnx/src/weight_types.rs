//! The element types of a model's weights.

use std::collections::BTreeMap;
use std::fmt;

use crate::proto::{ModelProto, TensorProto};
use crate::visit::{self, Role};

/// The element types of a model's weights: of all initializers and constants, including those in subgraphs
/// and functions.
///
/// Counts floating-point numbers, and integers of 4 and 8 bits, which are quantised weights. Integers of 32
/// and 64 bits are shapes, indices and biases of quantised layers, and do not count.
///
/// Displayed as `float32`, or with the shares of elements as `int8 98.7 %, float32 1.3 %`, largest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WeightTypes(BTreeMap<&'static str, u64>);

impl WeightTypes {
    /// Those of a model. Tensors without their elements, as [`read_without_weights`] returns them, count.
    ///
    /// [`read_without_weights`]: crate::read_without_weights
    pub fn of(model: &ModelProto) -> Self {
        let mut types = Self::default();
        visit::tensors(model, &mut |tensor, role| {
            if role == Role::Values {
                types.add(tensor);
            }
        });
        types
    }

    fn add(&mut self, tensor: &TensorProto) {
        let Some(name) = type_name(tensor.data_type) else {
            return;
        };
        let sides = tensor.dims.iter();
        let sides = sides.map(|&side| u64::try_from(side).unwrap_or(0));
        let elements = sides.fold(1, u64::saturating_mul);
        let count = self.0.entry(name).or_default();
        *count = count.saturating_add(elements);
    }
}

impl fmt::Display for WeightTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut types: Vec<(&str, u64)> =
            self.0.iter().map(|(name, count)| (*name, *count)).collect();
        types.retain(|(_, count)| *count > 0);
        types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let all: f64 = types.iter().map(|(_, count)| *count as f64).sum();
        match *types {
            [] => f.write_str("none"),
            [(name, _)] => f.write_str(name),
            _ => {
                for (i, (name, count)) in types.into_iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    let percent = 100.0 * count as f64 / all;
                    match percent < 0.1 {
                        true => write!(f, "{comma}{name} < 0.1 %")?,
                        // Rounded down: only a single type is 100 %.
                        false => {
                            write!(f, "{comma}{name} {:.1} %", (10.0 * percent).floor() / 10.0)?
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

/// The name of an element type of weights, by its number in ONNX's `TensorProto.DataType`. Types that only
/// quantised models have are not among [`DataType`](crate::proto::DataType), since nothing here writes them.
pub(crate) fn type_name(data_type: i32) -> Option<&'static str> {
    Some(match data_type {
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        10 => "float16",
        11 => "float64",
        16 => "bfloat16",
        17 => "float8e4m3fn",
        18 => "float8e4m3fnuz",
        19 => "float8e5m2",
        20 => "float8e5m2fnuz",
        21 => "uint4",
        22 => "int4",
        23 => "float4e2m1",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{AttributeProto, DataType, FunctionProto, GraphProto, NodeProto};
    use crate::{attribute, model};

    fn tensor(data_type: DataType, dims: &[usize]) -> TensorProto {
        let bytes = dims.iter().product::<usize>() * data_type.size();
        TensorProto::new("weights", data_type, dims, vec![1; bytes])
    }

    fn with(initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
        let graph = GraphProto {
            initializer,
            node,
            ..GraphProto::default()
        };
        model(graph, "", [])
    }

    #[test]
    fn a_single_type_has_no_share() {
        let shapes = tensor(DataType::Int64, &[4000]);
        // Longer than a part of the file.
        let weights = tensor(DataType::Float16, &[300, 70]);
        let file = with(vec![weights.clone(), shapes, weights], vec![]);
        assert_eq!(WeightTypes::of(&file).to_string(), "float16");
        let nothing = with(vec![tensor(DataType::Float, &[0, 3])], vec![]);
        assert_eq!(WeightTypes::of(&nothing).to_string(), "none");
    }

    #[test]
    fn several_types_have_shares() {
        let constant = NodeProto {
            attribute: vec![attribute::tensor("value", tensor(DataType::Float, &[1]))],
            ..NodeProto::default()
        };
        let weights = vec![
            tensor(DataType::Uint8, &[500]),
            tensor(DataType::Float16, &[1499]),
        ];
        let mut file = with(weights, vec![constant.clone()]);
        let words = "float16 74.9 %, uint8 25.0 %, float32 < 0.1 %";
        assert_eq!(WeightTypes::of(&file).to_string(), words);

        // The same constant in a function, and in a branch.
        file.functions.push(FunctionProto {
            node: vec![constant.clone()],
            ..Default::default()
        });
        let branch = AttributeProto {
            g: Some(Box::new(GraphProto {
                initializer: vec![tensor(DataType::Float, &[2, 998])],
                ..GraphProto::default()
            })),
            ..AttributeProto::default()
        };
        file.functions.push(FunctionProto {
            node: vec![NodeProto {
                attribute: vec![branch],
                ..NodeProto::default()
            }],
            ..FunctionProto::default()
        });
        let words = "float32 49.9 %, float16 37.5 %, uint8 12.5 %";
        assert_eq!(WeightTypes::of(&file).to_string(), words);
    }
}
