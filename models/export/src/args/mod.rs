//! The command line of `topk-export`.

mod attach;
mod loss;
mod model;
mod source;
mod weights;

use std::io;
use std::path::Path;

use anyhow::Result;
use clap::{Parser, Subcommand};
use topk_report::text::wrap_for;

/// Write classifiers and losses as ONNX files.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "topk-export",
    version,
    max_term_width = 100,
    args_override_self = true
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Write a loss as an ONNX model, or append it to one with --attach
    ///
    /// Inputs are `scores`, `f32[batch, classes]`, and `labels`, `i64[batch]`. Outputs are `loss`,
    /// `f32[batch]` or, if reduced, `f32[1]`; `grad`, the gradient of the summed loss with respect to
    /// `scores`; and for the smooth top-k SVM `prob`, its p for each sample.
    ///
    /// With --attach, the loss is appended to any classifier in an ONNX file instead, with its IR version and operator
    /// set. The result is run in ONNX Runtime on noise, and compared with the loss that this program computes. If they
    /// differ, no file is written.
    Loss(loss::LossArgs),

    /// Write a checkpoint as an ONNX model
    ///
    /// Input is `input`, a batch of images; output is `logits`, unless --outputs says otherwise. The model is
    /// run in ONNX Runtime, and the network in libtorch, on a photograph and on noise. If their outputs
    /// differ, no file is written.
    Model(model::ModelArgs),

    /// Convert a checkpoint to another file of weights
    ///
    /// A .safetensors file has the model card in its metadata. A .pth file has the weights alone, as
    /// torch.load(weights_only=True) reads them.
    Weights(weights::WeightsArgs),
}

/// Prints what was decided about a file.
fn note(file: &Path, text: &str) {
    let line = format!("note: {}: {text}", file.display());
    eprintln!("{}", wrap_for(&io::stderr(), &line));
}

impl Args {
    /// Writes the file atomically.
    ///
    /// # Errors
    /// If the arguments contradict each other, or a file cannot be read, converted or written.
    pub fn run(&self) -> Result<()> {
        match &self.command {
            Command::Loss(args) => args.run(),
            Command::Model(args) => args.run(),
            Command::Weights(args) => args.run(),
        }
    }
}
