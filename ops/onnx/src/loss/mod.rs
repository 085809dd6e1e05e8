//! The losses as model-local functions of ONNX's own operators, which every runtime can compute.

mod batch;
mod body;
mod hinge;
mod model;
mod smooth_topk_svm;

use thiserror::Error;
use topk_ops::{LossError, Reduction};

use self::batch::{Batch, FLOAT, INT64, Values};
use self::body::Body;
pub use self::model::Form;
use crate::operator::DOMAIN;
use crate::proto::{AttributeProto, FunctionProto, OperatorSetIdProto};
use crate::{LossOperator, OPSET, attribute};

/// A loss operator with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnnxLoss {
    /// The operator.
    pub operator: LossOperator,
    /// Number of classes among which the label should be.
    pub k: usize,
    /// Temperature, for the operators that have one.
    pub tau: f64,
    /// Margin, for the operators that have one.
    pub alpha: f64,
    /// What becomes of the losses of a batch.
    pub reduction: Reduction,
    /// The label of samples that do not count.
    pub ignore_index: Option<i64>,
}

/// Why a loss cannot be written as a function.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum FunctionError {
    /// The settings are not those of a loss, or do not fit the number of classes.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The function would be too long and its numbers too large.
    #[error(
        "k is {k}: a portable function is written for k up to {MAX_K}. The native operator has no \
         such limit"
    )]
    LargeK {
        /// The k of the loss.
        k: usize,
    },
    /// A setting is too large or too small for an attribute, which is an `f32`.
    #[error(
        "{name} is {value:?}, which is not a number of ONNX's attributes (32-bit floating point)"
    )]
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
    /// Checks that there is such a loss, and that it can be computed with this number of classes.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn check(&self, classes: usize) -> Result<(), FunctionError> {
        let loss = self.operator.loss(self.k, self.tau, self.alpha)?;
        loss.check_classes(classes)?;
        let tau = self.operator.has_tau().then_some(("tau", self.tau));
        let alpha = self.operator.has_alpha().then_some(("alpha", self.alpha));
        for (name, value) in tau.into_iter().chain(alpha) {
            let written = value as f32;
            if !written.is_finite() || (written == 0.0) != (value == 0.0) {
                return Err(FunctionError::Attribute { name, value });
            }
        }
        Ok(())
    }

    /// The attributes of a node that calls the operator.
    pub fn attributes(&self) -> Vec<AttributeProto> {
        let mut attributes = vec![attribute::int("k", self.k as i64)];
        if self.operator.has_tau() {
            attributes.push(attribute::float("tau", self.tau as f32));
        }
        if self.operator.has_alpha() {
            attributes.push(attribute::float("alpha", self.alpha as f32));
        }
        let reduction = match self.reduction {
            Reduction::None => "none",
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
        };
        attributes.push(attribute::string("reduction", reduction));
        if let Some(label) = self.ignore_index {
            attributes.push(attribute::int("ignore_index", label));
        }
        attributes
    }

    /// The operator as a function of ONNX's own operators, for scores of this number of classes.
    ///
    /// It has all attributes of the operator, but is made for one `k`, one `reduction`, with or without
    /// `ignore_index`, and with or without the input `weights`: with another `k` its loss is NaN. `tau`,
    /// `alpha` and the value of `ignore_index` are the caller's choice. It computes in `f32`. A label
    /// that is no class reads a score that does not exist, which runtimes for the CPU report; scores
    /// that are not finite give losses that are not.
    ///
    /// # Errors
    /// If there is no such loss for this number of classes, or k is above 128.
    pub fn function(&self, classes: usize, weighted: bool) -> Result<FunctionProto, FunctionError> {
        self.check(classes)?;
        if self.k > MAX_K {
            return Err(FunctionError::LargeK { k: self.k });
        }
        let inputs: &[&str] = if weighted {
            &["scores", "labels", "weights"]
        } else {
            &["scores", "labels"]
        };
        let outputs = self.operator.outputs();
        Ok(FunctionProto {
            name: self.operator.name().to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: outputs.iter().map(|&name| name.to_owned()).collect(),
            attribute: self.attributes().into_iter().map(|a| a.name).collect(),
            node: self.body(inputs, classes).into_nodes(),
            doc_string: self.doc(classes),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            domain: DOMAIN.to_owned(),
        })
    }

    fn doc(&self, classes: usize) -> String {
        let Self { operator, k, .. } = self;
        format!(
            "{}. Inputs: scores [N, C], labels [N] (int64 or int32), and weights [C] of the classes if \
             there are any. Outputs: loss, [N] without reduction, else [1]; grad [N, C], the \
             derivative of the sum of loss with respect to scores{}. Written for k = {k} and {classes} \
             classes, by the attribute reduction of its call; the other attributes may be changed.",
            operator.description(),
            if operator.outputs().contains(&"prob") {
                "; prob [N], p = 1/(1 + exp -u)"
            } else {
                ""
            },
        )
    }

    fn body(&self, inputs: &[&str], classes: usize) -> Body {
        let outputs = self.operator.outputs();
        let mut body = Body::new(inputs.iter().chain(outputs).copied());
        let one = body.ints(&[1]);
        let float = || [attribute::int("to", FLOAT)];
        let mut scores = body.op("scores_f32", "Cast", &["scores"], float());
        let labels = body.op(
            "labels_i64",
            "Cast",
            &["labels"],
            [attribute::int("to", INT64)],
        );
        let mut label = body.op("label", "Unsqueeze", &[&labels, &one], []);

        // Labels below 0, which would count from the last class, become ones that are too high.
        let zero = body.int(0);
        let ignored = self.ignore_index.map(|_| {
            let ignore_index = body.int_attribute("ignore_index");
            let ignored = body.op("ignored", "Equal", &[&label, &ignore_index], []);
            let nothing = body.float(0.0);
            scores = body.op("scores_f32", "Where", &[&ignored, &nothing, &scores], []);
            label = body.op("label", "Where", &[&ignored, &zero, &label], []);
            ignored
        });
        let negative = body.op("negative", "Less", &[&label, &zero], []);
        let high = body.int(i32::MAX.into());
        label = body.op("label", "Where", &[&negative, &high, &label], []);

        let weight = self.weight(
            &mut body,
            &label,
            ignored.as_deref(),
            inputs.contains(&"weights"),
        );
        let total = (self.reduction == Reduction::Mean).then(|| match &weight {
            Some(weight) => body.sum("total", weight, 0),
            None => {
                let samples = body.op("samples", "Shape", &["labels"], []);
                body.op("total", "Cast", &[&samples], float())
            }
        });
        // 1, or NaN if the call has another k.
        let k = body.int_attribute("k");
        let own_k = body.int(self.k as i64);
        let is_own_k = body.op("is_own_k", "Equal", &[&k, &own_k], []);
        let (valid, invalid) = (body.float(1.0), body.float(f32::NAN));
        let valid = body.op("valid", "Where", &[&is_own_k, &valid, &invalid], []);

        let mut factor = valid.clone();
        if let Some(weight) = &weight {
            factor = body.op("factor", "Mul", &[&factor, weight], []);
        }
        if let Some(total) = &total {
            factor = body.op("factor", "Div", &[&factor, total], []);
        }
        if let Some(ignored) = &ignored {
            // The total may be 0.
            let nothing = body.float(0.0);
            factor = body.op("factor", "Where", &[ignored, &nothing, &factor], []);
        }

        let axis = [attribute::int("axis", 1)];
        let label_score = body.op("label_score", "GatherElements", &[&scores, &label], axis);
        let mut batch = Batch {
            body,
            scores,
            label,
            label_score,
            factor,
            classes,
        };
        let Values {
            mut losses,
            grad,
            prob,
        } = self.values(&mut batch);

        let mut body = batch.body;
        losses = body.op("losses", "Mul", &[&losses, &valid], []);
        if let Some(weight) = &weight {
            losses = body.op("losses", "Mul", &[&losses, weight], []);
        }
        if self.reduction != Reduction::None {
            losses = body.sum("loss_of_batch", &losses, 0);
        }
        if let Some(total) = &total {
            losses = body.op("loss_of_batch", "Div", &[&losses, total], []);
        }
        losses = body.op("losses", "Squeeze", &[&losses, &one], []);
        body.output("loss", &losses, "scores");
        body.output("grad", &grad, "scores");
        if let Some(mut prob) = prob {
            prob = body.op("probabilities", "Mul", &[&prob, &valid], []);
            if let Some(ignored) = &ignored {
                let nothing = body.float(0.0);
                prob = body.op("probabilities", "Where", &[ignored, &nothing, &prob], []);
            }
            prob = body.op("probabilities", "Squeeze", &[&prob, &one], []);
            body.output("prob", &prob, "scores");
        }
        body
    }

    /// The weight of each label, 0 where it is ignored, `[N, 1]`; none if all are 1.
    fn weight(
        &self,
        body: &mut Body,
        label: &str,
        ignored: Option<&str>,
        weighted: bool,
    ) -> Option<String> {
        let weight = weighted.then(|| {
            let float = [attribute::int("to", FLOAT)];
            let weights = body.op("weights_f32", "Cast", &["weights"], float);
            body.op("weight", "Gather", &[&weights, label], [])
        });
        let Some(ignored) = ignored else {
            return weight;
        };
        let (nothing, one) = (body.float(0.0), body.float(1.0));
        let counted = weight.as_deref().unwrap_or(&one);
        Some(body.op("weight", "Where", &[ignored, &nothing, counted], []))
    }

    fn values(&self, batch: &mut Batch) -> Values {
        match self.operator {
            LossOperator::SmoothTopkSvm => smooth_topk_svm::values(self.k, batch),
            LossOperator::MaxTopkSvm => hinge::max_topk_svm(self.k, batch),
            LossOperator::TopkHingeAlpha => hinge::topk_hinge_alpha(self.k, batch),
            LossOperator::TopkHingeBeta => hinge::topk_hinge_beta(self.k, batch),
            LossOperator::TruncatedTopkEntropy => hinge::truncated_topk_entropy(self.k, batch),
            LossOperator::Psi5 => hinge::psi5(self.k, batch),
        }
    }
}
