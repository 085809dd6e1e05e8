use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thiserror::Error;
use topk_libtorch::empty_cache;
use topk_onnx::proto::{DataType, ModelProto, NodeProto, TensorProto};
use topk_onnx::{
    CheckError, Dim, GraphBuilder, HalfError, ImageInput, MAX_FILE, OPSET, Training, attribute,
    check, fold_batch_norm, ir_version, model, normalize_inside, to_float16,
    write_with_external_data,
};
use topk_ops_onnx::{Form, FunctionError, OnnxLoss};

use crate::checkpoint::Checkpoint;
use crate::onnx_nodes::add_nodes;
use crate::verification::{Expected, Verification, VerificationError};

/// Name of the model's input: normalised images, `f32` `[batch, channels, height, width]`.
pub const INPUT: &str = "input";

/// Name of the model's output: scores before softmax, `f32` `[batch, classes]`.
pub const LOGITS: &str = "logits";

/// Name of the input of a model with a loss: the right classes, `i64` `[batch]`.
pub const LABELS: &str = "labels";

/// Name of the output of a model with a loss, `f32` `[batch]`.
pub const LOSS: &str = "loss";

/// Name of the output of a model that ranks its classes: the highest probabilities, from the highest
/// down, `f32` `[batch, k]`.
pub const PROBABILITIES: &str = "probabilities";

/// Name of the output of a model that ranks its classes: those of the highest probabilities, `i64`
/// `[batch, k]`.
pub const CLASSES: &str = "classes";

/// What follows the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Head {
    /// Nothing: the output is [`LOGITS`].
    Logits,
    /// A loss without reduction: a second input, [`LABELS`], and a second output, [`LOSS`]. For
    /// evaluation and fine-tuning elsewhere.
    Loss {
        /// The loss.
        loss: OnnxLoss,
        /// How it stands in the file.
        form: Form,
    },
    /// Softmax and the k best classes: the outputs are [`PROBABILITIES`] and [`CLASSES`]. For serving.
    TopK(usize),
}

/// How a checkpoint is written as an ONNX model.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// What follows the network.
    pub head: Head,
    /// What the input is, if it is not normalised images.
    pub image_input: Option<ImageInput>,
    /// Whether batch norm becomes part of the convolution before it.
    pub fold_batch_norm: bool,
    /// Whether weights are rounded to, and values computed in, 16-bit floating point; input and outputs
    /// stay `f32`.
    pub float16: bool,
    /// Version of ONNX's operators, 17 to 21.
    pub opset: i64,
    /// Whether the written file is run in ONNX Runtime, and compared with the network in libtorch.
    pub verify: bool,
    /// By how much outputs may differ then, as a share of the largest logit. If not said: 1e-4, or 1e-2 in
    /// 16-bit floating point.
    pub tolerance: Option<f32>,
}

impl Default for ExportOptions {
    /// Normalised images to logits, in `f32`, with batch norm folded, and verified.
    fn default() -> Self {
        Self {
            head: Head::Logits,
            image_input: None,
            fold_batch_norm: true,
            float16: false,
            opset: OPSET,
            verify: true,
            tolerance: None,
        }
    }
}

/// Why a checkpoint cannot become an ONNX file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The model that came out is not sound.
    #[error("the weights cannot be exported: {0}")]
    Check(#[from] CheckError),
    /// The loss cannot follow this network.
    #[error(transparent)]
    Loss(#[from] FunctionError),
    /// A weight has no place in 16 bits.
    #[error(transparent)]
    Half(#[from] HalfError),
    /// The version of operators is not one that is written.
    #[error("operator sets 17 to 21 can be written, not {0}")]
    Opset(i64),
    /// There are not as many classes as are to be ranked.
    #[error("k must be between 1 and the number of classes, {classes}, got {k}")]
    K {
        /// The k asked for.
        k: usize,
        /// Number of classes.
        classes: usize,
    },
    /// What was written is not known to be the network.
    #[error(transparent)]
    Verification(#[from] VerificationError),
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
/// If a weight is not finite, or the options do not fit the network.
pub fn onnx_model(
    checkpoint: Checkpoint,
    options: &ExportOptions,
) -> Result<ModelProto, ExportError> {
    if !(OPSET..=21).contains(&options.opset) {
        return Err(ExportError::Opset(options.opset));
    }
    let mut card = checkpoint.card().clone();
    let architecture = checkpoint.architecture().clone();
    let classes = architecture.classes();

    let mut graph = GraphBuilder::new(architecture.name());
    let batch = Dim::Dynamic("batch");
    let [channels, height, width] = architecture.input_size().map(Dim::Fixed);
    graph.input(
        INPUT,
        DataType::Float,
        &[batch, channels, height, width],
        "RGB images: (pixel / 255 - mean) / std, see the metadata topk.mean and topk.std",
    );
    for (name, weight) in checkpoint.into_weights() {
        let shape = weight.shape().to_vec();
        let constant = TensorProto::new(&name, DataType::Float, &shape, weight.into_bytes());
        graph.constant(constant);
    }
    add_nodes(&mut graph, &architecture);
    match options.head {
        Head::Logits => logits(&mut graph, classes),
        Head::Loss { .. } => {
            let doc = "The right classes, in the order of the metadata topk.class_names";
            graph.input(LABELS, DataType::Int64, &[batch], doc);
            logits(&mut graph, classes);
            graph.output(LOSS, DataType::Float, &[batch], "Loss of each image");
        }
        Head::TopK(k) => rank(&mut graph, k, classes)?,
    }
    let mut graph = graph.finish();
    if options.fold_batch_norm {
        fold_batch_norm(&mut graph);
    }

    let trained = card.training.as_ref().map_or_else(String::new, |training| {
        let Training { dataset, k, .. } = training;
        format!(", trained on {dataset} for top-{k} accuracy")
    });
    let doc = format!(
        "{} classifier of {classes} classes{trained}",
        card.architecture
    );
    let (mean, std) = (card.mean, card.std);
    if options.image_input.is_some() {
        // What is left for the caller to do.
        (card.mean, card.std) = ([0.0; 3], [1.0; 3]);
    }
    let mut model = model(graph, &doc, card.to_metadata());
    model.opset_import[0].version = options.opset;
    model.ir_version = ir_version(options.opset);
    if let Head::Loss { loss, form } = options.head {
        loss.add_to(&mut model, form, classes, &[LOGITS, LABELS], &[LOSS])?;
    }
    if options.float16 {
        to_float16(&mut model)?;
    }
    if let (Some(input), Some(graph)) = (options.image_input, &mut model.graph) {
        normalize_inside(graph, input, &mean, &std);
    }
    check(&model)?;
    Ok(model)
}

fn logits(graph: &mut GraphBuilder, classes: usize) {
    graph.output(
        LOGITS,
        DataType::Float,
        &[Dim::Dynamic("batch"), Dim::Fixed(classes)],
        "Scores before softmax, in the order of the metadata topk.class_names",
    );
}

fn rank(graph: &mut GraphBuilder, k: usize, classes: usize) -> Result<(), ExportError> {
    if k == 0 || k > classes {
        return Err(ExportError::K { k, classes });
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

/// Writes the ONNX model of a checkpoint to a file, and verifies it: runs the file in ONNX Runtime and the
/// network in libtorch on a photograph and noise, and leaves nothing behind if their outputs differ.
///
/// Of a model above 2 GiB, which cannot be one file, the weights go to a second file beside it, with
/// `.data` after its name.
///
/// # Errors
/// As [`onnx_model`], if a file cannot be written, or if the model does not pass.
pub fn export(
    checkpoint: Checkpoint,
    options: &ExportOptions,
    path: &Path,
) -> Result<Option<Verification>, ExportError> {
    let export = Export::new(checkpoint, options)?;
    let draft = Draft::beside(path)?;
    let name = path
        .file_name()
        .ok_or_else(|| draft.error(io::ErrorKind::IsADirectory.into()))?;
    let verification = export.write(&draft, &draft.folder().join(name))?;
    let written = fs::read_dir(draft.folder()).and_then(|files| {
        // The data of a large model before the model.
        let mut files: Vec<_> = files
            .map(|file| Ok(file?.file_name()))
            .collect::<io::Result<_>>()?;
        files.sort_by_key(|file| file == name);
        for file in files {
            fs::rename(draft.folder().join(&file), path.with_file_name(&file))?;
        }
        Ok(())
    });
    written.map_err(|error| draft.error(error))?;
    Ok(verification)
}

/// A model that has been made but not written.
pub(crate) struct Export<'a> {
    options: &'a ExportOptions,
    expected: Option<Expected>,
    pub(crate) model: ModelProto,
}

impl<'a> Export<'a> {
    pub(crate) fn new(
        checkpoint: Checkpoint,
        options: &'a ExportOptions,
    ) -> Result<Self, ExportError> {
        let (expected, checkpoint) = if options.verify {
            let (expected, checkpoint) = Expected::new(checkpoint)?;
            (Some(expected), checkpoint)
        } else {
            (None, checkpoint)
        };
        Ok(Self {
            options,
            expected,
            model: onnx_model(checkpoint, options)?,
        })
    }

    /// Writes the model to `path`, which is in `draft`, and verifies it.
    pub(crate) fn write(
        self,
        draft: &Draft,
        path: &Path,
    ) -> Result<Option<Verification>, ExportError> {
        write_model(&self.model, path).map_err(|error| draft.error(error))?;
        drop(self.model);
        // ONNX Runtime is about to need as much again.
        empty_cache();
        let verification = self
            .expected
            .map(|expected| expected.check(path, self.options));
        Ok(verification.transpose()?)
    }
}

/// How the name of a folder begins that an export makes beside its file, and leaves behind only if it is killed.
pub const DRAFT_FOLDER: &str = ".topk-export-";

/// A folder beside a path, for files that are not to be seen before they are found good. It is removed
/// with what is still in it.
pub(crate) struct Draft {
    folder: TempDir,
    path: PathBuf,
}

impl Draft {
    pub(crate) fn beside(path: &Path) -> Result<Self, ExportError> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // The message of `tempfile` would name the folder that nobody knows of.
        let folder = fs::metadata(parent).and_then(|_| {
            let mut builder = tempfile::Builder::new();
            builder.prefix(DRAFT_FOLDER).tempdir_in(parent)
        });
        let folder = folder.map_err(|error| ExportError::write(path, error))?;
        Ok(Self {
            folder,
            path: path.to_owned(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn error(&self, error: io::Error) -> ExportError {
        ExportError::write(&self.path, error)
    }
}

impl ExportError {
    fn write(path: &Path, error: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            error,
        }
    }
}

/// Writes a model to one file, or to two if it is too large.
pub(crate) fn write_model(model: &ModelProto, path: &Path) -> io::Result<()> {
    if prost::Message::encoded_len(model) <= MAX_FILE {
        return topk_files::write_with(path, |file| topk_onnx::write(model, file));
    }
    let mut data_path = path.as_os_str().to_owned();
    data_path.push(".data");
    let data_path = Path::new(&data_path);
    let name = data_path.file_name().unwrap_or_default().to_string_lossy();
    topk_files::write_with(path, |file| {
        topk_files::write_with(data_path, |data| {
            write_with_external_data(model, file, data, &name)
        })
    })
}
