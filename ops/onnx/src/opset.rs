//! The versions of ONNX that losses can be written for.

use topk_onnx::proto::{DataType, ModelProto};

/// The oldest version of ONNX's operators that a loss can be written with, of 2019: the first with `Where` and
/// `Scatter`.
pub const MIN_OPSET: i64 = 9;

/// The latest version of ONNX's operators that a loss can be written with. It is tested with each of them.
pub const MAX_OPSET: i64 = 28;

/// The oldest version of ONNX's operators for the form [`Function`](crate::Form::Function): the first with `CastLike`,
/// without which a function would be for one type of scores.
pub const FUNCTION_OPSET: i64 = 15;

/// The oldest version of the file format with functions.
pub const FUNCTION_IR_VERSION: i64 = 8;

/// Number of classes and element type of the scores that a loss is written for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scores {
    /// Number of classes.
    pub classes: usize,
    /// Element type: `Float`, `Double`, `Float16` or `Bfloat16`.
    pub data_type: DataType,
}

impl Scores {
    /// Scores of `f32`.
    pub fn of_floats(classes: usize) -> Self {
        Self {
            classes,
            data_type: DataType::Float,
        }
    }
}

/// Version of ONNX's own operators that a model imports.
pub fn opset(model: &ModelProto) -> Option<i64> {
    let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let mut imports = model.opset_import.iter();
    let import = imports.find(|import| own(&import.domain))?;
    Some(import.version)
}

/// Whether a model with these versions of the file format and of ONNX's operators can have losses as functions.
pub fn has_functions(ir_version: i64, opset: i64) -> bool {
    ir_version >= FUNCTION_IR_VERSION && opset >= FUNCTION_OPSET
}
