use topk_onnx::proto::DataType;

use crate::body::Body;

/// The lowest score: not above any other, and finite, so that no difference is NaN.
const LOWEST: f32 = f32::MIN;

/// A batch in the body of a function: the values that every loss starts from.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) body: Body,
    /// `f32`, `[N, C]`.
    pub(super) scores: String,
    /// The labels, `i64`, `[N, 1]`.
    pub(super) label: String,
    /// The score of each label, `[N, 1]`.
    pub(super) label_score: String,
    /// Factor of the derivatives, `[N, 1]` or a scalar.
    pub(super) factor: String,
    pub(super) classes: usize,
}

/// The result of a loss for a batch.
#[derive(Debug)]
pub(super) struct Values {
    /// Loss of each sample, `[N, 1]`.
    pub(super) losses: String,
    /// The derivatives times the factor, `[N, C]`.
    pub(super) grad: String,
    /// p of the smooth top-k SVM, `[N, 1]`.
    pub(super) prob: Option<String>,
}

impl Batch {
    /// The scores, with the lowest score in place of each label's.
    pub(super) fn wrong(&mut self) -> String {
        let lowest = self.body.filled("lowest", &self.label, LOWEST);
        self.scatter("wrong", &self.scores.clone(), &self.label.clone(), &lowest)
    }

    /// The `count` highest entries of each row, in descending order, and their classes; of equal entries
    /// the lower class comes first.
    pub(super) fn top(&mut self, scores: &str, count: usize) -> [String; 2] {
        self.body.top(["highest", "highest_classes"], scores, count)
    }

    /// `into`, with the entries at `classes` of each row replaced by `values`.
    pub(super) fn scatter(
        &mut self,
        name: &str,
        into: &str,
        classes: &str,
        values: &str,
    ) -> String {
        self.body.scatter(name, into, classes, values)
    }

    /// Zeros with the shape of the scores.
    pub(super) fn zeros(&mut self) -> String {
        self.body.filled("zeros", &self.scores, 0.0)
    }

    /// Derivatives `[N, 1]` times the factor from reduction and weights.
    pub(super) fn weighted(&mut self, derivative: &str) -> String {
        self.body.op("scale", "Mul", &[derivative, &self.factor])
    }

    /// `grad`, the derivatives of the wrong classes, with −`factor` at the label.
    pub(super) fn with_label(&mut self, grad: &str, factor: &str) -> String {
        let label_grad = self.body.op("label_grad", "Neg", &[factor]);
        self.scatter("all_grad", grad, &self.label.clone(), &label_grad)
    }

    /// Gradient of f(ln Σ `weights` − s_y), given f′ as `derivative`; `sum` is Σ `weights`.
    pub(super) fn log_sum_grad(&mut self, weights: &str, sum: &str, derivative: &str) -> String {
        let factor = self.weighted(derivative);
        let share = self.body.op("share", "Div", &[&factor, sum]);
        let grad = self.body.op("wrong_grad", "Mul", &[weights, &share]);
        self.with_label(&grad, &factor)
    }

    /// 1 where `value` is above 0, else 0.
    pub(super) fn positive(&mut self, value: &str) -> String {
        let zero = self.body.float(0.0);
        let positive = self.body.op("is_positive", "Greater", &[value, &zero]);
        self.body.cast("positive", &positive, DataType::Float)
    }

    /// α + (`score` − the label's score).
    pub(super) fn excess(&mut self, score: &str) -> String {
        let ahead = self.body.op("ahead", "Sub", &[score, &self.label_score]);
        let alpha = self.body.float_attribute("alpha");
        self.body.op("excess", "Add", &[&ahead, &alpha])
    }

    /// ln(1 + exp u) as max(0, u) and the rest, and the derivative 1/(1 + exp −u), for u of any size.
    pub(super) fn softplus(&mut self, u: &str) -> Softplus {
        let body = &mut self.body;
        let (zero, one) = (body.float(0.0), body.float(1.0));
        let size = body.op("size", "Abs", &[u]);
        let minus = body.op("minus", "Neg", &[&size]);
        let small = body.op("small", "Exp", &[&minus]);
        let sum = body.op("sum", "Add", &[&small, &one]);
        // ln(1 + x) is computed as x ln(w)/(w − 1), with w the rounded 1 + x: the relative errors of ln(w)
        // and w − 1 nearly cancel.
        let rounded = body.op("rounded", "Sub", &[&sum, &one]);
        let log = body.op("log", "Log", &[&sum]);
        let product = body.op("product", "Mul", &[&log, &small]);
        let ratio = body.op("ratio", "Div", &[&product, &rounded]);
        let lost = body.is_zero("lost", &rounded);
        let rest = body.op("rest", "Where", &[&lost, &small, &ratio]);
        let above = body.op("above", "Greater", &[u, &zero]);
        let numerator = body.op("numerator", "Where", &[&above, &one, &small]);
        let derivative = body.op("p", "Div", &[&numerator, &sum]);
        Softplus { rest, derivative }
    }
}

/// See [`Batch::softplus`].
#[derive(Debug)]
pub(super) struct Softplus {
    pub(super) rest: String,
    pub(super) derivative: String,
}
