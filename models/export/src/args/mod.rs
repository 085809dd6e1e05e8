//! The command line of `topk-export`.

mod loss;
mod model;
mod source;
mod weights;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Write losses and classifiers as ONNX files.
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
    /// Write a loss as a model: inputs `scores` and `labels`, outputs `loss`, `grad` and `prob`
    ///
    /// `scores` is `f32[batch, classes]` and `labels` `i64[batch]`. `loss` is `f32[batch]`, or `f32[1]` if
    /// it is reduced; `grad` is the derivative of its sum with respect to `scores`; `prob`, which only the
    /// smooth top-k SVM has, is its p for each sample.
    Loss(loss::LossArgs),

    /// Write a checkpoint as a model: input `input`, output `logits`, or as --head says
    ///
    /// The model is run in ONNX Runtime, and the network in libtorch, on a photograph and noise; a model
    /// whose outputs differ is not left behind.
    Model(model::ModelArgs),

    /// Write a checkpoint as a file of weights: .safetensors, with what --arch and the like say in its
    /// metadata, or .pth, which torch.load(weights_only=True) reads
    Weights(weights::WeightsArgs),
}

impl Args {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the arguments do not make a model, or a file cannot be read or written.
    pub fn run(&self) -> Result<()> {
        match &self.command {
            Command::Loss(args) => args.run(),
            Command::Model(args) => args.run(),
            Command::Weights(args) => args.run(),
        }
    }
}
