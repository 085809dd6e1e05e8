use std::path::{Path, PathBuf};

use topk_onnx::proto::{GraphProto, ModelProto, TensorTypeProto, ValueInfoProto};
use topk_onnx::read_without_weights;
use topk_ops_onnx::{MAX_OPSET, MIN_OPSET, opset};

use super::error::AttachError;
use super::scores::describe;

/// The model that a loss is attached to.
pub(super) struct Host {
    pub(super) path: PathBuf,
    /// Without the values of its weights.
    pub(super) model: ModelProto,
    pub(super) opset: i64,
}

impl Host {
    pub(super) fn open(path: &Path) -> Result<Self, AttachError> {
        let model = read_without_weights(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => AttachError::Format,
            _ => AttachError::Read {
                path: path.to_owned(),
                error,
            },
        })?;
        // Nearly any bytes are a message of unknown fields.
        if model.graph.is_none() || model.ir_version == 0 {
            return Err(AttachError::Format);
        }
        let opset = opset(&model).ok_or(AttachError::NoOpset)?;
        if !(MIN_OPSET..=MAX_OPSET).contains(&opset) {
            return Err(AttachError::Opset { opset });
        }
        Ok(Self {
            path: path.to_owned(),
            model,
            opset,
        })
    }

    pub(super) fn graph(&self) -> &GraphProto {
        self.model.graph.as_ref().expect("checked in `open`")
    }

    pub(super) fn input(&self, name: &str) -> Option<&ValueInfoProto> {
        self.graph().input.iter().find(|value| value.name == name)
    }

    pub(super) fn output(&self, name: &str) -> Option<&ValueInfoProto> {
        self.graph().output.iter().find(|value| value.name == name)
    }

    /// The type of a value as the file records it.
    pub(super) fn declared(&self, name: &str) -> Option<&TensorTypeProto> {
        let graph = self.graph();
        let values = graph.output.iter().chain(&graph.input);
        let mut values = values.chain(&graph.value_info);
        tensor_type(values.find(|value| value.name == name)?)
    }

    /// Whether a node of the main graph computes this value.
    pub(super) fn computes(&self, name: &str) -> bool {
        let mut outputs = self.graph().node.iter().flat_map(|node| &node.output);
        outputs.any(|output| output == name)
    }

    /// Whether the main graph has a constant of this name.
    pub(super) fn has_constant(&self, name: &str) -> bool {
        let graph = self.graph();
        let sparse = graph.sparse_initializer.iter();
        let sparse = sparse.filter_map(|constant| constant.values.as_ref());
        let mut constants = graph.initializer.iter().chain(sparse);
        constants.any(|constant| constant.name == name)
    }

    /// The outputs and their types, for messages.
    pub(super) fn outputs(&self) -> String {
        let outputs = self.graph().output.iter().map(describe);
        outputs.collect::<Vec<_>>().join(", ")
    }
}

/// The type of a value that is a tensor.
pub(super) fn tensor_type(value: &ValueInfoProto) -> Option<&TensorTypeProto> {
    let tensor = value.r#type.as_ref()?.tensor_type.as_ref();
    tensor.filter(|tensor| tensor.elem_type != 0)
}
