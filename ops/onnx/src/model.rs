use std::collections::{HashMap, HashSet};
use std::iter;

use prost::Message;
use topk_onnx::proto::{
    AttributeProto, DataType, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto,
};
use topk_onnx::{Dim, GraphBuilder, OPSET, model};
use topk_ops::Reduction;
use topk_ops::operator::{DOMAIN, DOMAIN_VERSION};

use crate::loss::{FunctionError, OnnxLoss};

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

    /// Appends the operator to a model's graph, for scores of this number of classes; inputs and outputs as
    /// for [`call`](Self::call). Functions use the model's version of ONNX's operators. A model can have several
    /// losses; calls of functions that are the same share one.
    ///
    /// # Errors
    /// As for [`function`](Self::function); and [`FunctionError::Defined`] for [`Form::Function`] if the model has
    /// this function with another `k`, reduction or number of inputs. The model is unchanged then.
    pub fn add_to(
        &self,
        model: &mut ModelProto,
        form: Form,
        classes: usize,
        inputs: &[&str],
        outputs: &[&str],
    ) -> Result<(), FunctionError> {
        let call = self.call(inputs, outputs);
        let function = match form {
            Form::Native => {
                self.check(classes)?;
                None
            }
            Form::Function | Form::Inline => {
                let opset = model
                    .opset_import
                    .iter()
                    .find(|opset| opset.domain.is_empty());
                let opset = opset.map_or(OPSET, |opset| opset.version);
                Some(self.function(opset, classes, inputs.len() > 2)?)
            }
        };
        let graph = model.graph.get_or_insert_default();
        match function {
            Some(function) if form == Form::Inline => {
                let nodes = inline(function, &call, &graph.node);
                graph.node.extend(nodes);
                return Ok(());
            }
            Some(function) => {
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
                graph.node.push(call);
            }
            None => graph.node.push(call),
        }
        if !model
            .opset_import
            .iter()
            .any(|opset| opset.domain == DOMAIN)
        {
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
    /// The batch size is dynamic, the number of classes fixed.
    ///
    /// # Errors
    /// As for [`function`](Self::function).
    pub fn model(
        &self,
        form: Form,
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
        self.add_to(&mut model, form, classes, &inputs, &outputs)?;
        if scalar {
            let squeeze = NodeProto::new("Squeeze", &[REDUCED], &["loss"], []);
            model.graph.get_or_insert_default().node.push(squeeze);
        }
        Ok(model)
    }
}

/// The nodes of a function in place of a call, without those that the call does not need. The names of its values
/// begin with its own name, and a number if nodes `before` it have such names.
fn inline(function: FunctionProto, call: &NodeProto, before: &[NodeProto]) -> Vec<NodeProto> {
    let is_used = |prefix: &str| {
        let mut values = before.iter().flat_map(|node| &node.output);
        let rest = |value: &String| Some(value.strip_prefix(prefix)?.starts_with('/'));
        values.any(|value| rest(value) == Some(true))
    };
    let numbered = (2..).map(|number| format!("{}_{number}", function.name));
    let mut prefixes = iter::once(function.name.clone()).chain(numbered);
    let prefix = prefixes.find(|prefix| !is_used(prefix));
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
            attribute: node.attribute.iter().filter_map(value_of).collect(),
            ..node.clone()
        });
    }
    nodes.reverse();
    nodes
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
            let added = loss.add_to(&mut model, form, 9, &["scores", "labels"], &outputs);
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
