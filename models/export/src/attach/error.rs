use std::io;
use std::path::PathBuf;

use thiserror::Error;
use topk_native::RuntimeError;
use topk_ops::LossError;
use topk_ops_onnx::{FUNCTION_IR_VERSION, FUNCTION_OPSET, FunctionError, MAX_OPSET, MIN_OPSET};

use crate::export::ExportError;

/// Why a loss cannot be attached to a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is not an ONNX file.
    #[error("it is not an ONNX file, or a part of one")]
    Format,
    /// The model imports no version of ONNX's own operators.
    #[error("it imports no version of ONNX's own operators")]
    NoOpset,
    /// Losses cannot be written with the model's version of ONNX's operators.
    #[error(
        "it uses operator set {opset}, but losses can be written with {MIN_OPSET} to {MAX_OPSET}: convert it \
         first, for example with onnx.version_converter.convert_version(model, 17)"
    )]
    Opset {
        /// The version.
        opset: i64,
    },
    /// A function is requested for a model that cannot have it.
    #[error(
        "--form function needs IR version {FUNCTION_IR_VERSION} and operator set {FUNCTION_OPSET} or later, \
         but it has IR version {ir_version} and operator set {opset}: use --form inline"
    )]
    Functions {
        /// Version of the model's file format.
        ir_version: i64,
        /// Version of ONNX's operators.
        opset: i64,
    },
    /// It is not clear which output has the scores.
    #[error("give the --output with the scores: its outputs are {outputs}")]
    Ambiguous {
        /// The outputs with their types.
        outputs: String,
    },
    /// The graph has no such value.
    #[error("its graph has no value `{name}`; its outputs are {outputs}")]
    NoValue {
        /// The name.
        name: String,
        /// The outputs with their types.
        outputs: String,
    },
    /// The value is not in the main graph.
    #[error(
        "`{name}` is inside a branch or a loop, where its value cannot be read from outside: choose a value of \
         the main graph, such as its outputs {outputs}"
    )]
    Inside {
        /// The name.
        name: String,
        /// The outputs with their types.
        outputs: String,
    },
    /// The value is a constant.
    #[error("`{name}` is a constant: choose a value that is computed from the inputs")]
    Constant {
        /// The name.
        name: String,
    },
    /// The type of a value is neither in the file nor inferred by ONNX Runtime.
    #[error(
        "the type of `{name}` is not recorded in the file, and ONNX Runtime cannot infer it: {reason}"
    )]
    NoType {
        /// Name of the value.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The value does not consist of floating-point numbers.
    #[error("`{name}` has type {found}: scores are float32, float64, float16 or bfloat16")]
    Type {
        /// Name of the value.
        name: String,
        /// Its type.
        found: String,
    },
    /// The value is not one score for each class and sample.
    #[error(
        "`{name}` has shape {found}, expected [batch, classes], where further dimensions may be 1"
    )]
    Shape {
        /// Name of the value.
        name: String,
        /// Its shape.
        found: String,
    },
    /// The number of classes is not known.
    #[error(
        "the number of classes of `{name}`, of shape {found}, is not fixed: give --num-classes"
    )]
    Classes {
        /// Name of the value.
        name: String,
        /// Its shape.
        found: String,
    },
    /// Another number of classes is given.
    #[error("--num-classes is {given}, but `{name}` has {found} classes")]
    OtherClasses {
        /// The given number.
        given: usize,
        /// Name of the value.
        name: String,
        /// Its number of classes.
        found: usize,
    },
    /// The value is not scores, but probabilities.
    #[error(
        "`{name}` {what}, and losses are computed from the scores before{instead}. To use the \
         probabilities as if they were scores, give --output-kind logits"
    )]
    Probabilities {
        /// Name of the value.
        name: String,
        /// How it is known.
        what: &'static str,
        /// What to use instead, if known.
        instead: String,
    },
    /// The value for labels cannot have labels.
    #[error(
        "`{name}` cannot have the labels, since it is {found}: give the name of an input of type int64 or int32 \
         and shape [batch], or a new name"
    )]
    Labels {
        /// The name.
        name: String,
        /// What it is.
        found: String,
    },
    /// The loss cannot be written.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// A file with weights beside the model cannot be used.
    #[error("its weights in {location} {reason}")]
    ExternalData {
        /// The file, as the model spells it.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// The output would replace the model that is read.
    #[error("--out is the model itself: give the name of another file")]
    Same,
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] ExportError),
    /// ONNX Runtime is not available.
    #[error("{0}. Verifying the model needs ONNX Runtime; --no-verify writes it unverified")]
    Runtime(#[from] RuntimeError),
    /// ONNX Runtime cannot load the model to which the loss is attached.
    #[error(
        "ONNX Runtime {version} cannot load it, even without the loss: {reason}. --no-verify attaches the loss \
         unverified"
    )]
    Unsupported {
        /// Version of ONNX Runtime.
        version: String,
        /// ONNX Runtime's message.
        reason: String,
    },
    /// ONNX Runtime cannot load the result.
    #[error("ONNX Runtime {version} cannot load the model with the loss: {reason}")]
    Load {
        /// Version of ONNX Runtime.
        version: String,
        /// ONNX Runtime's message.
        reason: String,
    },
    /// ONNX Runtime cannot compute the loss.
    #[error("ONNX Runtime {version} cannot compute the loss: {reason}")]
    Run {
        /// Version of ONNX Runtime.
        version: String,
        /// ONNX Runtime's message.
        reason: String,
    },
    /// The expected loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// An output has the wrong shape.
    #[error("`{output}` in ONNX Runtime {version} has shape {found:?}, expected {expected:?}")]
    OutputShape {
        /// Version of ONNX Runtime.
        version: String,
        /// Name of the output.
        output: String,
        /// Its shape.
        found: Vec<i64>,
        /// The expected shape.
        expected: Vec<i64>,
    },
    /// An output is wrong.
    #[error(
        "`{output}` in ONNX Runtime {version} differs from the loss by {difference:.1e}; the tolerance is \
         {tolerance:e}. The model is not kept"
    )]
    Difference {
        /// Version of ONNX Runtime.
        version: String,
        /// Name of the output.
        output: String,
        /// Largest difference; NaN or infinite if the output is.
        difference: f64,
        /// The tolerance.
        tolerance: f64,
    },
}
