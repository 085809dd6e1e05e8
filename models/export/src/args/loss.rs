//! Losses, as models of their own and as outputs of a classifier.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{ValueEnum, value_parser};
use topk_onnx::{OPSET, Training, ir_version};
use topk_ops::operator::LossOperator;
use topk_ops::{LossName, Reduction};
use topk_ops_onnx::{
    FUNCTION_IR_VERSION, FUNCTION_OPSET, Form, MAX_OPSET, MIN_OPSET, OnnxLoss, has_functions,
};

use super::attach::AttachArgs;
use super::note;
use crate::attach::AttachOptions;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct LossArgs {
    #[command(flatten)]
    loss: LossOptions,

    /// The k of the loss
    #[arg(long, value_name = "K")]
    topk: usize,

    /// Number of classes [default: with --attach, that of the model]
    #[arg(long, value_name = "N", required_unless_present = "attach")]
    num_classes: Option<usize>,

    /// Reduction over the batch
    #[arg(long, value_enum, default_value_t)]
    reduction: Reduction,

    /// Give a reduced loss the shape `[]`, as PyTorch does, instead of `[1]`; some servers reject scalars
    #[arg(long)]
    scalar: bool,

    /// Add an input `weights`, `f32[classes]`, with a weight for each class
    #[arg(long)]
    class_weights: bool,

    /// Version of ONNX's operator set
    #[arg(long, value_name = "N", default_value_t = OPSET)]
    #[arg(value_parser = value_parser!(i64).range(MIN_OPSET..=MAX_OPSET))]
    opset: i64,

    /// Version of the file format [default: the one released with --opset]
    #[arg(long, value_name = "N", value_parser = value_parser!(i64).range(3..))]
    ir_version: Option<i64>,

    /// ONNX file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    // The last, since its heading applies to all that follows.
    #[command(flatten)]
    attach: AttachArgs,
}

/// Options of `loss`, and of `model` with `--outputs loss`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LossOptions {
    /// Loss, named as in topk-train [default: the checkpoint's, or svm]
    #[arg(long, value_enum)]
    loss: Option<LossOperator>,

    /// Temperature, above 0 [default: the checkpoint's, or 1]
    #[arg(long)]
    tau: Option<f64>,

    /// Margin, at least 0 [default: the checkpoint's, or 1]
    #[arg(long)]
    alpha: Option<f64>,

    /// Ignore samples with this label
    #[arg(long, value_name = "LABEL", allow_negative_numbers = true)]
    ignore_index: Option<i64>,

    /// How the loss is stored in the file [default: function, or inline for versions of ONNX without functions]
    #[arg(long, value_enum)]
    form: Option<FormName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormName {
    /// Operator of the domain `topk`, defined by a function of standard operators
    Function,
    /// Standard operators only, for runtimes without support for functions
    Inline,
    /// Operator only, for ONNX Runtime with the library of native operators
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
        if self.scalar && self.reduction == Reduction::None {
            bail!("--scalar cannot be used with --reduction none");
        }
        let loss = self.loss.loss(self.topk, self.reduction)?;
        if let Some(model) = &self.attach.attach {
            let options = AttachOptions {
                output: None,
                loss,
                form: self.loss.requested_form(),
                num_classes: self.num_classes,
                labels: None,
                class_weights: self.class_weights,
                scalar: self.scalar,
                predictions: self.attach.predictions().then_some(self.topk),
                as_logits: false,
                verify: true,
            };
            return self.attach.run(model, options, &self.out);
        }
        let classes = self.num_classes.context("--num-classes is missing")?;
        let form = self.form_of_file()?;
        let mut model = loss.model(form, self.opset, classes, self.class_weights, self.scalar)?;
        model.ir_version = self.ir_version.unwrap_or(model.ir_version);
        topk_onnx::save(&model, &self.out)
            .with_context(|| format!("cannot write {}", self.out.display()))
    }

    /// A function, where the version of ONNX has them.
    fn form_of_file(&self) -> Result<Form> {
        let ir_version = self.ir_version.unwrap_or_else(|| ir_version(self.opset));
        let can_have = has_functions(ir_version, self.opset);
        let older = format!("IR version {ir_version} and operator set {}", self.opset);
        match self.loss.requested_form() {
            Some(Form::Function) if !can_have => bail!(
                "--form function needs IR version {FUNCTION_IR_VERSION} and operator set {FUNCTION_OPSET} or \
                 later, not {older}: use --form inline"
            ),
            Some(form) => Ok(form),
            None if can_have => Ok(Form::Function),
            None => {
                let reason = format!("{older} have no functions for losses");
                note(
                    &self.out,
                    &format!("{reason}: the loss is written as plain nodes (--form inline)"),
                );
                Ok(Form::Inline)
            }
        }
    }
}

impl LossOptions {
    /// The loss that the options name, or the smooth SVM; parameters that are not given are 1.
    fn loss(&self, k: usize, reduction: Reduction) -> Result<OnnxLoss> {
        let operator = self.loss.unwrap_or(LossOperator::SmoothTopkSvm);
        self.build(operator, k, None, reduction)
    }

    /// The loss of each image, and a line about what it is. Where the options do not say it, it is that of training.
    pub(super) fn loss_of_checkpoint(
        &self,
        k: usize,
        checkpoint: &Path,
        trained: Option<&Training>,
    ) -> Result<(OnnxLoss, String)> {
        let Some(trained) = trained else {
            let loss = self.loss(k, Reduction::None)?;
            let note = "the file does not record the loss of its training";
            return Ok((loss, format!("{}; {note}", output_is(&loss))));
        };
        let operator = match self.loss {
            Some(operator) => operator,
            None => operator_of(checkpoint, trained)?,
        };
        // Temperature and margin of another loss mean something else.
        let same = operator.loss_name().as_str() == trained.loss;
        let loss = self.build(operator, k, same.then_some(trained), Reduction::None)?;
        let has_k = trained.loss.parse().is_ok_and(LossName::has_k);
        let k = has_k.then_some(trained.k);
        let of_training = description(&trained.loss, k, trained.tau, trained.alpha);
        let note = match description_of(&loss) == of_training {
            true => format!("{}, as in training", output_is(&loss)),
            false => format!("{}, but training used {of_training}", output_is(&loss)),
        };
        Ok((loss, note))
    }

    /// This loss. Parameters that are not given are those of training, or 1.
    fn build(
        &self,
        operator: LossOperator,
        k: usize,
        trained: Option<&Training>,
        reduction: Reduction,
    ) -> Result<OnnxLoss> {
        let name = operator.loss_name();
        if self.tau.is_some() && !operator.has_tau() {
            bail!("--tau cannot be used with --loss {name}, which has no temperature");
        }
        if self.alpha.is_some() && !operator.has_alpha() {
            bail!("--alpha cannot be used with --loss {name}, which has no margin");
        }
        let or_trained =
            |given: Option<f64>, trained: Option<f64>| given.or(trained).unwrap_or(1.0);
        let tau = or_trained(self.tau, trained.and_then(|training| training.tau));
        let alpha = or_trained(self.alpha, trained.and_then(|training| training.alpha));
        Ok(OnnxLoss {
            loss: operator.loss(k, tau, alpha)?,
            reduction,
            ignore_index: self.ignore_index,
        })
    }

    pub(super) fn form(&self) -> Form {
        self.requested_form().unwrap_or(Form::Function)
    }

    fn requested_form(&self) -> Option<Form> {
        self.form.map(Form::from)
    }

    /// The first of these options that is given.
    pub(super) fn first_given(&self) -> Option<&'static str> {
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

/// The operator of the loss of training.
fn operator_of(checkpoint: &Path, trained: &Training) -> Result<LossOperator> {
    let name = trained.loss.parse();
    let operator = name.clone().ok().and_then(LossName::operator);
    operator.with_context(|| {
        let names = LossOperator::ALL.map(|operator| operator.loss_name().as_str());
        let same = match name {
            Ok(LossName::CrossEntropy) => {
                "; --loss truncated-topk-entropy --topk 1 is cross-entropy without label smoothing"
            }
            _ => "",
        };
        format!(
            "{} was trained with the loss {}, which --outputs loss cannot compute: give --loss, one of {}{same}",
            checkpoint.display(),
            trained.loss,
            names.join(", ")
        )
    })
}

fn output_is(loss: &OnnxLoss) -> String {
    format!("the output `loss` is {}", description_of(loss))
}

fn description_of(loss: &OnnxLoss) -> String {
    let name = loss.loss.operator().loss_name();
    description(
        name.as_str(),
        loss.loss.k(),
        loss.loss.tau(),
        loss.loss.alpha(),
    )
}

/// Name and parameters of a loss.
fn description(name: &str, k: Option<usize>, tau: Option<f64>, alpha: Option<f64>) -> String {
    let parameters = [
        ("k", k.map(|k| k.to_string())),
        ("tau", tau.map(|tau| tau.to_string())),
        ("alpha", alpha.map(|alpha| alpha.to_string())),
    ];
    let parameters = parameters.into_iter();
    let given = parameters.filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
    let given: Vec<String> = given.collect();
    match given.is_empty() {
        true => name.to_owned(),
        false => format!("{name} with {}", given.join(", ")),
    }
}
