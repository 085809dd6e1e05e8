use std::collections::HashMap;

use topk_onnx::attribute;
use topk_onnx::proto::{AttributeProto, AttributeType, DataType, NodeProto, TensorProto};

use crate::opset::FUNCTION_OPSET;

/// The nodes of a function, in the order in which they are added, written for one version of ONNX's operators.
///
/// Where operators changed between versions, only methods of this type know it.
#[derive(Debug)]
pub(super) struct Body {
    /// Version of ONNX's operators, at least [`MIN_OPSET`](crate::MIN_OPSET).
    opset: i64,
    /// Type of the scores, and so of the outputs.
    scores: DataType,
    nodes: Vec<NodeProto>,
    /// How often each name was requested.
    names: HashMap<String, usize>,
    /// Names of the constants, by their text.
    constants: HashMap<String, String>,
}

impl Body {
    /// An empty body; `taken` are the names of the function's inputs and outputs.
    pub(super) fn new<'a>(
        opset: i64,
        scores: DataType,
        taken: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            opset,
            scores,
            nodes: Vec::new(),
            names: taken.into_iter().map(|name| (name.to_owned(), 1)).collect(),
            constants: HashMap::new(),
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

    /// Defines an output of the function as `value`, with the type of the input `scores`.
    pub(super) fn output(&mut self, name: &str, value: &str) {
        let name = vec![name.to_owned()];
        if self.opset < FUNCTION_OPSET {
            let to = vec![attribute::int("to", self.scores as i64)];
            self.push("Cast", &[value], name, to);
        } else {
            self.push("CastLike", &[value, "scores"], name, vec![]);
        }
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
        let sizes = vec![1; pieces];
        let mut attributes = vec![attribute::int("axis", axis)];
        if self.opset < 13 {
            let names: Vec<String> = (0..pieces).map(|_| self.unique(name)).collect();
            attributes.push(attribute::ints("split", sizes));
            self.push("Split", &[value], names.clone(), attributes);
            return names;
        }
        let sizes = self.ints(&sizes);
        let names: Vec<String> = (0..pieces).map(|_| self.unique(name)).collect();
        self.push("Split", &[value, &sizes], names.clone(), attributes);
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
        let range = [start, end].map(|index| index as i64);
        if self.opset < 10 {
            let [start, end] = range;
            let attributes = [
                attribute::ints("starts", [start]),
                attribute::ints("ends", [end]),
                attribute::ints("axes", [axis]),
            ];
            return self.op_with(name, "Slice", &[value], attributes);
        }
        let range = range.map(|index| self.ints(&[index]));
        let axis = self.ints(&[axis]);
        self.op(name, "Slice", &[value, &range[0], &range[1], &axis])
    }

    /// `value` reversed along axes; each axis comes with its size.
    pub(super) fn reversed(&mut self, name: &str, value: &str, axes: &[(i64, usize)]) -> String {
        if self.opset < 10 {
            let mut reversed = value.to_owned();
            for &(axis, count) in axes {
                let backwards: Vec<i64> = (0..count as i64).rev().collect();
                let backwards = self.ints(&backwards);
                let axis = [attribute::int("axis", axis)];
                reversed = self.op_with(name, "Gather", &[&reversed, &backwards], axis);
            }
            return reversed;
        }
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
        if self.opset < 11 {
            return self.op_with("padded", "Pad", &[value], [attribute::ints("pads", pads)]);
        }
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
        self.along(name, "Unsqueeze", value, axis, 13)
    }

    /// Removes an axis of size 1.
    pub(super) fn squeeze(&mut self, name: &str, value: &str, axis: i64) -> String {
        self.along(name, "Squeeze", value, axis, 13)
    }

    /// Sums along an axis, which is kept with size 1.
    pub(super) fn sum(&mut self, name: &str, value: &str, axis: i64) -> String {
        self.along(name, "ReduceSum", value, axis, 13)
    }

    /// The maximum along an axis, which is kept with size 1.
    pub(super) fn max(&mut self, name: &str, value: &str, axis: i64) -> String {
        self.along(name, "ReduceMax", value, axis, 18)
    }

    /// A node with a list of axes, which is an input from version `since` of the operators, and an attribute before.
    fn along(&mut self, name: &str, op_type: &str, value: &str, axis: i64, since: i64) -> String {
        if self.opset < since {
            let axes = [attribute::ints("axes", [axis])];
            self.op_with(name, op_type, &[value], axes)
        } else {
            let axes = self.ints(&[axis]);
            self.op(name, op_type, &[value, &axes])
        }
    }

    /// The `count` highest entries of each row, in descending order, and their columns; of equal entries the first
    /// comes first.
    pub(super) fn top(&mut self, names: [&str; 2], value: &str, count: usize) -> [String; 2] {
        let count = count as i64;
        if self.opset < 10 {
            let count = [attribute::int("k", count)];
            return self.ops(names, "TopK", &[value], count);
        }
        let count = self.ints(&[count]);
        self.ops(names, "TopK", &[value, &count], [])
    }

    /// `into`, with the entries in these columns of each row replaced by `values`.
    pub(super) fn scatter(
        &mut self,
        name: &str,
        into: &str,
        columns: &str,
        values: &str,
    ) -> String {
        let op_type = match self.opset {
            ..11 => "Scatter",
            _ => "ScatterElements",
        };
        let axis = [attribute::int("axis", 1)];
        self.op_with(name, op_type, &[into, columns, values], axis)
    }

    /// The entry of each row in a column, `[N, 1]`; a column that does not exist is an index out of range. `count` is
    /// the number of columns.
    pub(super) fn gathered(
        &mut self,
        name: &str,
        value: &str,
        column: &str,
        count: usize,
    ) -> String {
        if self.opset < 11 {
            let columns: Vec<i64> = (0..count as i64).collect();
            let columns = self.ints(&columns);
            // The column itself, but out of range where there is none.
            let column = self.op("column", "Gather", &[&columns, column]);
            let chosen = self.op("is_column", "Equal", &[&columns, &column]);
            let nothing = self.float(0.0);
            let chosen = self.op("chosen", "Where", &[&chosen, value, &nothing]);
            return self.sum(name, &chosen, 1);
        }
        let axis = [attribute::int("axis", 1)];
        self.op_with(name, "GatherElements", &[value, column], axis)
    }

    /// Whether a value that is not negative is 0.
    pub(super) fn is_zero(&mut self, name: &str, value: &str) -> String {
        let zero = self.float(0.0);
        if self.opset < 11 {
            // `Equal` takes integers alone.
            let above = self.op("above_zero", "Greater", &[value, &zero]);
            return self.op(name, "Not", &[&above]);
        }
        self.op(name, "Equal", &[value, &zero])
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
