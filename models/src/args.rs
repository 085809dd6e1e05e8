//! The command line of `topk-export`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum, value_parser};
use topk_onnx::proto::ModelProto;
use topk_onnx::{Form, ImageInput, LossOperator, ModelCard, OPSET, OnnxLoss};
use topk_ops::Reduction;

use crate::checkpoint::Checkpoint;
use crate::export::{ExportOptions, Head, onnx_model, write_model};
use crate::triton::write_triton;

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
    Loss(LossArgs),

    /// Write a checkpoint of topk-train as a model: input `input`, output `logits`, or as --head says
    Model(ModelArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct LossArgs {
    #[command(flatten)]
    loss: LossOptions,

    /// The k of top-k
    #[arg(long, visible_alias = "topk")]
    k: usize,

    /// Number of classes
    #[arg(long, value_name = "C")]
    classes: usize,

    /// What becomes of the losses of a batch
    #[arg(long, value_enum, default_value_t = ReductionName::Mean)]
    reduction: ReductionName,

    /// Give a reduced loss rank 0, as PyTorch does, and not the shape `[1]`; some servers refuse it
    #[arg(long)]
    scalar: bool,

    /// Add an input `weights`, `f32[classes]`: a weight for each class
    #[arg(long)]
    weights: bool,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What losses have in common, alone and behind a classifier.
#[derive(Clone, Debug, clap::Args)]
struct LossOptions {
    /// Which loss [default: smooth-topk-svm]
    #[arg(long, value_enum)]
    loss: Option<LossName>,

    /// Temperature of the smooth top-k SVM, above 0 [default: that of a checkpoint's loss, else 1]
    #[arg(long)]
    tau: Option<f64>,

    /// Margin, at least 0; the truncated entropy has none [default: that of a checkpoint's loss, else 1]
    #[arg(long)]
    alpha: Option<f64>,

    /// Samples with this label do not count
    #[arg(long, value_name = "LABEL", allow_negative_numbers = true)]
    ignore_index: Option<i64>,

    /// How the loss stands in the file [default: function]
    #[arg(long, value_enum)]
    form: Option<FormName>,
}

#[derive(Clone, Debug, clap::Args)]
struct ModelArgs {
    /// The checkpoint, such as best1.safetensors
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

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
    #[arg(long, default_value_t = OPSET, value_parser = value_parser!(i64).range(17..=21))]
    opset: i64,

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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    /// Smooth top-k SVM (SmoothTopkSVMLoss)
    #[value(name = "smooth-topk-svm")]
    SmoothTopkSvm,
    /// Hard top-k SVM (MaxTopkSVMLoss)
    #[value(name = "max-topk-svm")]
    MaxTopkSvm,
    /// Top-k hinge loss α (TopkHingeAlphaLoss)
    TopkHingeAlpha,
    /// Top-k hinge loss β (TopkHingeBetaLoss)
    TopkHingeBeta,
    /// Truncated top-k entropy (TruncatedTopkEntropyLoss)
    TruncatedTopkEntropy,
    /// Top-k calibrated hinge ψ₅ (Psi5Loss)
    #[value(name = "psi5")]
    Psi5,
}

impl From<LossName> for LossOperator {
    fn from(name: LossName) -> Self {
        match name {
            LossName::SmoothTopkSvm => Self::SmoothTopkSvm,
            LossName::MaxTopkSvm => Self::MaxTopkSvm,
            LossName::TopkHingeAlpha => Self::TopkHingeAlpha,
            LossName::TopkHingeBeta => Self::TopkHingeBeta,
            LossName::TruncatedTopkEntropy => Self::TruncatedTopkEntropy,
            LossName::Psi5 => Self::Psi5,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReductionName {
    /// A loss for each sample
    None,
    /// Their sum
    Sum,
    /// Their mean, by the weights of the classes
    Mean,
}

impl From<ReductionName> for Reduction {
    fn from(name: ReductionName) -> Self {
        match name {
            ReductionName::None => Self::None,
            ReductionName::Sum => Self::Sum,
            ReductionName::Mean => Self::Mean,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormName {
    /// An operator of the domain `topk`, with a function of standard operators that defines it
    Function,
    /// Standard operators alone, for runtimes that do not know functions
    Inline,
    /// The operator alone, for ONNX Runtime with the library of native operators
    Native,
}

impl From<FormName> for Form {
    fn from(name: FormName) -> Self {
        match name {
            FormName::Function => Self::Function,
            FormName::Inline => Self::Inline,
            FormName::Native => Self::Native,
        }
    }
}

impl Args {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the arguments do not make a model, or a file cannot be read or written.
    pub fn run(&self) -> Result<()> {
        match &self.command {
            Command::Loss(args) => write(&args.model()?, &args.out),
            Command::Model(args) => args.run(),
        }
    }
}

fn write(model: &ModelProto, path: &Path) -> Result<()> {
    write_model(model, path).with_context(|| format!("cannot write {}", path.display()))
}

impl LossArgs {
    fn model(&self) -> Result<ModelProto> {
        let reduction = self.reduction.into();
        if self.scalar && reduction == Reduction::None {
            bail!("--scalar has no meaning with --reduction none");
        }
        let loss = self.loss.loss(self.k, None, reduction)?;
        let form = self.loss.form();
        Ok(loss.model(form, self.classes, self.weights, self.scalar)?)
    }
}

impl LossOptions {
    /// The loss; parameters that are not given are those of `trained`, or 1.
    fn loss(
        &self,
        k: usize,
        trained: Option<&ModelCard>,
        reduction: Reduction,
    ) -> Result<OnnxLoss> {
        let operator: LossOperator = self.loss.unwrap_or(LossName::SmoothTopkSvm).into();
        let name = operator.name();
        if self.tau.is_some() && !operator.has_tau() {
            bail!("--tau has no meaning for {name}");
        }
        if self.alpha.is_some() && !operator.has_alpha() {
            bail!("--alpha has no meaning for {name}");
        }
        let or_trained =
            |given: Option<f64>, trained: Option<f64>| given.or(trained).unwrap_or(1.0);
        Ok(OnnxLoss {
            operator,
            k,
            tau: or_trained(self.tau, trained.and_then(|card| card.tau)),
            alpha: or_trained(self.alpha, trained.and_then(|card| card.alpha)),
            reduction,
            ignore_index: self.ignore_index,
        })
    }

    fn form(&self) -> Form {
        self.form.unwrap_or(FormName::Function).into()
    }

    /// The first option that is given.
    fn given(&self) -> Option<&'static str> {
        let given = [
            (self.loss.is_some(), "--loss"),
            (self.tau.is_some(), "--tau"),
            (self.alpha.is_some(), "--alpha"),
            (self.ignore_index.is_some(), "--ignore-index"),
            (self.form.is_some(), "--form"),
        ];
        given
            .into_iter()
            .find_map(|(given, name)| given.then_some(name))
    }
}

impl ModelArgs {
    fn run(&self) -> Result<()> {
        let unused = match self.head {
            HeadName::Logits => self.k.map(|_| "--k").or(self.loss.given()),
            HeadName::Topk => self.loss.given(),
            HeadName::Loss => None,
        };
        if let Some(option) = unused {
            let head = self.head.to_possible_value().expect("no head is hidden");
            bail!("{option} has no meaning with --head {}", head.get_name());
        }
        let checkpoint = Checkpoint::load(&self.checkpoint)?;
        let k = self.k.unwrap_or(checkpoint.card.k);
        let head = match self.head {
            HeadName::Logits => Head::Logits,
            HeadName::Topk => Head::TopK(k),
            HeadName::Loss => Head::Loss {
                loss: self.loss.loss(k, Some(&checkpoint.card), Reduction::None)?,
                form: self.loss.form(),
            },
        };
        let options = ExportOptions {
            head,
            image_input: match self.input {
                InputName::Normalized => None,
                InputName::Float => Some(ImageInput::Float),
                InputName::Bytes => Some(ImageInput::Bytes),
            },
            fold_batch_norm: !self.keep_batch_norm,
            float16: self.precision == Precision::Float16,
            opset: self.opset,
        };
        let model = onnx_model(&checkpoint, &options)
            .with_context(|| format!("{} cannot be exported", self.checkpoint.display()))?;
        if self.triton {
            let class_names = &checkpoint.card.class_names;
            return Ok(write_triton(
                &model,
                class_names,
                self.max_batch_size,
                &self.out,
            )?);
        }
        write(&model, &self.out)
    }
}
