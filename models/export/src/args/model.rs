//! A classifier as a model.

use std::path::PathBuf;

use anyhow::{Context, Error, Result, bail};
use clap::{ValueEnum, value_parser};
use topk_models::{Checkpoint, OnnxOptions, Outputs};
use topk_onnx::{ImageInput, MAX_OPSET, ModelCard, OPSET};
use topk_ops::Reduction;

use super::loss::LossOptions;
use super::source::Source;
use crate::export::{ExportError, ExportOptions, export};
use crate::triton::{TritonRepositoryError, export_triton};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelArgs {
    #[command(flatten)]
    source: Source,

    /// What follows the network; a loss is that of training if no option says otherwise
    #[arg(long, value_enum, default_value_t = HeadName::Logits)]
    head: HeadName,

    /// The k of the head [default: the checkpoint's]
    #[arg(long, visible_alias = "topk")]
    k: Option<usize>,

    #[command(flatten)]
    loss: LossOptions,

    /// What the input takes
    #[arg(long, value_enum, default_value_t = InputName::Normalized)]
    input: InputName,

    /// Floating point of weights and values within; input and outputs are f32 with both
    #[arg(long, value_enum, default_value_t = Precision::Float32)]
    precision: Precision,

    /// Keep batch norm as nodes of its own
    #[arg(long)]
    keep_batch_norm: bool,

    /// Version of ONNX's operators
    #[arg(long, default_value_t = OPSET, value_parser = value_parser!(i64).range(OPSET..=MAX_OPSET))]
    opset: i64,

    /// Do not run the model to see whether it gives what the network gives
    #[arg(long, conflicts_with = "tolerance")]
    no_verify: bool,

    /// By how much outputs may differ from libtorch's, as a share of the largest logit [default: 1e-4, or
    /// 1e-2 with float16]
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<f32>,

    /// Write a folder for a model repository of Triton Inference Server, not a file
    #[arg(long)]
    triton: bool,

    /// Most images that Triton puts together into a batch
    #[arg(long, value_name = "N", default_value_t = 32, requires = "triton")]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    max_batch_size: u32,

    /// The file to write, or the folder with --triton
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InputName {
    /// `f32[batch, 3, height, width]`, (pixel / 255 − mean) / std
    Normalized,
    /// `f32[batch, 3, height, width]`, pixel / 255; the model normalises
    Float,
    /// `u8[batch, height, width, 3]`, pixels as decoded; the model normalises
    Bytes,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Precision {
    /// 32 bits
    Float32,
    /// 16 bits
    Float16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HeadName {
    /// Nothing: output `logits`
    Logits,
    /// A loss: second input `labels`, outputs `logits` and `loss` of each sample
    Loss,
    /// Softmax and the k best: outputs `probabilities` and `classes`, from the best down
    Topk,
}

impl ModelArgs {
    pub(super) fn run(&self) -> Result<()> {
        let unused = match self.head {
            HeadName::Logits => self.k.map(|_| "--k").or(self.loss.given()),
            HeadName::Topk => self.loss.given(),
            HeadName::Loss => None,
        };
        if let Some(option) = unused {
            let head = self.head.to_possible_value().expect("no head is hidden");
            bail!("{option} has no meaning with --head {}", head.get_name());
        }
        let named = || format!("{} cannot be exported", self.source.checkpoint.display());
        let (card, weights) = self.source.read()?;
        let checkpoint = Checkpoint::new(card, weights).with_context(named)?;
        let options = ExportOptions {
            model: OnnxOptions {
                outputs: self.head(checkpoint.card())?,
                image_input: match self.input {
                    InputName::Normalized => None,
                    InputName::Float => Some(ImageInput::Float),
                    InputName::Bytes => Some(ImageInput::Bytes),
                },
                fold_batch_norm: !self.keep_batch_norm,
                float16: self.precision == Precision::Float16,
                opset: self.opset,
            },
            verify: !self.no_verify,
            tolerance: self.tolerance,
        };
        let verification = if self.triton {
            match export_triton(checkpoint, &options, self.max_batch_size, &self.out) {
                Err(TritonRepositoryError::Export(error)) => Err(error),
                done => Ok(done?),
            }
        } else {
            export(checkpoint, &options, &self.out)
        };
        let verification = verification.map_err(|error| match error {
            error @ ExportError::Write { .. } => Error::from(error),
            error => Error::from(error).context(named()),
        })?;
        match verification {
            Some(verification) => println!("{}: {verification}", self.out.display()),
            None => println!("{}: not verified", self.out.display()),
        }
        Ok(())
    }

    fn head(&self, card: &ModelCard) -> Result<Outputs> {
        let training = card.training.as_ref();
        let k = || {
            let trained = training.map(|training| training.k);
            self.k.or(trained).with_context(|| {
                let checkpoint = self.source.checkpoint.display();
                format!("--k is needed for this --head: {checkpoint} does not say one")
            })
        };
        Ok(match self.head {
            HeadName::Logits => Outputs::Logits,
            HeadName::Topk => Outputs::TopK(k()?),
            HeadName::Loss => Outputs::Loss {
                loss: self.loss.loss(k()?, training, Reduction::None)?,
                form: self.loss.form(),
            },
        })
    }
}
