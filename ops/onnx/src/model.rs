use std::collections::{HashMap, HashSet};

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
    /// for [`call`](Self::call). Functions use the model's version of ONNX's operators.
    ///
    /// # Errors
    /// As for [`function`](Self::function).
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
                graph.node.extend(inline(function, &call));
                return Ok(());
            }
            function => {
                graph.node.push(call);
                model.functions.extend(function);
            }
        }
        model.opset_import.push(OperatorSetIdProto {
            domain: DOMAIN.to_owned(),
            version: DOMAIN_VERSION,
        });
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

/// The nodes of a function in place of a call, without those that the call does not need.
fn inline(function: FunctionProto, call: &NodeProto) -> Vec<NodeProto> {
    let formal = function.input.iter().chain(&function.output);
    let actual = call.input.iter().chain(&call.output);
    let mut names: HashMap<&str, String> = HashMap::from([("", String::new())]);
    for (formal, actual) in formal.zip(actual).filter(|(_, actual)| !actual.is_empty()) {
        names.insert(formal, actual.clone());
    }
    let rename = |name: &String| match names.get(name.as_str()) {
        Some(actual) => actual.clone(),
        None => format!("{}/{name}", function.name),
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
