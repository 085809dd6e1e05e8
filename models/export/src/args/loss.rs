//! Losses, alone and behind a classifier.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use topk_onnx::Training;
use topk_ops::Reduction;
use topk_ops::operator::LossOperator;
use topk_ops_onnx::{Form, OnnxLoss};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct LossArgs {
    #[command(flatten)]
    loss: LossOptions,

    /// The k of top-k
    #[arg(long, visible_alias = "topk")]
    k: usize,

    /// Number of classes
    #[arg(long, value_name = "C")]
    classes: usize,

    /// What becomes of the losses of a batch
    #[arg(long, value_enum, default_value_t)]
    reduction: Reduction,

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
pub(super) struct LossOptions {
    /// Loss [default: svm]
    #[arg(long, value_enum)]
    loss: Option<LossOperator>,

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

impl LossArgs {
    pub(super) fn run(&self) -> Result<()> {
        let reduction = self.reduction;
        if self.scalar && reduction == Reduction::None {
            bail!("--scalar has no meaning with --reduction none");
        }
        let loss = self.loss.loss(self.k, None, reduction)?;
        let form = self.loss.form();
        let model = loss.model(form, self.classes, self.weights, self.scalar)?;
        topk_onnx::save(&model, &self.out)
            .with_context(|| format!("cannot write {}", self.out.display()))
    }
}

impl LossOptions {
    /// The loss; parameters that are not given are those of `trained`, or 1.
    pub(super) fn loss(
        &self,
        k: usize,
        trained: Option<&Training>,
        reduction: Reduction,
    ) -> Result<OnnxLoss> {
        let operator = self.loss.unwrap_or(LossOperator::SmoothTopkSvm);
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
            tau: or_trained(self.tau, trained.and_then(|training| training.tau)),
            alpha: or_trained(self.alpha, trained.and_then(|training| training.alpha)),
            reduction,
            ignore_index: self.ignore_index,
        })
    }

    pub(super) fn form(&self) -> Form {
        self.form.unwrap_or(FormName::Function).into()
    }

    /// The first option that is given.
    pub(super) fn given(&self) -> Option<&'static str> {
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
