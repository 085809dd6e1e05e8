//! The ONNX model of a checkpoint.

mod activation;
mod attention;
mod names;
mod nodes;

use thiserror::Error;
use topk_onnx::proto::{DataType, ModelProto, NodeProto, TensorProto};
use topk_onnx::{
    ChannelValues, CheckError, Dim, Float16Error, GraphBuilder, ImageInput, MAX_OPSET, ModelCard,
    OPSET, Training, attribute, check, fold_batch_norm, ir_version, model, normalize_inside,
    to_float16,
};
use topk_ops_onnx::{Form, FunctionError, OnnxLoss, Scores};
use topk_preprocessing::ImageMode;

use crate::checkpoint::Checkpoint;
use nodes::add_nodes;

pub use names::{CLASSES, GRAD, INPUT, LABELS, LOGITS, LOSS, PROBABILITIES};

/// The outputs of an ONNX model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outputs {
    /// The scores before softmax, [`LOGITS`].
    Logits,
    /// [`LOGITS`] and an unreduced loss, [`LOSS`], which needs a second input, [`LABELS`]. For evaluation
    /// and fine-tuning in other programs.
    Loss {
        /// The loss.
        loss: OnnxLoss,
        /// Whether the loss is an operator, a function or plain nodes.
        form: Form,
        /// Whether the gradient with respect to the logits, [`GRAD`], is an output too.
        gradient: bool,
    },
    /// The k highest probabilities after softmax and their classes, [`PROBABILITIES`] and [`CLASSES`]. For
    /// serving.
    TopK(usize),
}

/// How a checkpoint is converted to an ONNX model.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxOptions {
    /// The outputs.
    pub outputs: Outputs,
    /// What the input is, if it is not normalised images.
    pub image_input: Option<ImageInput>,
    /// Whether to fold batch norm into the preceding convolution.
    pub fold_batch_norm: bool,
    /// Whether weights and intermediate values are 16-bit floating point; input and outputs stay `f32`.
    pub float16: bool,
    /// Version of ONNX's operator set, [`OPSET`] to [`MAX_OPSET`].
    pub opset: i64,
}

impl Default for OnnxOptions {
    /// Normalised images to logits, in `f32`, with batch norm folded.
    fn default() -> Self {
        Self {
            outputs: Outputs::Logits,
            image_input: None,
            fold_batch_norm: true,
            float16: false,
            opset: OPSET,
        }
    }
}

/// Why a checkpoint cannot be converted to an ONNX model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The resulting model is not valid.
    #[error("the weights cannot be exported: {0}")]
    Check(#[from] CheckError),
    /// The loss does not fit this network.
    #[error(transparent)]
    Loss(#[from] FunctionError),
    /// A weight is too large for 16-bit floating point.
    #[error(transparent)]
    Float16(#[from] Float16Error),
    /// The version of the operator set is not supported.
    #[error("opset {0} is not supported: expected {OPSET} to {MAX_OPSET}")]
    Opset(i64),
    /// `k` is zero or greater than the number of classes.
    #[error("k must be between 1 and the number of classes, {classes}, got {k}")]
    K {
        /// The requested k.
        k: usize,
        /// Number of classes.
        classes: usize,
    },
}

/// The ONNX model of a checkpoint: the network for inference, weights included, with a dynamic batch, and
/// the checkpoint's model card as metadata. The result has passed [`check`].
///
/// # Errors
/// If a weight is not finite, or the options do not fit the network.
pub fn onnx_model(checkpoint: Checkpoint, options: &OnnxOptions) -> Result<ModelProto, OnnxError> {
    if !(OPSET..=MAX_OPSET).contains(&options.opset) {
        return Err(OnnxError::Opset(options.opset));
    }
    let mut card = checkpoint.card().clone();
    let architecture = checkpoint.architecture().clone();
    let classes = architecture.classes();

    let mut graph = GraphBuilder::new(architecture.name());
    let batch = Dim::Dynamic("batch");
    let [channels, height, width] = architecture.input_size().map(Dim::Fixed);
    let mode = card.mean.mode();
    graph.input(
        INPUT,
        DataType::Float,
        &[batch, channels, height, width],
        &format!(
            "{} images: (pixel / 255 - mean) / std, see the metadata topk.mean and topk.std",
            colors(mode)
        ),
    );
    for (name, weight) in checkpoint.into_weights() {
        let shape = weight.shape().to_vec();
        let constant = TensorProto::new(&name, DataType::Float, &shape, weight.into_bytes());
        graph.constant(constant);
    }
    add_nodes(&mut graph, &architecture);
    add_outputs(&mut graph, options.outputs, classes)?;
    let mut graph = graph.finish();
    if options.fold_batch_norm {
        fold_batch_norm(&mut graph);
    }

    let doc = description(&card, classes);
    let (mean, std) = (card.mean, card.std);
    if options.image_input.is_some() {
        // The model normalises; the metadata tells the caller what is left to do, which is nothing.
        [card.mean, card.std] = [0.0, 1.0].map(|value| ChannelValues::all(value, mode));
    }
    let mut model = model(graph, &doc, card.to_metadata());
    model.opset_import[0].version = options.opset;
    model.ir_version = ir_version(options.opset);
    if let Outputs::Loss {
        loss,
        form,
        gradient,
    } = options.outputs
    {
        let scores = Scores::of_floats(classes);
        let outputs = &[LOSS, GRAD][..if gradient { 2 } else { 1 }];
        loss.add_to(&mut model, form, scores, &[LOGITS, LABELS], outputs)?;
    }
    if options.float16 {
        to_float16(&mut model)?;
    }
    if let (Some(input), Some(graph)) = (options.image_input, &mut model.graph) {
        normalize_inside(graph, input, mean.as_slice(), std.as_slice());
    }
    check(&model)?;
    Ok(model)
}

/// What the images of a mode have.
fn colors(mode: ImageMode) -> &'static str {
    match mode {
        ImageMode::Rgb => "RGB",
        ImageMode::L => "Grey",
    }
}

/// The model's doc string.
fn description(card: &ModelCard, classes: usize) -> String {
    let trained = card.training.as_ref().map_or_else(String::new, |training| {
        let Training { dataset, k, .. } = training;
        format!(", trained on {dataset} for top-{k} accuracy")
    });
    format!(
        "{} classifier of {classes} classes{trained}",
        card.architecture
    )
}

/// Declares the outputs; adds what they need besides the network and the loss.
fn add_outputs(
    graph: &mut GraphBuilder,
    outputs: Outputs,
    classes: usize,
) -> Result<(), OnnxError> {
    let batch = Dim::Dynamic("batch");
    match outputs {
        Outputs::Logits => declare_logits(graph, classes),
        Outputs::Loss { gradient, .. } => {
            let doc = "The right classes, in the order of the metadata topk.class_names";
            graph.input(LABELS, DataType::Int64, &[batch], doc);
            declare_logits(graph, classes);
            graph.output(LOSS, DataType::Float, &[batch], "Loss of each image");
            if gradient {
                let dims = [batch, Dim::Fixed(classes)];
                let doc = "Derivative of the sum of `loss` with respect to `logits`";
                graph.output(GRAD, DataType::Float, &dims, doc);
            }
        }
        Outputs::TopK(k) => add_ranking(graph, k, classes)?,
    }
    Ok(())
}

fn declare_logits(graph: &mut GraphBuilder, classes: usize) {
    graph.output(
        LOGITS,
        DataType::Float,
        &[Dim::Dynamic("batch"), Dim::Fixed(classes)],
        "Scores before softmax, in the order of the metadata topk.class_names",
    );
}

fn add_ranking(graph: &mut GraphBuilder, k: usize, classes: usize) -> Result<(), OnnxError> {
    if k == 0 || k > classes {
        return Err(OnnxError::K { k, classes });
    }
    graph.node("Softmax", "softmax", &[LOGITS], [attribute::int("axis", 1)]);
    graph.integers("k", &[1], &[k as i64]);
    let best = [PROBABILITIES, CLASSES];
    graph.nodes([NodeProto::new("TopK", &["softmax", "k"], &best, [])]);
    let dims = [Dim::Dynamic("batch"), Dim::Fixed(k)];
    let doc = "The highest probabilities, from the highest down";
    graph.output(PROBABILITIES, DataType::Float, &dims, doc);
    let doc = "Their classes, as places in the metadata topk.class_names";
    graph.output(CLASSES, DataType::Int64, &dims, doc);
    Ok(())
}
