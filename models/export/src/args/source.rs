//! Weights, of `topk-train` or from elsewhere, and what they say or are said to be.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use topk_labels::{ClassNames, imagenet};
use topk_models::{Checkpoint, architecture_of, images};
use topk_onnx::{CardResize, ModelCard};
use topk_preprocessing::{Interpolation, parse_channels, parse_input_size};
use topk_weights::StateDict;

/// Options that checkpoints of `topk-train` need none of.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Source {
    /// Weights: a checkpoint of topk-train, such as best1.safetensors, or a safetensors or PyTorch file
    /// (.pth, .pt) from elsewhere
    #[arg(long, value_name = "FILE")]
    pub(super) checkpoint: PathBuf,

    /// Network of weights from elsewhere, such as resnet18: topk-train --list-models has all
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,

    /// File with the names of the classes, in the order of the scores: one a line, or JSON as
    /// imagenet_class_index.json or a config.json of the Hugging Face hub has it [default: what the checkpoint
    /// says, or ImageNet's if there are 1,000]
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,

    /// Size of the input images in pixels, such as 224 or 192x256 (height x width) [default: what the
    /// checkpoint says, or the network was made for]
    #[arg(long, value_name = "SIZE", value_parser = parse_input_size)]
    input_size: Option<[usize; 2]>,

    /// Shorter side of the images before the middle is cropped, or 0 if they come in the input's size
    /// [default: likewise]
    #[arg(long, value_name = "PIXELS")]
    resize: Option<usize>,

    /// Filter that images are resized with [default: likewise]
    #[arg(long, value_enum)]
    interpolation: Option<Interpolation>,

    /// Mean of red, green, blue in units of pixels / 255 [default: likewise]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "std")]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green, blue, likewise
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "mean")]
    std: Option<[f32; 3]>,
}

impl Source {
    /// The weights, and what is known of them.
    pub(super) fn read(&self) -> Result<(ModelCard, StateDict)> {
        let path = self.checkpoint.display();
        let weights = StateDict::read(&self.checkpoint)?;
        let card = Checkpoint::card_of(&weights).with_context(|| path.to_string())?;
        let mut card = match (card, &self.arch) {
            (Some(card), None) => card,
            (Some(card), Some(name)) if card.architecture == *name => card,
            (Some(card), Some(name)) => {
                bail!(
                    "{path} says that it is of {}: --arch {name} contradicts it",
                    card.architecture
                )
            }
            (None, Some(name)) => published(name, &weights)?,
            (None, None) => bail!(
                "{path} does not say which network it is of: name it with --arch, such as --arch \
                 resnet18 (topk-train --list-models has all)"
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
        card.resize = self.resized(card.resize)?;
        Ok((card, weights))
    }

    /// Whether the options name the classes.
    pub(super) fn names_classes(&self) -> bool {
        self.class_names.is_some()
    }

    fn resized(&self, resize: Option<CardResize>) -> Result<Option<CardResize>> {
        let filter = self.interpolation;
        let shorter_side = self.resize.or(resize.map(|resize| resize.shorter_side));
        let Some(shorter_side) = shorter_side.filter(|&side| side > 0) else {
            ensure!(
                filter.is_none(),
                "--interpolation has no meaning without --resize"
            );
            return Ok(None);
        };
        let said = resize.map(|resize| resize.interpolation);
        Ok(Some(CardResize {
            shorter_side,
            interpolation: filter.or(said).unwrap_or(Interpolation::Bilinear),
        }))
    }
}

/// What is known of a network's published weights: they are of ImageNet if they have as many classes.
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
