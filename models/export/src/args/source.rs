//! The weights to export, and what is known about them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use topk_labels::{ClassNames, imagenet};
use topk_models::{Checkpoint, architecture_of, images};
use topk_onnx::{CardResize, ChannelValues, ModelCard};
use topk_preprocessing::{
    ImageMode, Interpolation, Normalization, parse_channels, parse_input_size,
};
use topk_weights::{Loaded, Note, ReadOptions, StateDict};

/// A file of weights. Checkpoints of `topk-train` record everything that the other options could say.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Source {
    /// Weights: a checkpoint of topk-train, such as best1.safetensors, or a safetensors or PyTorch file
    /// (.pth, .pt) of another program
    #[arg(long, value_name = "FILE")]
    pub(super) checkpoint: PathBuf,

    /// Take the weights that were averaged in training (EMA) where the file has both
    #[arg(long)]
    use_ema: bool,

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

    /// Mean of red, green and blue, in units of pixels / 255, or one number for all, which grey images need
    /// [default: the checkpoint's or the architecture's]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "std")]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green and blue, in units of pixels / 255 [default: the checkpoint's or the
    /// architecture's]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, requires = "mean")]
    std: Option<[f32; 3]>,
}

/// What a file of weights holds.
pub(super) struct Contents {
    pub(super) card: ModelCard,
    pub(super) weights: StateDict,
    /// What was decided about the file and its weights, one line each.
    pub(super) notes: Vec<String>,
}

impl Source {
    /// The weights, and their model card.
    pub(super) fn read(&self) -> Result<Contents> {
        let path = self.checkpoint.display();
        let options = ReadOptions {
            use_ema: self.use_ema,
        };
        let Loaded { weights, notes } = Loaded::read(&self.checkpoint, options)?;
        let notes = notes.into_iter().map(|note| match note {
            Note::NotEma { .. } => format!("{note}; --use-ema takes those"),
            note => note.to_string(),
        });
        let mut notes: Vec<String> = notes.collect();
        let card = Checkpoint::card_of(&weights).with_context(|| path.to_string())?;
        let foreign = card.is_none();
        let (mut card, weights) = match (card, &self.model) {
            (Some(card), None) => (card, weights),
            (Some(card), Some(name)) if card.architecture == *name => (card, weights),
            (Some(card), Some(name)) => {
                bail!(
                    "{path} was saved for {}, but --model says {name}",
                    card.architecture
                )
            }
            (None, Some(name)) => self.published(name, weights, &mut notes)?,
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
            let mode = card.mean.mode();
            let normalization = Normalization { mean, std };
            ensure!(
                mode == ImageMode::Rgb || normalization.is_grey(),
                "{path} is a network for grey images: give one number each for --mean and --std"
            );
            [card.mean, card.std] = [mean, std].map(|values| ChannelValues::new(values, mode));
        }
        card.resize = self.resize(card.resize)?;
        if foreign {
            notes.extend(self.assumed(&card));
        }
        Ok(Contents {
            card,
            weights,
            notes,
        })
    }

    /// Prints what was decided about the file.
    pub(super) fn print(&self, notes: &[String]) {
        for note in notes {
            super::note(&self.checkpoint, note);
        }
    }

    /// The model card of weights of another program, and the weights under the names of the architecture.
    fn published(
        &self,
        name: &str,
        weights: StateDict,
        notes: &mut Vec<String>,
    ) -> Result<(ModelCard, StateDict)> {
        let path = self.checkpoint.display();
        let images = images(name)?;
        let designed = architecture_of(&StateDict::default(), name, images.size)?;
        let renamed = designed
            .renamed(weights)
            .with_context(|| path.to_string())?;
        notes.extend(renamed.notes);
        ensure!(
            self.mean.is_some() || !renamed.ambiguous_normalization,
            "{path} has timm's names, and timm's weights of this network need one of two normalisations: \
             give --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5, or --mean 0.485,0.456,0.406 --std \
             0.229,0.224,0.225 for those of DeiT; the pretrained_cfg of the model in timm says which"
        );
        let weights = renamed.weights;
        let [_, height, width] = images.size;
        let (mode, normalization) = match designed.input_channels_of(&weights) {
            Some(1) => (ImageMode::L, images.normalization.grey()),
            _ => (ImageMode::Rgb, images.normalization),
        };
        let input_size = [mode.channels(), height, width];
        let classes = architecture_of(&weights, name, input_size)?.classes();
        let names = || {
            imagenet::synsets()
                .iter()
                .map(|synset| synset.names.to_owned())
        };
        let card = ModelCard {
            format: ModelCard::FORMAT,
            architecture: name.to_owned(),
            class_names: (classes == imagenet::CLASSES).then(|| names().collect()),
            input_size,
            resize: images.resize,
            mean: ChannelValues::new(normalization.mean, mode),
            std: ChannelValues::new(normalization.std, mode),
            training: None,
        };
        Ok((card, weights))
    }

    /// What is assumed about images and classes, since neither the file nor the options say it.
    fn assumed(&self, card: &ModelCard) -> Option<String> {
        let list = |values: ChannelValues| {
            let values: Vec<String> = values.as_slice().iter().map(f32::to_string).collect();
            values.join(",")
        };
        let mut assumed = Vec::new();
        if self.input_size.is_none() {
            let [_, height, width] = card.input_size;
            assumed.push(format!("--input-size {height}x{width}"));
        }
        if self.resize.is_none() {
            let side = card.resize.map_or(0, |resize| resize.shorter_side);
            assumed.push(format!("--resize {side}"));
        }
        if self.interpolation.is_none()
            && let Some(resize) = card.resize
        {
            assumed.push(format!("--interpolation {}", resize.interpolation));
        }
        if self.mean.is_none() {
            assumed.push(format!("--mean {}", list(card.mean)));
            assumed.push(format!("--std {}", list(card.std)));
        }
        let classes = match (&self.class_names, &card.class_names) {
            (None, Some(_)) => " and ImageNet's class names (--class-names)",
            _ => "",
        };
        if assumed.is_empty() && classes.is_empty() {
            return None;
        }
        let assumed = assumed.join(" ");
        Some(format!(
            "the file does not record preprocessing; assuming that of {}'s published weights: \
             {assumed}{classes}",
            card.architecture
        ))
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
            cover: match self.resize {
                Some(_) => None,
                None => resize.and_then(|resize| resize.cover),
            },
            interpolation: filter.or(recorded).unwrap_or(Interpolation::Bilinear),
        }))
    }
}
