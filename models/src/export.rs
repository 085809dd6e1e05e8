use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use topk_onnx::proto::{AttributeProto, ModelProto};
use topk_onnx::{CheckError, Dim, GraphBuilder, attribute, check, model};

use crate::architecture::{Architecture, ArchitectureError, BATCH_NORM_EPS, Op, architecture};
use crate::checkpoint::{Checkpoint, CheckpointError, write_file};

/// Name of the model's input: normalised images, `f32` `[batch, channels, height, width]`.
pub const INPUT: &str = "input";

/// Name of the model's output: scores before softmax, `f32` `[batch, classes]`.
pub const LOGITS: &str = "logits";

/// Why a checkpoint cannot become an ONNX file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Its network is not known.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Its weights are not those of its network.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model that came out is not sound.
    #[error("the weights cannot be exported: {0}")]
    Check(#[from] CheckError),
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The ONNX model of a checkpoint: the network for inference, weights inside, with a dynamic batch,
/// and the checkpoint's card as metadata. Checked.
///
/// # Errors
/// If the checkpoint's network is not known, its weights do not belong to it, or are not finite.
pub fn onnx_model(checkpoint: &Checkpoint) -> Result<ModelProto, ExportError> {
    let card = &checkpoint.card;
    let architecture = architecture(&card.architecture, card.input_size, card.class_names.len())?;
    checkpoint.check(&architecture)?;

    let mut graph = GraphBuilder::new(architecture.name());
    let batch = Dim::Dynamic("batch");
    let [channels, height, width] = architecture.input_size().map(Dim::Fixed);
    graph.input(
        INPUT,
        &[batch, channels, height, width],
        "RGB images: (pixel / 255 - mean) / std, see the metadata topk.mean and topk.std",
    );
    graph.output(
        LOGITS,
        &[batch, Dim::Fixed(architecture.classes())],
        "Scores before softmax, in the order of the metadata topk.class_names",
    );
    for (name, weight) in &checkpoint.weights {
        graph.initializer(name, &weight.shape, &weight.values);
    }
    add_nodes(&mut graph, &architecture);

    let doc = format!(
        "{} classifier of {} classes, trained on {} for top-{} accuracy",
        card.architecture,
        card.class_names.len(),
        card.dataset,
        card.k
    );
    let model = model(graph.finish(), &doc, card.to_metadata());
    check(&model)?;
    Ok(model)
}

fn add_nodes(graph: &mut GraphBuilder, architecture: &Architecture) {
    let mut value = INPUT;
    for (i, step) in architecture.steps().iter().enumerate() {
        let last = i + 1 == architecture.steps().len();
        let name = if last { LOGITS } else { &step.name };
        let (op_type, parameters, attributes): (_, &[&str], Vec<AttributeProto>) = match step.op {
            Op::Conv2d {
                kernel, padding, ..
            } => (
                "Conv",
                &["weight"],
                vec![
                    attribute::ints("kernel_shape", [kernel as i64; 2]),
                    attribute::ints("pads", [padding as i64; 4]),
                ],
            ),
            Op::BatchNorm2d { .. } => (
                "BatchNormalization",
                &["weight", "bias", "running_mean", "running_var"],
                vec![attribute::float("epsilon", BATCH_NORM_EPS as f32)],
            ),
            Op::Relu => ("Relu", &[], vec![]),
            Op::MaxPool2d { kernel } => ("MaxPool", &[], pool(kernel)),
            Op::AvgPool2d { kernel } => ("AveragePool", &[], pool(kernel)),
            Op::Flatten => ("Flatten", &[], vec![attribute::int("axis", 1)]),
            Op::Linear { .. } => (
                "Gemm",
                &["weight", "bias"],
                vec![attribute::int("transB", 1)],
            ),
        };
        let parameters: Vec<String> = parameters.iter().map(|name| step.parameter(name)).collect();
        let inputs: Vec<&str> = std::iter::once(value)
            .chain(parameters.iter().map(String::as_str))
            .collect();
        graph.node(op_type, name, &inputs, attributes);
        value = name;
    }
}

fn pool(kernel: usize) -> Vec<AttributeProto> {
    let sides = [kernel as i64; 2];
    vec![
        attribute::ints("kernel_shape", sides),
        attribute::ints("strides", sides),
    ]
}

/// Writes the ONNX model of a checkpoint to a file, whole or not at all.
///
/// # Errors
/// As [`onnx_model`], or if the file cannot be written.
pub fn export(checkpoint: &Checkpoint, path: &Path) -> Result<(), ExportError> {
    let bytes = prost::Message::encode_to_vec(&onnx_model(checkpoint)?);
    write_file(path, &bytes).map_err(|error| ExportError::Write {
        path: path.to_owned(),
        error,
    })
}
