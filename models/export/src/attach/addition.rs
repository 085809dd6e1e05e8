use std::collections::HashSet;

use serde_json::json;
use topk_models::{CLASSES, GRAD, LABELS, LOSS, PROBABILITIES};
use topk_onnx::proto::{
    DataType, DimensionProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use topk_onnx::{Names, attribute};
use topk_ops::Reduction;
use topk_ops_onnx::{Form, FunctionError, has_functions};

use super::AttachOptions;
use super::error::AttachError;
use super::host::{Host, tensor_type};
use super::scores::{ScoreValue, describe, fixed};

/// Prefix of the metadata keys that describe attached losses; the name of the output with the loss follows.
const METADATA_PREFIX: &str = "topk.attached.";

/// Name of the input with a weight for each class.
const WEIGHTS: &str = "weights";

/// What is added to a model.
pub(super) struct Addition {
    /// The added nodes, inputs, outputs, functions, operator sets and metadata.
    pub(super) model: ModelProto,
    /// The same as a model of its own, whose first input is the scores.
    pub(super) alone: ModelProto,
    pub(super) form: Form,
    pub(super) labels: String,
    /// Element type of the labels.
    pub(super) labels_type: DataType,
    pub(super) weights: Option<String>,
    pub(super) loss: String,
    pub(super) grad: String,
}

impl Addition {
    pub(super) fn new(
        host: &Host,
        scores: &ScoreValue,
        options: &AttachOptions,
        notes: &mut Vec<String>,
    ) -> Result<Self, AttachError> {
        let mut names = Namer::new(host);
        let shared = options.labels.as_deref().map(|name| shared(host, name));
        let shared = shared.transpose()?.flatten();
        let labels = match (&shared, &options.labels) {
            (Some(input), _) => input.name.clone(),
            (None, Some(name)) => names.exactly(name),
            (None, None) => names.output(LABELS, "input", notes),
        };
        let labels_type = shared
            .and_then(tensor_type)
            .map_or(DataType::Int64, |tensor| {
                DataType::try_from(tensor.elem_type).unwrap_or_default()
            });
        let weights = options.class_weights;
        let weights = weights.then(|| names.output(WEIGHTS, "input", notes));
        let loss = names.output(LOSS, "output", notes);
        let grad = names.output(GRAD, "output", notes);

        let mut graph = GraphProto::default();
        let batch = scores.dims[0].clone();
        if shared.is_none() {
            let doc = "The right classes";
            let labels = value(&labels, DataType::Int64, vec![batch.clone()], doc);
            graph.input.push(labels);
        }
        let data_type = scores.scores.data_type;
        if let Some(weights) = &weights {
            let doc = "Weight of each class, at least 0";
            let classes = vec![fixed(scores.scores.classes)];
            graph.input.push(value(weights, data_type, classes, doc));
        }
        let reduction = options.loss.reduction;
        let (dims, doc) = match reduction {
            Reduction::None => (vec![batch.clone()], "Loss of each sample"),
            Reduction::Sum => (vec![fixed(1)], "Sum of the losses"),
            Reduction::Mean => (vec![fixed(1)], "Mean of the losses"),
        };
        let scalar = options.scalar && reduction != Reduction::None;
        let dims = if scalar { vec![] } else { dims };
        graph.output.push(value(&loss, data_type, dims, doc));
        let doc = format!(
            "Derivative of the sum of `{loss}` with respect to `{}`",
            scores.name
        );
        graph
            .output
            .push(value(&grad, data_type, scores.dims.clone(), &doc));
        let predictions = options.predictions.map(|k| {
            let best = [PROBABILITIES, CLASSES].map(|name| names.output(name, "output", notes));
            let dims = vec![batch, fixed(k)];
            let doc = "The highest probabilities, from the highest down";
            let probabilities = value(&best[0], DataType::Float, dims.clone(), doc);
            let classes = value(&best[1], DataType::Int64, dims, "Their classes");
            graph.output.extend([probabilities, classes]);
            (best, k as i64)
        });

        // The loss reads scores of two dimensions.
        let flat = match scores.is_flat() {
            true => scores.name.clone(),
            false => {
                let flat = names.inner("scores");
                let axis = [attribute::int("axis", 1)];
                graph
                    .node
                    .push(NodeProto::new("Flatten", &[&scores.name], &[&flat], axis));
                flat
            }
        };
        let loss_value = if scalar {
            names.inner("loss")
        } else {
            loss.clone()
        };
        let grad_value = match scores.is_flat() {
            true => grad.clone(),
            false => names.inner("grad"),
        };
        let before = graph.node.len();
        let mut extended = host.model.clone();
        let host_graph = extended.graph.get_or_insert_default();
        let host_nodes = host_graph.node.len();
        host_graph.input.extend(graph.input.clone());
        host_graph.output.extend(graph.output.clone());
        host_graph.node.extend(graph.node.clone());
        let mut inputs = vec![&*flat, &*labels];
        inputs.extend(weights.as_deref());
        let outputs = [&*loss_value, &*grad_value];
        let form = add(
            host,
            &mut extended,
            scores,
            options,
            &inputs,
            &outputs,
            notes,
        )?;
        let added = extended.graph.iter().flat_map(|graph| &graph.node);
        graph.node.extend(added.skip(host_nodes + before).cloned());
        if scalar {
            graph
                .node
                .push(NodeProto::new("Squeeze", &[&loss_value], &[&loss], []));
        }
        if !scores.is_flat() {
            let shape = names.inner("shape");
            graph
                .node
                .push(NodeProto::new("Shape", &[&scores.name], &[&shape], []));
            let inputs = [&*grad_value, &*shape];
            graph
                .node
                .push(NodeProto::new("Reshape", &inputs, &[&grad], []));
        }
        if let Some((best, k)) = &predictions {
            add_predictions(
                &mut graph, &mut names, host.opset, &flat, data_type, *k, best,
            );
        }
        let model = ModelProto {
            opset_import: extended.opset_import[host.model.opset_import.len()..].to_vec(),
            functions: extended.functions[host.model.functions.len()..].to_vec(),
            metadata_props: vec![metadata(
                host,
                scores,
                options,
                form,
                [&loss, &grad, &labels],
            )],
            graph: Some(graph.clone()),
            ..ModelProto::default()
        };
        let doc = "The scores";
        let of_scores = value(&scores.name, data_type, scores.dims.clone(), doc);
        graph.input.insert(0, of_scores);
        // A model whose scores are an input shares it.
        graph
            .input
            .extend(shared.cloned().filter(|input| input.name != scores.name));
        graph.name = "loss".to_owned();
        let alone = ModelProto {
            ir_version: host.model.ir_version,
            opset_import: extended.opset_import,
            // Of the others none is called, but one may be shared.
            functions: extended.functions,
            graph: Some(graph),
            ..ModelProto::default()
        };
        Ok(Self {
            model,
            alone,
            form,
            labels,
            labels_type,
            weights,
            loss,
            grad,
        })
    }
}

/// Adds the loss in the requested form, or as a function where that is possible.
fn add(
    host: &Host,
    extended: &mut ModelProto,
    scores: &ScoreValue,
    options: &AttachOptions,
    inputs: &[&str],
    outputs: &[&str],
    notes: &mut Vec<String>,
) -> Result<Form, AttachError> {
    let (ir_version, opset) = (host.model.ir_version, host.opset);
    let mut add = |form: Form| {
        let added = options
            .loss
            .add_to(extended, form, scores.scores, inputs, outputs);
        added.map(|()| form)
    };
    let can_have = has_functions(ir_version, opset);
    let reason = match options.form {
        Some(Form::Function) if !can_have => {
            return Err(AttachError::Functions { ir_version, opset });
        }
        Some(form) => return Ok(add(form)?),
        None if !can_have => {
            format!(
                "with IR version {ir_version} and operator set {opset} it cannot have functions"
            )
        }
        None => match add(Form::Function) {
            Ok(form) => return Ok(form),
            Err(FunctionError::Defined { name }) => {
                format!("it has a function {name} with other settings already")
            }
            Err(FunctionError::Domain { .. }) => {
                "it has other operators of the domain `topk`".to_owned()
            }
            Err(error) => return Err(error.into()),
        },
    };
    let form = add(Form::Inline)?;
    notes.push(format!(
        "{reason}: the loss is written as plain nodes (--form inline)"
    ));
    Ok(form)
}

/// The input of this name for labels; `None` if the name is not used.
fn shared<'a>(host: &'a Host, name: &str) -> Result<Option<&'a ValueInfoProto>, AttachError> {
    let wrong = |found: String| AttachError::Labels {
        name: name.to_owned(),
        found,
    };
    let Some(input) = host.input(name) else {
        return match Names::of(&host.model).contains(name) {
            true => Err(wrong("another value or node of the model".to_owned())),
            false => Ok(None),
        };
    };
    let fits = tensor_type(input).is_some_and(|tensor| {
        let integers = [DataType::Int64, DataType::Int32];
        let is_integer = integers.iter().any(|&of| of as i32 == tensor.elem_type);
        let shape = tensor.shape.as_ref();
        is_integer && shape.is_none_or(|shape| shape.dim.len() == 1)
    });
    match fits {
        true => Ok(Some(input)),
        false => Err(wrong(format!("an input, {}", describe(input)))),
    }
}

/// Adds softmax and the k best classes, computed in `f32`.
fn add_predictions(
    graph: &mut GraphProto,
    names: &mut Namer,
    opset: i64,
    scores: &str,
    data_type: DataType,
    k: i64,
    outputs: &[String; 2],
) {
    let mut scores = scores.to_owned();
    if data_type != DataType::Float {
        let single = names.inner("scores_f32");
        let to = [attribute::int("to", DataType::Float as i64)];
        graph
            .node
            .push(NodeProto::new("Cast", &[&scores], &[&single], to));
        scores = single;
    }
    let softmax = names.inner("softmax");
    let axis = [attribute::int("axis", 1)];
    graph
        .node
        .push(NodeProto::new("Softmax", &[&scores], &[&softmax], axis));
    let outputs = [&*outputs[0], &*outputs[1]];
    if opset < 10 {
        let k = [attribute::int("k", k)];
        graph
            .node
            .push(NodeProto::new("TopK", &[&softmax], &outputs, k));
        return;
    }
    let count = names.inner("k");
    let tensor = TensorProto::of_integers("", &[1], &[k]);
    let constant = [attribute::tensor("value", tensor)];
    graph
        .node
        .push(NodeProto::new("Constant", &[], &[&count], constant));
    graph
        .node
        .push(NodeProto::new("TopK", &[&softmax, &count], &outputs, []));
}

/// The metadata entry that describes the loss.
fn metadata(
    host: &Host,
    scores: &ScoreValue,
    options: &AttachOptions,
    form: Form,
    [loss, grad, labels]: [&str; 3],
) -> StringStringEntryProto {
    let of = &options.loss;
    let mut described = json!({
        "loss": of.loss.operator().loss_name().as_str(),
        "reduction": of.reduction.as_str(),
        "classes": scores.scores.classes,
        "scores": scores.name,
        "labels": labels,
        "grad": grad,
        "form": match form {
            Form::Function => "function",
            Form::Inline => "inline",
            Form::Native => "native",
        },
    });
    if let Some(k) = of.loss.k() {
        described["k"] = k.into();
    }
    let numbers = [("tau", of.loss.tau()), ("alpha", of.loss.alpha())];
    for (name, value) in numbers {
        if let Some(value) = value {
            described[name] = value.into();
        }
    }
    if let Some(label) = of.ignore_index {
        described["ignore_index"] = label.into();
    }
    // The name of an output is unique, but the metadata may be that of a model before its outputs were renamed.
    let keys = (1..).map(|number| match number {
        1 => format!("{METADATA_PREFIX}{loss}"),
        _ => format!("{METADATA_PREFIX}{loss}.{number}"),
    });
    let is_taken = |key: &String| {
        let mut entries = host.model.metadata_props.iter();
        entries.any(|entry| entry.key == *key)
    };
    StringStringEntryProto {
        key: keys
            .into_iter()
            .find(|key| !is_taken(key))
            .expect("the numbers have no end"),
        value: described.to_string(),
    }
}

fn value(name: &str, data_type: DataType, dim: Vec<DimensionProto>, doc: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: data_type.into(),
                shape: Some(TensorShapeProto { dim }),
            }),
        }),
        doc_string: doc.to_owned(),
    }
}

/// Chooses names that the model does not have.
struct Namer<'a> {
    host: &'a Host,
    names: Names<'a>,
    chosen: HashSet<String>,
}

impl<'a> Namer<'a> {
    fn new(host: &'a Host) -> Self {
        Self {
            host,
            names: Names::of(&host.model),
            chosen: HashSet::new(),
        }
    }

    /// This name, which the model does not have.
    fn exactly(&mut self, name: &str) -> String {
        self.chosen.insert(name.to_owned());
        name.to_owned()
    }

    /// A name for an input or output. If it is not `name`, that is said.
    fn output(&mut self, name: &str, kind: &str, notes: &mut Vec<String>) -> String {
        let chosen = self.unused(name);
        if chosen != name {
            let hint = match shared(self.host, name) {
                Ok(Some(_)) if name == LABELS => "; --labels labels uses the existing input",
                _ => "",
            };
            notes.push(format!(
                "the name `{name}` is in use: the {kind} is named `{chosen}`{hint}"
            ));
        }
        chosen
    }

    /// A name for an inner value.
    fn inner(&mut self, name: &str) -> String {
        self.unused(&format!("attached/{name}"))
    }

    fn unused(&mut self, name: &str) -> String {
        let mut unused = self.names.unused(name);
        let mut number = 2;
        while self.chosen.contains(&unused) || self.names.contains(&unused) {
            unused = format!("{name}_{number}");
            number += 1;
        }
        self.exactly(&unused)
    }
}
