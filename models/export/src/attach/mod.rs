//! A loss behind the scores of any classifier in an ONNX file, whoever wrote it.

mod addition;
mod error;
mod files;
mod host;
mod inputs;
mod scores;
mod trial;

use std::path::Path;

use topk_native::Runtime;
use topk_ops_onnx::{Form, OnnxLoss};

pub use error::AttachError;
pub use trial::{LossCheck, Run};

use crate::draft::Draft;
use addition::Addition;
use files::Files;
use host::Host;
use scores::ScoreValue;
use trial::Trial;

/// What is attached to a model, and to which value.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachOptions {
    /// Name of the value with the scores; `None` for the only output that can have scores.
    pub output: Option<String>,
    /// The loss.
    pub loss: OnnxLoss,
    /// How it is written; `None` for a function if the model can have it, otherwise plain nodes.
    pub form: Option<Form>,
    /// Number of classes, for models that do not record it.
    pub num_classes: Option<usize>,
    /// Name of the input with the labels; an existing input is shared. `None` for a new input `labels`.
    pub labels: Option<String>,
    /// Whether there is an input with a weight for each class.
    pub class_weights: bool,
    /// Whether a reduced loss has shape `[]` instead of `[1]`.
    pub scalar: bool,
    /// How many of the highest probabilities, and their classes, are outputs too; `None` for neither.
    pub predictions: Option<usize>,
    /// Whether probabilities may be used as if they were scores.
    pub as_logits: bool,
    /// Whether the model is run in ONNX Runtime, and its loss and gradient compared with those of `topk-ops`.
    pub verify: bool,
}

/// A loss that was attached to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// What was decided, one line each.
    pub notes: Vec<String>,
    /// How the model was verified, if it was.
    pub check: Option<LossCheck>,
}

/// Writes a copy of an ONNX file with a loss of its scores, and the loss's gradient with respect to them. The copy has
/// an input more for the labels, and the outputs `loss` and `grad`, with numbers behind these names if the model uses
/// them already. Everything else in the file is copied byte by byte. Weights in other files stay there; if `out` is in
/// another folder, these files are copied too.
///
/// # Errors
/// If the file cannot be read, the scores are not recognised or are probabilities, the loss cannot be written for the
/// model's version of ONNX, a file cannot be written, or the model fails verification. No file is written then.
pub fn attach(path: &Path, options: &AttachOptions, out: &Path) -> Result<Attached, AttachError> {
    let host = Host::open(path)?;
    let draft = Draft::beside(out)?;
    let files = Files::prepare(&host, &draft, out)?;
    let mut notes = files.notes.clone();
    let scores = ScoreValue::choose(&host, options, &files, &mut notes)?;
    let addition = Addition::new(&host, &scores, options, &mut notes)?;
    files.write(&host, &addition.model, &files.model())?;
    let check = match options.verify {
        true => {
            let trial = Trial {
                runtime: Runtime::load()?,
                host: &host,
                scores: &scores,
                addition: &addition,
                options,
                files: &files,
            };
            Some(trial.check()?)
        }
        false => None,
    };
    files.finish()?;
    Ok(Attached { notes, check })
}
