//! Conversion between files of weights.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use topk_models::{Checkpoint, Classifier, architecture};
use topk_onnx::ModelCard;
use topk_weights::StateDict;

use super::source::{Contents, Source};
use crate::libtorch::with_new_classifier;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct WeightsArgs {
    #[command(flatten)]
    source: Source,

    /// What to do with the weights of the classifier, the last layer
    #[arg(long, value_enum, default_value = "keep")]
    classifier: Classifier,

    /// Number of classes of a new classifier [default: the number of --class-names]
    #[arg(long, value_name = "N")]
    num_classes: Option<usize>,

    /// Seed for the weights of a new classifier
    #[arg(long, default_value_t = 0)]
    seed: i64,

    /// File to write; its name must end in .safetensors, .pth or .pt
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl WeightsArgs {
    pub(super) fn run(&self) -> Result<()> {
        let named = || self.source.checkpoint.display().to_string();
        let Contents {
            card,
            weights,
            notes,
        } = self.source.read()?;
        let checkpoint = match self.classifier {
            Classifier::Keep => Checkpoint::new(card, weights).with_context(named)?,
            Classifier::New => self
                .with_new_classifier(card, weights)
                .with_context(named)?,
        };
        self.source.print(&notes);
        Ok(checkpoint.save(&self.out)?)
    }

    fn with_new_classifier(&self, mut card: ModelCard, weights: StateDict) -> Result<Checkpoint> {
        if !self.source.names_classes() {
            // They belong to the old classifier.
            card.class_names = None;
        }
        let names = card.class_names.as_ref().map(Vec::len);
        let classes = self
            .num_classes
            .or(names)
            .context("--classifier new requires --num-classes or --class-names")?;
        if let Some(names) = names {
            ensure!(
                names == classes,
                "--class-names has {names} names, but --num-classes is {classes}"
            );
        }
        card.training = None;
        let architecture = architecture(&card.architecture, card.input_size, classes)?;
        with_new_classifier(card, architecture, weights, self.seed)
    }
}
