//! A classifier as an ONNX model.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Error, Result, bail};
use clap::{ValueEnum, value_parser};
use topk_models::{Checkpoint, OnnxOptions, Outputs};
use topk_onnx::{ImageInput, MAX_OPSET, ModelCard, OPSET};
use topk_report::text::wrap_for;

use super::loss::LossOptions;
use super::source::Source;
use crate::export::{ExportError, ExportOptions, export};
use crate::triton::{TritonRepositoryError, export_triton};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelArgs {
    #[command(flatten)]
    source: Source,

    /// Outputs of the model
    #[arg(long, value_enum, default_value_t = OutputsName::Logits)]
    outputs: OutputsName,

    /// The k of --outputs topk or loss [default: the checkpoint's]
    #[arg(long, value_name = "K")]
    topk: Option<usize>,

    #[command(flatten)]
    loss: LossOptions,

    /// Also output `grad` with --outputs loss, the gradient of the summed loss with respect to `logits`
    #[arg(long)]
    gradient: bool,

    /// Format of the input images
    #[arg(long, value_enum, default_value_t = InputName::Normalized)]
    input: InputName,

    /// Precision of weights and intermediate values; input and outputs are always f32
    #[arg(long, value_enum, default_value_t = Precision::Float32)]
    precision: Precision,

    /// Keep batch norm as separate nodes instead of folding it into convolutions
    #[arg(long)]
    keep_batch_norm: bool,

    /// Version of ONNX's operator set
    #[arg(long, default_value_t = OPSET, value_parser = value_parser!(i64).range(OPSET..=MAX_OPSET))]
    opset: i64,

    /// Write the model without running it
    #[arg(long, conflicts_with = "tolerance")]
    no_verify: bool,

    /// Maximum difference of outputs from libtorch's, relative to the largest logit [default: 1e-4, or 1e-2
    /// with --precision float16]
    #[arg(long, value_name = "FRACTION")]
    tolerance: Option<f32>,

    /// Write a folder for a model repository of Triton Inference Server instead of a file
    #[arg(long)]
    triton: bool,

    /// Maximum batch size in Triton
    #[arg(long, value_name = "N", default_value_t = 32, requires = "triton")]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    max_batch_size: u32,

    /// ONNX file to write, or folder with --triton
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InputName {
    /// `f32[batch, 3, height, width]`, (pixel / 255 − mean) / std
    Normalized,
    /// `f32[batch, 3, height, width]`, pixel / 255; the model normalises
    Float,
    /// `u8[batch, height, width, 3]`, decoded pixels; the model normalises
    Bytes,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Precision {
    /// 32-bit floating point
    Float32,
    /// 16-bit floating point
    Float16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputsName {
    /// `logits`, the scores before softmax
    Logits,
    /// `logits`, and `loss` of each image; adds the input `labels`
    Loss,
    /// `probabilities` and `classes` of the k best classes, best first
    Topk,
}

impl ModelArgs {
    pub(super) fn run(&self) -> Result<()> {
        let gradient = self.gradient.then_some("--gradient");
        let unused = match self.outputs {
            OutputsName::Logits => {
                let of_topk = self.topk.map(|_| "--topk");
                of_topk.or(self.loss.first_given()).or(gradient)
            }
            OutputsName::Topk => self.loss.first_given().or(gradient),
            OutputsName::Loss => None,
        };
        if let Some(option) = unused {
            let outputs = self.outputs.to_possible_value();
            let outputs = outputs.expect("no value is hidden");
            let outputs = outputs.get_name();
            bail!("{option} cannot be used with --outputs {outputs}");
        }
        if cfg!(not(feature = "libtorch")) && self.tolerance.is_some() {
            bail!(
                "--tolerance compares with libtorch, which this topk-export was built without: build it with \
                 the feature `libtorch`"
            );
        }
        let context = || format!("cannot export {}", self.source.checkpoint.display());
        let contents = self.source.read()?;
        let mut notes = contents.notes;
        let checkpoint = Checkpoint::new(contents.card, contents.weights).with_context(context)?;
        let options = ExportOptions {
            model: OnnxOptions {
                outputs: self.outputs(checkpoint.card(), &mut notes)?,
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
        self.source.print(&notes);
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
            error => Error::from(error).context(context()),
        })?;
        let result = match verification {
            Some(verification) => verification.to_string(),
            None => "not verified".to_owned(),
        };
        let line = format!("{}: {result}", self.out.display());
        writeln!(topk_cli::stdout(), "{}", wrap_for(&io::stdout(), &line))?;
        Ok(())
    }

    fn outputs(&self, card: &ModelCard, notes: &mut Vec<String>) -> Result<Outputs> {
        let training = card.training.as_ref();
        let k = || {
            let trained = training.map(|training| training.k);
            self.topk.or(trained).with_context(|| {
                let checkpoint = self.source.checkpoint.display();
                format!("{checkpoint} records no k: give --topk")
            })
        };
        Ok(match self.outputs {
            OutputsName::Logits => Outputs::Logits,
            OutputsName::Topk => Outputs::TopK(k()?),
            OutputsName::Loss => {
                let path = &self.source.checkpoint;
                let (loss, note) = self.loss.loss_of_checkpoint(k()?, path, training)?;
                notes.push(note);
                Outputs::Loss {
                    loss,
                    form: self.loss.form(),
                    gradient: self.gradient,
                }
            }
        })
    }
}
