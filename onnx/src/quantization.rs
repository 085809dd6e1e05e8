//! How the operators of a model are quantised.

use std::collections::BTreeSet;
use std::fmt;

use crate::behavior::Values;
use crate::proto::{ModelProto, NodeProto, TensorProto};
use crate::visit;
use crate::weight_types::type_name;

/// Longer chains of nodes that move or convert a value are not followed.
const MAX_STEPS: usize = 16;

/// The quantised convolutions and matrix products of a model.
///
/// Displayed as `int8 QDQ, 20 of 21 Conv, MatMul and Gemm nodes`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Quantization {
    /// Number of convolutions and matrix products, quantised or not: `Conv`, `ConvTranspose`, `MatMul` and `Gemm`,
    /// their fused and their quantised forms.
    pub nodes: usize,
    /// How many of them are quantised.
    pub quantized: usize,
    /// In which ways, in the order of [`QuantizationFormat`].
    pub formats: BTreeSet<QuantizationFormat>,
    /// Types of their weights, such as `int8`.
    pub weights: BTreeSet<String>,
    /// Types of their quantised inputs, such as `uint8`; empty if only weights are quantised.
    pub activations: BTreeSet<String>,
}

/// How an operator is quantised.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum QuantizationFormat {
    /// An operator of floating-point numbers between `DequantizeLinear` and `QuantizeLinear`. The runtime decides
    /// whether it computes with integers.
    Qdq,
    /// An operator of integers with fixed scales, such as `QLinearConv`.
    QOperator,
    /// An operator of integers whose input is quantised with a scale computed from it (`DynamicQuantizeLinear`).
    Dynamic,
    /// Only the weights are quantised, and the operator computes with floating-point numbers.
    WeightOnly,
}

impl QuantizationFormat {
    /// The name in ONNX Runtime's documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qdq => "QDQ",
            Self::QOperator => "QOperator",
            Self::Dynamic => "dynamic",
            Self::WeightOnly => "weight-only",
        }
    }
}

impl Quantization {
    /// That of a model, which may lack its weights; none if no convolution or matrix product is quantised.
    pub fn of(model: &ModelProto) -> Option<Self> {
        let values = Values::of(model);
        let mut found = Self::default();
        visit::nodes(model, &mut |node, _| found.add(node, &values));
        (found.quantized > 0).then_some(found)
    }

    /// The formats, such as `QDQ` or `QOperator + dynamic`.
    pub fn format(&self) -> String {
        let names: Vec<&str> = self.formats.iter().map(|format| format.name()).collect();
        names.join(" + ")
    }

    fn add(&mut self, node: &NodeProto, values: &Values<'_>) {
        let integers = |input, weights| Integers { input, weights };
        match &*node.op_type {
            "Conv" | "ConvTranspose" | "MatMul" | "Gemm" | "FusedConv" | "FusedMatMul"
            | "FusedGemm" => {
                self.nodes += 1;
                self.add_float(node, values);
            }
            "QLinearConv" | "QLinearMatMul" | "QGemm" => {
                self.add_integer(node, values, &integers(2, 3));
            }
            "ConvInteger" | "MatMulInteger" | "MatMulIntegerToFloat" => {
                self.add_integer(node, values, &integers(0, 1));
            }
            "DynamicQuantizeMatMul" => {
                self.add_weights(node, values, 1);
                self.activations.insert("uint8".to_owned());
                self.count(QuantizationFormat::Dynamic);
            }
            "MatMulNBits" | "MatMulBnb4" => {
                let attribute = |name: &str| node.attribute.iter().find(|found| found.name == name);
                let weights = match &*node.op_type {
                    "MatMulNBits" => format!(
                        "int{}",
                        attribute("bits").and_then(|bits| bits.i).unwrap_or(4)
                    ),
                    _ if attribute("quant_type").is_some_and(|kind| kind.i.unwrap_or(0) == 0) => {
                        "fp4".to_owned()
                    }
                    _ => "nf4".to_owned(),
                };
                self.weights.insert(weights);
                self.count(QuantizationFormat::WeightOnly);
            }
            _ => {}
        }
    }

    /// Adds an operator that is always quantised.
    fn count(&mut self, format: QuantizationFormat) {
        self.nodes += 1;
        self.quantized += 1;
        self.formats.insert(format);
    }

    /// Adds an operator of integers.
    fn add_integer(&mut self, node: &NodeProto, values: &Values<'_>, inputs: &Integers) {
        let producer = values.operator(node, 0);
        let dynamic = producer.is_some_and(|node| node.op_type == "DynamicQuantizeLinear");
        let activations = match dynamic {
            true => Some("uint8"),
            false => type_of(values, node, inputs.input)
                .or_else(|| producer.map(|producer| quantized_type(values, producer))),
        };
        self.activations.extend(activations.map(str::to_owned));
        self.add_weights(node, values, inputs.weights);
        self.count(match dynamic {
            true => QuantizationFormat::Dynamic,
            false => QuantizationFormat::QOperator,
        });
    }

    fn add_weights(&mut self, node: &NodeProto, values: &Values<'_>, input: usize) {
        let name = type_of(values, node, input);
        self.weights.extend(name.map(str::to_owned));
    }

    /// Adds an operator of floating-point numbers if its inputs, or its weights, are dequantised.
    fn add_float(&mut self, node: &NodeProto, values: &Values<'_>) {
        let inputs = [0, 1].map(|input| Dequantized::of(node, input, values));
        let format = match &inputs {
            [Some(_), Some(_)] => QuantizationFormat::Qdq,
            [Some(one), None] | [None, Some(one)] if one.is_constant => {
                QuantizationFormat::WeightOnly
            }
            _ => return,
        };
        self.quantized += 1;
        self.formats.insert(format);
        for input in inputs.into_iter().flatten() {
            let types = match input.is_constant {
                true => &mut self.weights,
                false => &mut self.activations,
            };
            types.insert(input.name.to_owned());
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.weights {
            write!(f, "{name} ")?;
        }
        write!(
            f,
            "{}, {} of {} Conv, MatMul and Gemm nodes",
            self.format(),
            self.quantized,
            self.nodes
        )
    }
}

/// Which inputs of an operator show the types of the integers.
struct Integers {
    /// The input, or its zero point.
    input: usize,
    weights: usize,
}

/// An input that was dequantised.
struct Dequantized {
    /// The type before.
    name: &'static str,
    /// Whether it is a weight.
    is_constant: bool,
}

impl Dequantized {
    fn of(node: &NodeProto, input: usize, values: &Values<'_>) -> Option<Self> {
        let mut name = node.input.get(input)?.as_str();
        for _ in 0..MAX_STEPS {
            let producer = *values.nodes.get(name)?;
            match &*producer.op_type {
                "DequantizeLinear" => return Some(Self::by(producer, values)),
                "Identity" | "Cast" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze"
                | "Flatten" => name = producer.input.first()?,
                _ => return None,
            }
        }
        None
    }

    fn by(dequantize: &NodeProto, values: &Values<'_>) -> Self {
        // Weights may be stored as floating-point numbers before a QuantizeLinear.
        let quantize = values.operator(dequantize, 0);
        let quantize = quantize.filter(|node| node.op_type == "QuantizeLinear");
        let stored = type_of(values, dequantize, 0);
        Self {
            name: stored
                .or_else(|| type_of(values, dequantize, 2))
                .unwrap_or_else(|| {
                    quantize.map_or("uint8", |quantize| quantized_type(values, quantize))
                }),
            is_constant: stored.is_some()
                || quantize.is_some_and(|quantize| values.constant(quantize, 0).is_some()),
        }
    }
}

/// The name of an element type. Integers of 16 bits are activations, or weights of a few models.
fn stored_type(data_type: i32) -> Option<&'static str> {
    match data_type {
        4 => Some("uint16"),
        5 => Some("int16"),
        other => type_name(other),
    }
}

/// The element type of a constant input, if weights have it.
fn type_of(values: &Values<'_>, node: &NodeProto, input: usize) -> Option<&'static str> {
    let of = |tensor: &TensorProto| stored_type(tensor.data_type);
    values.constant(node, input).and_then(of)
}

/// The type that a `QuantizeLinear` returns: that of its zero point, or its attribute, by default `uint8`.
fn quantized_type(values: &Values<'_>, quantize: &NodeProto) -> &'static str {
    let attribute = || {
        let mut attributes = quantize.attribute.iter();
        let found = attributes.find(|attribute| attribute.name == "output_dtype")?;
        stored_type(i32::try_from(found.i?).ok()?)
    };
    type_of(values, quantize, 2)
        .or_else(attribute)
        .unwrap_or("uint8")
}
