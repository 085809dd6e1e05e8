//! The weights to export, and what is known about them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use topk_labels::{ClassNames, imagenet};
use topk_models::{Checkpoint, architecture_of, images};
use topk_onnx::{CardResize, ModelCard};
use topk_preprocessing::{Interpolation, parse_channels, parse_input_size};
use topk_weights::StateDict;

/// A file of weights. Checkpoints of `topk-train` record everything that the other options could say.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Source {
    /// Weights: a checkpoint of topk-train, such as best1.safetensors, or a safetensors or PyTorch file
    /// (.pth, .pt) of another program
    #[arg(long, value_name = "FILE")]
    pub(super) checkpoint: PathBuf,

    /// Architecture, such as resnet18, if the file does not record it; topk-train --list-models lists all
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// Names of the classes in the order of the scores: a text file with one name per line, or JSON like
    /// imagenet_class_index.json or the config.json of a Hugging Face model [default: the checkpoint's, or
    /// ImageNet's for 1,000 classes]
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,

    /// Size of the input images in pixels: 224, or 192x256 (height x width) [default: the checkpoint's or the
    /// architecture's]
    #[arg(long, value_name = "SIZE", value_parser = parse_input_size)]
    input_size: Option<[usize; 2]>,

    /// Length in pixels that the shorter side is resized to before the centre crop, or 0 for images that
    /// already have the input size [default: the checkpoint's or the architecture's]
    #[arg(long, value_name = "PIXELS")]
    resize: Option<usize>,

    /// Filter for resizing [default: the checkpoint's or the architecture's]
    #[arg(long, value_enum)]
    interpolation: Option<Interpolation>,

    /// Mean of red, green and blue, in units of pixels / 255 [default: the checkpoint's or the
    /// architecture's]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "std")]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green and blue, in units of pixels / 255 [default: the checkpoint's or the
    /// architecture's]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "mean")]
    std: Option<[f32; 3]>,
}

impl Source {
    /// The weights, and their model card.
    pub(super) fn read(&self) -> Result<(ModelCard, StateDict)> {
        let path = self.checkpoint.display();
        let weights = StateDict::read(&self.checkpoint)?;
        let card = Checkpoint::card_of(&weights).with_context(|| path.to_string())?;
        let mut card = match (card, &self.model) {
            (Some(card), None) => card,
            (Some(card), Some(name)) if card.architecture == *name => card,
            (Some(card), Some(name)) => {
                bail!(
                    "{path} was saved for {}, but --model says {name}",
                    card.architecture
                )
            }
            (None, Some(name)) => published(name, &weights)?,
            (None, None) => bail!(
                "{path} does not record its architecture: give --model, such as --model resnet18 \
                 (topk-train --list-models lists all)"
            ),
        };
        if let Some(path) = &self.class_names {
            card.class_names = Some(ClassNames::read(path)?.names().to_vec());
        }
        if let Some([height, width]) = self.input_size {
            card.input_size = [card.input_size[0], height, width];
        }
        if let (Some(mean), Some(std)) = (self.mean, self.std) {
            (card.mean, card.std) = (mean, std);
        }
        card.resize = self.resize(card.resize)?;
        Ok((card, weights))
    }

    /// Whether the options give the names of the classes.
    pub(super) fn names_classes(&self) -> bool {
        self.class_names.is_some()
    }

    fn resize(&self, resize: Option<CardResize>) -> Result<Option<CardResize>> {
        let filter = self.interpolation;
        let shorter_side = self.resize.or(resize.map(|resize| resize.shorter_side));
        let Some(shorter_side) = shorter_side.filter(|&side| side > 0) else {
            ensure!(
                filter.is_none(),
                "--interpolation requires --resize: the images already have the input size"
            );
            return Ok(None);
        };
        let recorded = resize.map(|resize| resize.interpolation);
        Ok(Some(CardResize {
            shorter_side,
            interpolation: filter.or(recorded).unwrap_or(Interpolation::Bilinear),
        }))
    }
}

/// The model card of published weights: ImageNet's class names if they have 1,000 classes.
fn published(name: &str, weights: &StateDict) -> Result<ModelCard> {
    let images = images(name)?;
    let classes = architecture_of(weights, name, images.size)?.classes();
    let names = || {
        imagenet::synsets()
            .iter()
            .map(|synset| synset.names.to_owned())
    };
    Ok(ModelCard {
        format: ModelCard::FORMAT,
        architecture: name.to_owned(),
        class_names: (classes == imagenet::CLASSES).then(|| names().collect()),
        input_size: images.size,
        resize: images.resize,
        mean: images.normalization.mean,
        std: images.normalization.std,
        training: None,
    })
}
