use std::collections::{HashMap, HashSet};
use std::iter;

use prost::Message;
use topk_onnx::proto::{
    AttributeProto, DataType, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use topk_onnx::{Dim, GraphBuilder, Names, OPSET, attribute, ir_version, model};
use topk_ops::Reduction;
use topk_ops::operator::{DOMAIN, DOMAIN_VERSION};

use crate::loss::{FunctionError, OnnxLoss};
use crate::opset::{Scores, opset};

/// How an operator that is not ONNX's own is written to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As a call of a function in the same file; a runtime replaces the call by the function's nodes or by
    /// its own operator.
    Function,
    /// As the function's nodes, for runtimes without functions.
    Inline,
    /// As a call only, for runtimes with the native operator.
    Native,
}

impl OnnxLoss {
    /// A node that calls the operator.
    ///
    /// `inputs` are the names of scores, labels and optionally weights; `outputs` those of the loss and any
    /// further outputs, where an empty name omits one.
    pub fn call(&self, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        // Runtimes require a name, possibly empty, for each output of a function.
        let mut outputs = outputs.to_vec();
        outputs.resize(self.loss.operator().output_names().len(), "");
        NodeProto {
            domain: DOMAIN.to_owned(),
            ..NodeProto::new(
                self.loss.operator().name(),
                inputs,
                &outputs,
                self.attributes(),
            )
        }
    }

    /// Appends the operator to a model's graph; inputs and outputs as for [`call`](Self::call), of which the first input
    /// is the value that `scores` describes. Functions use the model's version of ONNX's operators. A model can have
    /// several losses; calls of functions that are the same share one. Other values that are added have names that the
    /// model does not have yet.
    ///
    /// # Errors
    /// As for [`function`](Self::function), where [`Form::Inline`] also supports the versions from
    /// [`MIN_OPSET`](crate::MIN_OPSET); [`FunctionError::Defined`] for [`Form::Function`] if the model has this function
    /// with another `k`, reduction or number of inputs; and [`FunctionError::Domain`] for all but [`Form::Inline`] if it
    /// has other operators of the domain. The model is unchanged then.
    pub fn add_to(
        &self,
        model: &mut ModelProto,
        form: Form,
        scores: Scores,
        inputs: &[&str],
        outputs: &[&str],
    ) -> Result<(), FunctionError> {
        let call = self.call(inputs, outputs);
        let weighted = inputs.len() > 2;
        let version = opset(model).unwrap_or(OPSET);
        let mut imports = model.opset_import.iter();
        let imported = imports.find(|opset| opset.domain == DOMAIN);
        if let Some(other) = imported
            && other.version != DOMAIN_VERSION
            && form != Form::Inline
        {
            let version = other.version;
            return Err(FunctionError::Domain { version });
        }
        let is_imported = imported.is_some();
        match form {
            Form::Native => self.check(scores.classes)?,
            Form::Function => {
                let function = self.function(version, scores.classes, weighted)?;
                let mut functions = model.functions.iter();
                match functions
                    .find(|old| (&old.domain, &old.name) == (&function.domain, &function.name))
                {
                    None => model.functions.push(function),
                    // Not `==`: constants may be NaN.
                    Some(old) if old.encode_to_vec() == function.encode_to_vec() => {}
                    Some(old) => {
                        let name = old.name.clone();
                        return Err(FunctionError::Defined { name });
                    }
                }
            }
            Form::Inline => {
                let function = self.function_of(version, scores, weighted)?;
                let nodes = inline(function, &call, version, &Names::of(model));
                model.graph.get_or_insert_default().node.extend(nodes);
                return Ok(());
            }
        }
        model.graph.get_or_insert_default().node.push(call);
        if !is_imported {
            model.opset_import.push(OperatorSetIdProto {
                domain: DOMAIN.to_owned(),
                version: DOMAIN_VERSION,
            });
        }
        Ok(())
    }

    /// A model that contains only the loss: inputs `scores` and `labels`, and `weights` if `weighted`; the
    /// outputs are those of the operator. If `scalar`, the reduced loss has rank 0, as in PyTorch and ONNX;
    /// otherwise shape `[1]`, which all servers support.
    ///
    /// The batch size is dynamic, the number of classes fixed. `opset` is the version of ONNX's operators; the file has
    /// the version of the format that was released with it.
    ///
    /// # Errors
    /// As for [`add_to`](Self::add_to).
    pub fn model(
        &self,
        form: Form,
        opset: i64,
        classes: usize,
        weighted: bool,
        scalar: bool,
    ) -> Result<ModelProto, FunctionError> {
        const REDUCED: &str = "loss_of_batch";
        let scalar = scalar && self.reduction != Reduction::None;
        let batch = Dim::Dynamic("batch");
        let scores = [batch, Dim::Fixed(classes)];
        let mut inputs = vec!["scores", "labels"];
        let mut graph = GraphBuilder::new(self.loss.operator().name());
        graph.input("scores", DataType::Float, &scores, "Scores before softmax");
        graph.input("labels", DataType::Int64, &[batch], "The right classes");
        if weighted {
            inputs.push("weights");
            let doc = "Weight of each class, at least 0";
            graph.input("weights", DataType::Float, &scores[1..], doc);
        }
        let (dims, doc): (&[Dim], _) = match self.reduction {
            Reduction::None => (&[batch], "Loss of each sample"),
            Reduction::Sum => (&[Dim::Fixed(1)], "Sum of the losses"),
            Reduction::Mean => (&[Dim::Fixed(1)], "Mean of the losses"),
        };
        graph.output(
            "loss",
            DataType::Float,
            if scalar { &[] } else { dims },
            doc,
        );
        let mut outputs = self.loss.operator().output_names().to_vec();
        for &name in &outputs[1..] {
            let (dims, doc): (&[Dim], _) = if name == "grad" {
                (
                    &scores,
                    "Derivative of the sum of loss with respect to scores",
                )
            } else {
                (&[batch], "p = 1/(1 + exp -u) of each sample")
            };
            graph.output(name, DataType::Float, dims, doc);
        }
        if scalar {
            outputs[0] = REDUCED;
        }

        let mut model = model(graph.finish(), &self.doc(classes), []);
        model.opset_import[0].version = opset;
        model.ir_version = ir_version(opset);
        let floats = Scores::of_floats(classes);
        self.add_to(&mut model, form, floats, &inputs, &outputs)?;
        if scalar {
            let squeeze = NodeProto::new("Squeeze", &[REDUCED], &["loss"], []);
            model.graph.get_or_insert_default().node.push(squeeze);
        }
        Ok(model)
    }
}

/// The nodes of a function in place of a call, without those that the call does not need, for this version of ONNX's
/// operators. The names of its values begin with its own name, and a number if there are such names already.
fn inline(function: FunctionProto, call: &NodeProto, opset: i64, taken: &Names) -> Vec<NodeProto> {
    let numbered = (2..).map(|number| format!("{}_{number}", function.name));
    let mut prefixes = iter::once(function.name.clone()).chain(numbered);
    let prefix = prefixes.find(|prefix| !taken.has_prefix(&format!("{prefix}/")));
    let prefix = prefix.expect("the numbers have no end");
    let formal = function.input.iter().chain(&function.output);
    let actual = call.input.iter().chain(&call.output);
    let mut names: HashMap<&str, String> = HashMap::from([("", String::new())]);
    for (formal, actual) in formal.zip(actual).filter(|(_, actual)| !actual.is_empty()) {
        names.insert(formal, actual.clone());
    }
    let rename = |name: &String| match names.get(name.as_str()) {
        Some(actual) => actual.clone(),
        None => format!("{prefix}/{name}"),
    };
    let value_of = |attribute: &AttributeProto| match &attribute.ref_attr_name {
        none if none.is_empty() => Some(attribute.clone()),
        reference => call
            .attribute
            .iter()
            .find(|given| given.name == *reference)
            .map(|given| AttributeProto {
                name: attribute.name.clone(),
                ..given.clone()
            }),
    };
    let mut needed: HashSet<String> = call.output.iter().cloned().collect();
    let mut nodes: Vec<NodeProto> = Vec::new();
    for node in function.node.iter().rev() {
        let output: Vec<String> = node.output.iter().map(rename).collect();
        if !output.iter().any(|name| needed.contains(name)) {
            continue;
        }
        let input: Vec<String> = node.input.iter().map(rename).collect();
        needed.extend(input.iter().cloned());
        nodes.push(NodeProto {
            name: output[0].clone(),
            input,
            output,
            attribute: node
                .attribute
                .iter()
                .filter_map(value_of)
                .map(|attribute| match opset {
                    ..13 if node.op_type == "Constant" => as_tensor(attribute),
                    _ => attribute,
                })
                .collect(),
            ..node.clone()
        });
    }
    nodes.reverse();
    nodes
}

/// The attribute `value` of a `Constant` node in place of those that exist from version 12 of ONNX's operators, which
/// OpenVINO has only from version 13.
fn as_tensor(attribute: AttributeProto) -> AttributeProto {
    let tensor = match (&*attribute.name, attribute.f, attribute.i) {
        ("value_float", Some(value), _) => TensorProto::of_floats("", &[], &[value]),
        ("value_int", _, Some(value)) => TensorProto::of_integers("", &[], &[value]),
        ("value_floats", ..) => {
            TensorProto::of_floats("", &[attribute.floats.len()], &attribute.floats)
        }
        ("value_ints", ..) => {
            TensorProto::of_integers("", &[attribute.ints.len()], &attribute.ints)
        }
        _ => return attribute,
    };
    attribute::tensor("value", tensor)
}

#[cfg(test)]
mod tests {
    use topk_onnx::check;
    use topk_ops::{Psi5, SmoothTopkSvm};

    use super::*;

    fn svm(k: usize, tau: f64) -> OnnxLoss {
        OnnxLoss {
            loss: SmoothTopkSvm::new(k, tau, 1.0).unwrap().into(),
            reduction: Reduction::None,
            ignore_index: None,
        }
    }

    /// A model of scores and labels with these losses.
    fn with_losses(losses: &[OnnxLoss], form: Form) -> Result<ModelProto, FunctionError> {
        let batch = Dim::Dynamic("batch");
        let mut graph = GraphBuilder::new("losses");
        graph.input("scores", DataType::Float, &[batch, Dim::Fixed(9)], "");
        graph.input("labels", DataType::Int64, &[batch], "");
        for i in 0..losses.len() {
            graph.output(&format!("loss{i}"), DataType::Float, &[batch], "");
        }
        let mut model = model(graph.finish(), "", []);
        for (i, loss) in losses.iter().enumerate() {
            let before = model.clone();
            let outputs = [&*format!("loss{i}")];
            let scores = Scores::of_floats(9);
            let added = loss.add_to(&mut model, form, scores, &["scores", "labels"], &outputs);
            if let Err(error) = added {
                assert!(
                    model.encode_to_vec() == before.encode_to_vec(),
                    "it is unchanged"
                );
                return Err(error);
            }
        }
        Ok(model)
    }

    #[test]
    fn a_model_can_have_several_losses() {
        let psi5 = OnnxLoss {
            loss: Psi5::new(2, 1.0).unwrap().into(),
            ..svm(2, 1.0)
        };
        // The temperature is an attribute of the call.
        let shared = [svm(2, 1.0), svm(2, 0.5), psi5];
        for (form, functions) in [(Form::Function, 2), (Form::Inline, 0), (Form::Native, 0)] {
            let model = with_losses(&shared, form).unwrap();
            check(&model).unwrap();
            assert_eq!(model.functions.len(), functions, "{form:?}");
        }
        let other = [svm(2, 1.0), svm(3, 1.0)];
        for form in [Form::Inline, Form::Native] {
            check(&with_losses(&other, form).unwrap()).unwrap();
        }
        let name = "SmoothTopkSVMLoss".to_owned();
        let error = FunctionError::Defined { name };
        assert_eq!(with_losses(&other, Form::Function).unwrap_err(), error);
    }
}
