use thiserror::Error;
use topk_onnx::attribute;
use topk_onnx::proto::{AttributeProto, DataType, FunctionProto, OperatorSetIdProto};
use topk_ops::operator::{DOMAIN, OperatorLoss};
use topk_ops::{Criterion, Loss, LossError, Reduction};

use crate::batch::{Batch, Values};
use crate::body::Body;
use crate::opset::{FUNCTION_OPSET, MAX_OPSET, MIN_OPSET, Scores};

/// A loss operator with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnnxLoss {
    /// The loss of each sample.
    pub loss: OperatorLoss,
    /// How the losses of a batch are combined.
    pub reduction: Reduction,
    /// The ignored label.
    pub ignore_index: Option<i64>,
}

/// A loss cannot be written as a function.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum FunctionError {
    /// There are too few classes.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The function would be too long and its numbers too large.
    #[error(
        "k = {k} is above {MAX_K}, the limit of the portable function; the native operator has no limit"
    )]
    LargeK {
        /// The k of the loss.
        k: usize,
    },
    /// Losses cannot be written with this version of ONNX's operators.
    #[error(
        "operator set {opset} is not supported: losses can be written with {MIN_OPSET} to {MAX_OPSET}"
    )]
    Opset {
        /// The version.
        opset: i64,
    },
    /// Losses cannot be functions with this version of ONNX's operators.
    #[error(
        "functions need operator set {FUNCTION_OPSET} or later, got {opset}: inline the loss, or write a call \
         of the native operator"
    )]
    FunctionOpset {
        /// The version.
        opset: i64,
    },
    /// The model has operators of this domain in another version.
    #[error(
        "the model imports version {version} of the domain `{DOMAIN}`, which are not these losses: inline the loss"
    )]
    Domain {
        /// The version.
        version: i64,
    },
    /// The model has another function of this name.
    #[error(
        "the model has a function {name} with other settings already: inline the loss, or write a call of \
         the native operator"
    )]
    Defined {
        /// Name of the function.
        name: String,
    },
    /// A setting is too large or too small for an attribute, which is an `f32`.
    #[error("{name} = {value:?} cannot be represented as an ONNX attribute (32-bit float)")]
    Attribute {
        /// Name of the attribute.
        name: &'static str,
        /// Its value.
        value: f64,
    },
}

/// Largest k of a function. Its length grows with k, and its largest numbers with exp(k).
const MAX_K: usize = 128;

impl OnnxLoss {
    /// Checks that the parameters can be written as attributes, and that the loss can be computed with this
    /// number of classes.
    ///
    /// # Errors
    /// [`FunctionError::Loss`] or [`FunctionError::Attribute`].
    pub fn check(&self, classes: usize) -> Result<(), FunctionError> {
        self.loss.as_loss().check_classes(classes)?;
        for (name, value) in self.parameters() {
            let written = value as f32;
            if !written.is_finite() || (written == 0.0) != (value == 0.0) {
                return Err(FunctionError::Attribute { name, value });
            }
        }
        Ok(())
    }

    /// The same loss, to be computed in Rust.
    pub fn criterion(&self) -> Criterion<&dyn Loss> {
        Criterion::new(self.loss.as_loss())
            .with_reduction(self.reduction)
            .with_ignore_index(self.ignore_index)
    }

    /// The attributes that are numbers: names and values.
    fn parameters(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let tau = self.loss.tau().map(|tau| ("tau", tau));
        let alpha = self.loss.alpha().map(|alpha| ("alpha", alpha));
        tau.into_iter().chain(alpha)
    }

    /// The attributes of a node that calls the operator.
    pub fn attributes(&self) -> Vec<AttributeProto> {
        let k = self.loss.k();
        let k = k.map(|k| attribute::int("k", k as i64));
        let mut attributes: Vec<AttributeProto> = k.into_iter().collect();
        for (name, value) in self.parameters() {
            attributes.push(attribute::float(name, value as f32));
        }
        attributes.push(attribute::string("reduction", self.reduction.as_str()));
        if let Some(label) = self.ignore_index {
            attributes.push(attribute::int("ignore_index", label));
        }
        attributes
    }

    /// The operator as a function of ONNX's standard operators, for scores of this number of classes.
    ///
    /// The function has all attributes of the operator, but is specific to one `k`, if there is one, one `reduction`, the
    /// presence of `ignore_index` and that of the input `weights`: a call with another `k` gives NaN.
    /// `tau`, `alpha` and the value of `ignore_index` may vary between calls. It computes in `f32`. A label
    /// that is not a class is an index out of range, which CPU runtimes report; scores that are not finite
    /// give losses that are not finite, or are not detected: losses that depend on few scores ignore others.
    ///
    /// `opset` is the version of ONNX's operators, [`FUNCTION_OPSET`] to [`MAX_OPSET`]. A node calls the function as
    /// [`call`](Self::call) writes it, in a model that imports this version, and version 1 of the domain `topk`.
    ///
    /// # Errors
    /// As for [`check`](Self::check), if k is above 128, or if the version is not supported.
    pub fn function(
        &self,
        opset: i64,
        classes: usize,
        weighted: bool,
    ) -> Result<FunctionProto, FunctionError> {
        if (MIN_OPSET..FUNCTION_OPSET).contains(&opset) {
            return Err(FunctionError::FunctionOpset { opset });
        }
        self.function_of(opset, Scores::of_floats(classes), weighted)
    }

    /// As [`function`](Self::function), for one type of scores with versions before [`FUNCTION_OPSET`].
    pub(crate) fn function_of(
        &self,
        opset: i64,
        scores: Scores,
        weighted: bool,
    ) -> Result<FunctionProto, FunctionError> {
        let Scores { classes, data_type } = scores;
        self.check(classes)?;
        if !(MIN_OPSET..=MAX_OPSET).contains(&opset) {
            return Err(FunctionError::Opset { opset });
        }
        let operator = self.loss.operator();
        if let Some(k) = self.loss.k().filter(|&k| k > MAX_K) {
            return Err(FunctionError::LargeK { k });
        }
        let inputs: &[&str] = if weighted {
            &["scores", "labels", "weights"]
        } else {
            &["scores", "labels"]
        };
        let outputs = operator.output_names();
        Ok(FunctionProto {
            name: operator.name().to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.iter().map(|&name| name.to_owned()).collect(),
            attribute: self.attributes().into_iter().map(|a| a.name).collect(),
            node: {
                let body = Body::new(opset, data_type, inputs.iter().chain(outputs).copied());
                self.body(body, inputs, classes).into_nodes()
            },
            doc_string: self.doc(classes),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: opset,
            }],
            domain: DOMAIN.to_owned(),
        })
    }

    pub(crate) fn doc(&self, classes: usize) -> String {
        let operator = self.loss.operator();
        let k = self.loss.k().map(|k| format!("k = {k}, "));
        let prob = if operator.output_names().contains(&"prob") {
            "; prob [N], p = 1/(1 + exp -u) of each sample"
        } else {
            ""
        };
        format!(
            "{}. Inputs: scores [N, C], labels [N] (int64 or int32) and, if there are any, weights [C] \
             of the classes. Outputs: loss, [N] with reduction none, else [1]; grad [N, C], the \
             derivative of the sum of loss with respect to scores{prob}. Written for {}reduction {} and {classes} classes.",
            operator.description(),
            k.unwrap_or_default(),
            self.reduction.as_str(),
        )
    }

    fn body(&self, mut body: Body, inputs: &[&str], classes: usize) -> Body {
        let mut scores = body.cast("scores_f32", "scores", DataType::Float);
        let labels = body.cast("labels_i64", "labels", DataType::Int64);
        let mut label = body.unsqueeze("label", &labels, 1);
        let (zero, nothing) = (body.int(0), body.float(0.0));
        let ignored = self.ignore_index.map(|_| {
            let ignore_index = body.int_attribute("ignore_index");
            let ignored = body.op("ignored", "Equal", &[&label, &ignore_index]);
            scores = body.op("scores_f32", "Where", &[&ignored, &nothing, &scores]);
            label = body.op("label", "Where", &[&ignored, &zero, &label]);
            ignored
        });
        // Negative labels would count from the last class; replace them by one that is out of range.
        let negative = body.op("negative", "Less", &[&label, &zero]);
        let high = body.int(i32::MAX.into());
        label = body.op("label", "Where", &[&negative, &high, &label]);
        let label_score = body.gathered("label_score", &scores, &label, classes);

        // 1, or NaN if the call has another k.
        let valid = match self.loss.k() {
            Some(own_k) => {
                let k = body.int_attribute("k");
                let own_k = body.int(own_k as i64);
                let is_own_k = body.op("is_own_k", "Equal", &[&k, &own_k]);
                let (valid, invalid) = (body.float(1.0), body.float(f32::NAN));
                body.op("valid", "Where", &[&is_own_k, &valid, &invalid])
            }
            None => body.float(1.0),
        };

        let weighted = inputs.contains(&"weights");
        let weight = weight(&mut body, &label, ignored.as_deref(), weighted);
        let total = (self.reduction == Reduction::Mean).then(|| match &weight {
            Some(weight) => body.sum("total", weight, 0),
            None => {
                let samples = body.op("samples", "Shape", &["labels"]);
                body.cast("total", &samples, DataType::Float)
            }
        });
        let mut factor = valid.clone();
        if let Some(weight) = &weight {
            factor = body.op("factor", "Mul", &[&factor, weight]);
        }
        if let Some(total) = &total {
            factor = body.op("factor", "Div", &[&factor, total]);
        }
        if let Some(ignored) = &ignored {
            // The total may be 0.
            factor = body.op("factor", "Where", &[ignored, &nothing, &factor]);
        }

        let mut batch = Batch {
            body,
            scores,
            label,
            label_score,
            factor,
            classes,
        };
        let values = self.values(&mut batch);

        let mut body = batch.body;
        let mut loss = body.op("losses", "Mul", &[&values.losses, &valid]);
        if let Some(weight) = &weight {
            loss = body.op("losses", "Mul", &[&loss, weight]);
        }
        if self.reduction != Reduction::None {
            loss = body.sum("reduced", &loss, 0);
        }
        if let Some(total) = &total {
            loss = body.op("reduced", "Div", &[&loss, total]);
        }
        loss = body.squeeze("losses", &loss, 1);
        body.output("loss", &loss);
        body.output("grad", &values.grad);
        if let Some(mut prob) = values.prob {
            prob = body.op("probabilities", "Mul", &[&prob, &valid]);
            if let Some(ignored) = &ignored {
                prob = body.op("probabilities", "Where", &[ignored, &nothing, &prob]);
            }
            prob = body.squeeze("probabilities", &prob, 1);
            body.output("prob", &prob);
        }
        body
    }

    fn values(&self, batch: &mut Batch) -> Values {
        match self.loss {
            OperatorLoss::SmoothTopkSvm(loss) => crate::smooth_topk_svm::values(loss.k(), batch),
            OperatorLoss::MaxTopkSvm(loss) => crate::hinge::max_topk_svm(loss.k(), batch),
            OperatorLoss::TopkHingeAlpha(loss) => crate::hinge::topk_hinge_alpha(loss.k(), batch),
            OperatorLoss::TopkHingeBeta(loss) => crate::hinge::topk_hinge_beta(loss.k(), batch),
            OperatorLoss::TruncatedTopkEntropy(loss) => {
                crate::hinge::truncated_topk_entropy(loss.k(), batch)
            }
            OperatorLoss::Psi5(loss) => crate::hinge::psi5(loss.k(), batch),
            OperatorLoss::LdrKl(_) => crate::likelihood::ldr_kl(batch),
            OperatorLoss::DfTopk(loss) => crate::likelihood::df_topk(loss.k(), batch),
        }
    }
}

/// The weight of each label, 0 where it is ignored, `[N, 1]`; `None` if all are 1.
fn weight(body: &mut Body, label: &str, ignored: Option<&str>, weighted: bool) -> Option<String> {
    let weight = weighted.then(|| {
        let weights = body.cast("weights_f32", "weights", DataType::Float);
        body.op("weight", "Gather", &[&weights, label])
    });
    let Some(ignored) = ignored else {
        return weight;
    };
    let (nothing, one) = (body.float(0.0), body.float(1.0));
    let counted = weight.as_deref().unwrap_or(&one);
    Some(body.op("weight", "Where", &[ignored, &nothing, counted]))
}
