use std::collections::HashMap;

use topk_onnx::attribute;
use topk_onnx::proto::{AttributeProto, AttributeType, DataType, NodeProto, TensorProto};

/// The nodes of a function, in the order in which they are added.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Version of ONNX's operators.
    opset: i64,
    nodes: Vec<NodeProto>,
    /// How often each name was requested.
    names: HashMap<String, usize>,
    /// Names of the constants, by their text.
    constants: HashMap<String, String>,
}

impl Body {
    /// An empty body; `taken` are the names of the function's inputs and outputs.
    pub(super) fn new<'a>(opset: i64, taken: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            opset,
            names: taken.into_iter().map(|name| (name.to_owned(), 1)).collect(),
            ..Self::default()
        }
    }

    pub(super) fn into_nodes(self) -> Vec<NodeProto> {
        self.nodes
    }

    /// Adds a node with one output and returns the output's name: `name`, with a number if it is taken.
    pub(super) fn op(&mut self, name: &str, op_type: &str, inputs: &[&str]) -> String {
        self.op_with(name, op_type, inputs, [])
    }

    /// As [`op`](Self::op), with attributes.
    pub(super) fn op_with(
        &mut self,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: impl Into<Vec<AttributeProto>>,
    ) -> String {
        let name = self.unique(name);
        self.push(op_type, inputs, vec![name.clone()], attributes.into());
        name
    }

    /// As [`op`](Self::op), with several outputs.
    pub(super) fn ops<const N: usize>(
        &mut self,
        names: [&str; N],
        op_type: &str,
        inputs: &[&str],
        attributes: impl Into<Vec<AttributeProto>>,
    ) -> [String; N] {
        let names = names.map(|name| self.unique(name));
        self.push(op_type, inputs, names.to_vec(), attributes.into());
        names
    }

    /// Defines an output of the function as `value`, with the type of `like`.
    pub(super) fn output(&mut self, name: &str, value: &str, like: &str) {
        self.push("CastLike", &[value, like], vec![name.to_owned()], vec![]);
    }

    /// `value` in another type.
    pub(super) fn cast(&mut self, name: &str, value: &str, to: DataType) -> String {
        let to = [attribute::int("to", to as i64)];
        self.op_with(name, "Cast", &[value], to)
    }

    /// Splits `value` along an axis into pieces of size 1.
    pub(super) fn split(
        &mut self,
        name: &str,
        value: &str,
        axis: i64,
        pieces: usize,
    ) -> Vec<String> {
        let sizes = self.ints(&vec![1; pieces]);
        let names: Vec<String> = (0..pieces).map(|_| self.unique(name)).collect();
        let axis = vec![attribute::int("axis", axis)];
        self.push("Split", &[value, &sizes], names.clone(), axis);
        names
    }

    /// The entries `start..end` of `value` along an axis.
    pub(super) fn slice(
        &mut self,
        name: &str,
        value: &str,
        axis: i64,
        start: usize,
        end: usize,
    ) -> String {
        let range = [start, end].map(|index| self.ints(&[index as i64]));
        let axis = self.ints(&[axis]);
        self.op(name, "Slice", &[value, &range[0], &range[1], &axis])
    }

    /// `value` reversed along axes; each axis comes with its size.
    pub(super) fn reversed(&mut self, name: &str, value: &str, axes: &[(i64, usize)]) -> String {
        let backwards = vec![-1; axes.len()];
        let start = self.ints(&backwards);
        let ends: Vec<i64> = axes.iter().map(|&(_, count)| -(count as i64) - 1).collect();
        let end = self.ints(&ends);
        let axes: Vec<i64> = axes.iter().map(|&(axis, _)| axis).collect();
        let axes = self.ints(&axes);
        self.op(name, "Slice", &[value, &start, &end, &axes, &start])
    }

    /// Pads a tensor of this rank with zeros before and after an axis.
    pub(super) fn padded(
        &mut self,
        value: &str,
        rank: usize,
        axis: usize,
        before: usize,
        after: usize,
    ) -> String {
        let mut pads = vec![0; 2 * rank];
        pads[axis] = before as i64;
        pads[rank + axis] = after as i64;
        let pads = self.ints(&pads);
        self.op("padded", "Pad", &[value, &pads])
    }

    /// Concatenates values along an axis.
    pub(super) fn concat<S: AsRef<str>>(&mut self, name: &str, values: &[S], axis: i64) -> String {
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        self.op_with(name, "Concat", &values, [attribute::int("axis", axis)])
    }

    /// Adds an axis of size 1.
    pub(super) fn unsqueeze(&mut self, name: &str, value: &str, axis: i64) -> String {
        let axis = self.ints(&[axis]);
        self.op(name, "Unsqueeze", &[value, &axis])
    }

    /// Removes an axis of size 1.
    pub(super) fn squeeze(&mut self, name: &str, value: &str, axis: i64) -> String {
        let axis = self.ints(&[axis]);
        self.op(name, "Squeeze", &[value, &axis])
    }

    /// Sums along an axis, which is kept with size 1.
    pub(super) fn sum(&mut self, name: &str, value: &str, axis: i64) -> String {
        let axis = self.ints(&[axis]);
        self.op(name, "ReduceSum", &[value, &axis])
    }

    /// The maximum along an axis, which is kept with size 1.
    pub(super) fn max(&mut self, name: &str, value: &str, axis: i64) -> String {
        // Before version 18 the axes are an attribute.
        if self.opset < 18 {
            let axes = [attribute::ints("axes", [axis])];
            self.op_with(name, "ReduceMax", &[value], axes)
        } else {
            let axes = self.ints(&[axis]);
            self.op(name, "ReduceMax", &[value, &axes])
        }
    }

    /// A tensor with the shape of `like`, filled with `value`.
    pub(super) fn filled(&mut self, name: &str, like: &str, value: f32) -> String {
        let shape = self.op("shape", "Shape", &[like]);
        let value = TensorProto::of_floats("", &[1], &[value]);
        let value = attribute::tensor("value", value);
        self.op_with(name, "ConstantOfShape", &[&shape], [value])
    }

    /// A `float` constant.
    pub(super) fn float(&mut self, value: f32) -> String {
        self.constant(
            attribute::float("value_float", value),
            &format!("{value:?}"),
        )
    }

    /// An `int` constant.
    pub(super) fn int(&mut self, value: i64) -> String {
        self.constant(attribute::int("value_int", value), &format!("{value}"))
    }

    /// A constant list of integers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(
            attribute::ints("value_ints", values),
            &format!("{values:?}"),
        )
    }

    /// A constant list of floats.
    pub(super) fn floats(&mut self, values: &[f32]) -> String {
        self.constant(
            attribute::floats("value_floats", values),
            &format!("{values:?}"),
        )
    }

    /// The function's `float` attribute of this name.
    pub(super) fn float_attribute(&mut self, name: &str) -> String {
        let value = attribute::reference("value_float", AttributeType::Float, name);
        self.op_with(name, "Constant", &[], [value])
    }

    /// The function's `int` attribute of this name.
    pub(super) fn int_attribute(&mut self, name: &str) -> String {
        let value = attribute::reference("value_int", AttributeType::Int, name);
        self.op_with(name, "Constant", &[], [value])
    }

    fn constant(&mut self, value: AttributeProto, text: &str) -> String {
        let key = format!("{} {text}", value.name);
        if let Some(name) = self.constants.get(&key) {
            return name.clone();
        }
        let name = self.op_with("constant", "Constant", &[], [value]);
        self.constants.insert(key, name.clone());
        name
    }

    fn push(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        let output: Vec<&str> = output.iter().map(String::as_str).collect();
        self.nodes
            .push(NodeProto::new(op_type, inputs, &output, attribute));
    }

    fn unique(&mut self, name: &str) -> String {
        let count = self.names.entry(name.to_owned()).or_default();
        *count += 1;
        match *count {
            1 => name.to_owned(),
            count => format!("{name}_{count}"),
        }
    }
}
