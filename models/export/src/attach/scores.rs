use std::path::Path;

use ort::session::Session;
use topk_native::Runtime;
use topk_onnx::proto::{
    DataType, DimensionProto, DimensionValue, GraphProto, ModelProto, TensorShapeProto,
    TensorTypeProto, ValueInfoProto,
};
use topk_onnx::{Ending, Names, ending, value_before_ending};
use topk_ops_onnx::Scores;

use super::AttachOptions;
use super::error::AttachError;
use super::files::Files;
use super::host::{Host, tensor_type};
use super::trial::load_reason;

/// The value that the loss is computed from.
pub(super) struct ScoreValue {
    pub(super) name: String,
    pub(super) scores: Scores,
    /// All dimensions; the first is the batch, and at most one of the others is not 1.
    pub(super) dims: Vec<DimensionProto>,
}

impl ScoreValue {
    /// The value that is requested, or the only output that can have scores.
    pub(super) fn choose(
        host: &Host,
        options: &AttachOptions,
        files: &Files,
        notes: &mut Vec<String>,
    ) -> Result<Self, AttachError> {
        let name = match &options.output {
            Some(name) => requested(host, name)?,
            None => only_output(host, notes)?,
        };
        if !options.as_logits {
            check_ending(host, name, notes)?;
        }
        let declared = host.declared(name).cloned();
        let is_known = |declared: &TensorTypeProto| {
            let known = |dim: &DimensionProto| size(dim).is_some();
            let dims = declared.shape.as_ref().map(|shape| &shape.dim[..]);
            dims.is_some_and(|dims| dims.iter().skip(1).all(known))
        };
        let tensor = match declared {
            Some(declared) if is_known(&declared) || options.num_classes.is_some() => declared,
            declared => inferred(host, name, files, declared)?,
        };
        let data_type = DataType::try_from(tensor.elem_type).unwrap_or_default();
        if !matches!(
            data_type,
            DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16
        ) {
            return Err(AttachError::Type {
                name: name.to_owned(),
                found: type_name(tensor.elem_type),
            });
        }
        let (classes, dims) = classes(name, tensor.shape, options.num_classes)?;
        Ok(Self {
            name: name.to_owned(),
            scores: Scores { classes, data_type },
            dims,
        })
    }

    /// Whether the scores have more dimensions than batch and classes.
    pub(super) fn is_flat(&self) -> bool {
        self.dims.len() == 2
    }
}

/// A value of this name, if the loss can read it.
fn requested<'a>(host: &Host, name: &'a str) -> Result<&'a str, AttachError> {
    let name_of = || name.to_owned();
    let is_constant = host.has_constant(name);
    if host.computes(name) || (host.input(name).is_some() && !is_constant) {
        return Ok(name);
    }
    if is_constant {
        return Err(AttachError::Constant { name: name_of() });
    }
    let outputs = host.outputs();
    Err(match Names::of(&host.model).contains(name) {
        // Names of nodes are names too.
        true if !host.graph().node.iter().any(|node| node.name == name) => AttachError::Inside {
            name: name_of(),
            outputs,
        },
        _ => AttachError::NoValue {
            name: name_of(),
            outputs,
        },
    })
}

/// The only output, or the only one that can have scores.
fn only_output<'a>(host: &'a Host, notes: &mut Vec<String>) -> Result<&'a str, AttachError> {
    let outputs = &host.graph().output;
    if let [only] = &outputs[..] {
        return Ok(&only.name);
    }
    let mut candidates = outputs.iter().filter(|output| can_be_scores(output));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => {
            let name = &only.name;
            notes.push(format!("its output `{name}` has the scores (--output)"));
            Ok(name)
        }
        _ => {
            let outputs = host.outputs();
            Err(AttachError::Ambiguous { outputs })
        }
    }
}

/// Whether an output is floating-point numbers with at least two dimensions, or may be.
fn can_be_scores(output: &ValueInfoProto) -> bool {
    let Some(tensor) = tensor_type(output) else {
        return output.r#type.is_none();
    };
    let floats = [
        DataType::Float,
        DataType::Double,
        DataType::Float16,
        DataType::Bfloat16,
    ];
    let is_float = floats.iter().any(|&float| float as i32 == tensor.elem_type);
    let shape = tensor.shape.as_ref();
    is_float && shape.is_none_or(|shape| shape.dim.len() >= 2)
}

/// An error for probabilities; a note for their logarithms, which have the same losses as scores.
fn check_ending(host: &Host, name: &str, notes: &mut Vec<String>) -> Result<(), AttachError> {
    let what = match ending(&host.model, name) {
        Ending::Softmax => "is the result of a softmax",
        Ending::Sigmoid => "is the result of a sigmoid",
        Ending::LogSoftmax => {
            notes.push(format!(
                "`{name}` is the logarithm of a softmax, which has the same losses as the scores before it; the \
                 gradient is that with respect to `{name}`"
            ));
            return Ok(());
        }
        Ending::Other => return Ok(()),
    };
    let before = value_before_ending(&host.model, name);
    Err(AttachError::Probabilities {
        name: name.to_owned(),
        what,
        instead: before.map_or_else(String::new, |before| format!(": give --output {before}")),
    })
}

/// The number of classes, and the dimensions.
fn classes(
    name: &str,
    shape: Option<TensorShapeProto>,
    given: Option<usize>,
) -> Result<(usize, Vec<DimensionProto>), AttachError> {
    let found = || shape_text(shape.as_ref());
    let Some(dims) = shape.as_ref().map(|shape| shape.dim.clone()) else {
        let classes = given.ok_or_else(|| AttachError::Classes {
            name: name.to_owned(),
            found: found(),
        })?;
        let dims = vec![DimensionProto::default(), fixed(classes)];
        return Ok((classes, dims));
    };
    let wrong = || AttachError::Shape {
        name: name.to_owned(),
        found: found(),
    };
    let Some((_, rest)) = dims.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err(wrong());
    };
    let mut sizes = rest.iter().map(size).filter(|&size| size != Some(1));
    let size = match (sizes.next(), sizes.next()) {
        (None, _) => Some(1),
        (Some(size), None) => size,
        _ => return Err(wrong()),
    };
    match (size, given) {
        (Some(size), Some(given)) if size != given => Err(AttachError::OtherClasses {
            given,
            name: name.to_owned(),
            found: size,
        }),
        (Some(classes), _) | (None, Some(classes)) => Ok((classes, dims)),
        (None, None) => Err(AttachError::Classes {
            name: name.to_owned(),
            found: found(),
        }),
    }
}

/// The type that ONNX Runtime infers for a value.
fn inferred(
    host: &Host,
    name: &str,
    files: &Files,
    declared: Option<TensorTypeProto>,
) -> Result<TensorTypeProto, AttachError> {
    let runtime = Runtime::load()?;
    let probe = files.probe();
    let output = ValueInfoProto {
        name: name.to_owned(),
        ..ValueInfoProto::default()
    };
    let addition = ModelProto {
        graph: Some(GraphProto {
            output: host
                .output(name)
                .is_none()
                .then_some(output)
                .into_iter()
                .collect(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    files.write(host, &addition, &probe)?;
    let no_type = |reason: String| AttachError::NoType {
        name: name.to_owned(),
        reason,
    };
    let found = outlet(&runtime, &probe, name).map_err(|error| no_type(load_reason(&error)))?;
    let found = found.or(declared);
    found.ok_or_else(|| no_type("it is not a tensor".to_owned()))
}

/// The type of an output of a model in ONNX Runtime, if it is a tensor. An unknown number of dimensions looks as none.
fn outlet(runtime: &Runtime, path: &Path, name: &str) -> ort::Result<Option<TensorTypeProto>> {
    let session = Session::builder(runtime.environment())?.commit_from_file(path)?;
    let outlet = session.outputs().iter().find(|found| found.name() == name);
    let Some(ort::value::ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    }) = outlet.map(|outlet| outlet.dtype())
    else {
        return Ok(None);
    };
    let dims = shape.iter().zip(dimension_symbols.iter());
    let dim = dims.map(|(&size, symbol)| DimensionProto {
        value: match size {
            0.. => Some(DimensionValue::DimValue(size)),
            _ if symbol.is_empty() => None,
            _ => Some(DimensionValue::DimParam(symbol.clone())),
        },
    });
    let dim: Vec<_> = dim.collect();
    Ok(Some(TensorTypeProto {
        elem_type: element_type(*ty).into(),
        shape: (!dim.is_empty()).then_some(TensorShapeProto { dim }),
    }))
}

fn element_type(found: ort::value::TensorElementType) -> DataType {
    use ort::value::TensorElementType as Found;
    match found {
        Found::Float32 => DataType::Float,
        Found::Float64 => DataType::Double,
        Found::Float16 => DataType::Float16,
        Found::Bfloat16 => DataType::Bfloat16,
        Found::Int32 => DataType::Int32,
        Found::Int64 => DataType::Int64,
        Found::Uint8 => DataType::Uint8,
        Found::Bool => DataType::Bool,
        _ => DataType::Undefined,
    }
}

pub(super) fn fixed(size: usize) -> DimensionProto {
    DimensionProto {
        value: Some(DimensionValue::DimValue(size as i64)),
    }
}

/// A dimension of a fixed size.
pub(super) fn size(dim: &DimensionProto) -> Option<usize> {
    match dim.value {
        Some(DimensionValue::DimValue(size)) => usize::try_from(size).ok(),
        _ => None,
    }
}

/// Name and type of a value, such as `logits` float32[batch, 1000].
pub(super) fn describe(value: &ValueInfoProto) -> String {
    let text = match (tensor_type(value), &value.r#type) {
        (Some(tensor), _) => type_name(tensor.elem_type) + &shape_text(tensor.shape.as_ref()),
        (None, None) => "of unknown type".to_owned(),
        (None, Some(_)) => "not a tensor".to_owned(),
    };
    format!("`{}` {text}", value.name)
}

fn shape_text(shape: Option<&TensorShapeProto>) -> String {
    let Some(shape) = shape else {
        return "[…]".to_owned();
    };
    let dims = shape.dim.iter().map(|dim| match &dim.value {
        Some(DimensionValue::DimValue(size)) => size.to_string(),
        Some(DimensionValue::DimParam(name)) => name.clone(),
        None => "?".to_owned(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(", "))
}

/// The name of an element type, by its number in ONNX's `TensorProto.DataType`.
fn type_name(elem_type: i32) -> String {
    let names = [
        "of unknown type",
        "float32",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "float64",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
    ];
    let index = usize::try_from(elem_type).ok();
    match index.and_then(|index| names.get(index)) {
        Some(name) => (*name).to_owned(),
        None => format!("of type {elem_type}"),
    }
}
