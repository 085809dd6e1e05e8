//! Options of `loss --attach`.

use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use topk_report::text::wrap_for;

use super::note;
use crate::attach::{AttachError, AttachOptions, attach};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Attach to a model")]
pub(super) struct AttachArgs {
    /// Append the loss to this ONNX model: --out is a copy with the input `labels`, and the outputs `loss` and `grad`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["opset", "ir_version"])]
    pub(super) attach: Option<PathBuf>,

    /// Name of the value with the scores, an output or any other of the graph [default: the only output that can have
    /// scores]
    #[arg(long, value_name = "NAME", requires = "attach")]
    output: Option<String>,

    /// What the scores are
    #[arg(long, value_enum, default_value_t = Kind::Auto, requires = "attach")]
    output_kind: Kind,

    /// Name of the input with the labels; one that the model has already is shared [default: labels]
    #[arg(long, value_name = "NAME", requires = "attach")]
    labels: Option<String>,

    /// Also output the `probabilities` and `classes` of the k best classes, best first
    #[arg(long, requires = "attach")]
    predictions: bool,

    /// Write the model without running it
    #[arg(long, requires = "attach")]
    no_verify: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Kind {
    /// Scores before softmax; the result of a softmax or sigmoid is an error
    Auto,
    /// Used as scores, even if they are probabilities
    Logits,
}

impl AttachArgs {
    /// Whether the best classes are outputs too.
    pub(super) fn predictions(&self) -> bool {
        self.predictions
    }

    /// The options for a loss, which lack only what these arguments say.
    pub(super) fn run(&self, model: &Path, loss: AttachOptions, out: &Path) -> Result<()> {
        let options = AttachOptions {
            output: self.output.clone(),
            labels: self.labels.clone(),
            as_logits: self.output_kind == Kind::Logits,
            verify: !self.no_verify,
            ..loss
        };
        let context = || format!("cannot attach a loss to {}", model.display());
        let attached = match attach(model, &options, out) {
            Err(error @ (AttachError::Write(_) | AttachError::Read { .. })) => {
                return Err(error.into());
            }
            attached => attached.with_context(context)?,
        };
        for line in &attached.notes {
            note(model, line);
        }
        let result = match attached.check {
            Some(check) => check.to_string(),
            None => "not verified".to_owned(),
        };
        let line = format!("{}: {result}", out.display());
        writeln!(topk_cli::stdout(), "{}", wrap_for(&io::stdout(), &line))?;
        Ok(())
    }
}
