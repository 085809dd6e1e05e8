use tch::{Kind, TchError, Tensor, no_grad};
use topk_ops::Lml;

use super::TensorLoss;
use crate::autograd::with_gradient;

impl TensorLoss for Lml {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let (values, grad) = no_grad(|| lml(self.k() as i64, scores, labels))?;
        with_gradient(scores, &values, &grad)
    }

    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let (values, grad) = no_grad(|| {
            let (logits, slope) = projection(self.k() as i64, scores)?;
            let targets = targets.f_to_kind(Kind::Double)?;
            let missing = logits.f_neg()?.f_sigmoid()?.f_mul(&targets)?;
            let all = missing.f_sum_dim_intlist(1, true, None)?;
            let total = slope.f_sum_dim_intlist(1, true, None)?;
            let grad = slope.f_div(&total)?.f_mul(&all)?.f_sub(&missing)?;
            let values = negative_log_sigmoid(&logits)?.f_mv(&targets)?;
            let kind = scores.kind();
            Ok::<_, TchError>((values.f_to_kind(kind)?, grad.f_to_kind(kind)?))
        })?;
        with_gradient(scores, &values, &grad)
    }
}

/// Steps of Newton's method within a bracket; the last ones double the number of correct digits.
const STEPS: usize = 24;

/// The logit of p, and a multiple of p (1 − p), for each class. The equation for ν is solved in the same form as in
/// `topk_ops`.
fn projection(k: i64, scores: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let scores = scores.f_to_kind(Kind::Double)?;
    let classes = scores.size()[1];
    let (highest, order) = scores.f_topk(k + 1, 1, true, true)?;
    let (a, b) = (highest.f_narrow(1, k - 1, 1)?, highest.f_narrow(1, k, 1)?);
    let half_gap = a.f_sub(&b)?.f_mul_scalar(0.5)?;
    let inverse_gap = half_gap.f_neg()?.f_exp()?;
    // 1 in the tail, −1 in the head.
    let side = scores.f_ones_like()?;
    let side = side.f_scatter_value(1, &order.f_narrow(1, 0, k)?, -1.0)?;
    let bound = b.f_where_self(&side.f_gt(0.0)?, &a)?;
    let depth = bound.f_sub(&scores)?.f_mul(&side)?;

    // The terms of both sides of the equation, and the magnitudes of their slopes.
    let terms = |x: &Tensor| -> Result<(Tensor, Tensor), TchError> {
        let y = x.f_mul(&side)?.f_sub(&depth)?;
        let term = y.f_neg()?.f_exp()?.f_add(&inverse_gap)?.f_reciprocal()?;
        let slope = term.f_mul(&half_gap.f_sub(&y)?.f_sigmoid()?)?;
        Ok((term, slope))
    };
    let tail = side.f_clamp_min(0.0)?;
    let head = side.f_neg()?.f_clamp_min(0.0)?;
    let sum = |entries: &Tensor| entries.f_sum_dim_intlist(1, true, None);
    let mut high = b.f_full_like((classes as f64).ln() + 1.0)?;
    let mut low = high.f_neg()?;
    let mut x = b.f_zeros_like()?;
    for _ in 0..STEPS {
        let (term, slope) = terms(&x)?;
        let sums = [&tail, &head].map(|part| {
            let sum_of = |entries: &Tensor| sum(&entries.f_mul(part)?);
            Ok::<_, TchError>((sum_of(&term)?, sum_of(&slope)?))
        });
        let [at_tail, at_head] = sums;
        let ((tail, tail_slope), (head, head_slope)) = (at_tail?, at_head?);
        let error = tail.f_log()?.f_sub(&head.f_log()?)?;
        let slope = tail_slope.f_div(&tail)?.f_add(&head_slope.f_div(&head)?)?;
        let above = error.f_gt(0.0)?;
        high = x.f_where_self(&above, &high)?;
        low = low.f_where_self(&above, &x)?;
        let newton = x.f_sub(&error.f_div(&slope)?)?;
        let inside = newton
            .f_ge_tensor(&low)?
            .f_logical_and(&newton.f_le_tensor(&high)?)?;
        let settled = error.f_eq(0.0)?;
        let middle = low.f_add(&high)?.f_mul_scalar(0.5)?;
        x = x.f_where_self(&settled, &newton.f_where_self(&inside, &middle)?)?;
    }

    let (_, slope) = terms(&x)?;
    let logits = x.f_sub(&depth.f_add(&half_gap)?.f_mul(&side)?)?;
    Ok((logits, slope))
}

/// Values and gradient.
fn lml(k: i64, scores: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let kind = scores.kind();
    let (logits, slope) = projection(k, scores)?;
    let label_column = labels.f_unsqueeze(1)?;
    let logit = logits.f_gather(1, &label_column, false)?;
    let values = negative_log_sigmoid(&logit)?;
    let sum = |entries: &Tensor| entries.f_sum_dim_intlist(1, true, None);
    let others = sum(&slope.f_scatter_value(1, &label_column, 0.0)?)?;
    let scale = logit.f_neg()?.f_sigmoid()?.f_div(&sum(&slope)?)?;
    let grad = slope
        .f_mul(&scale)?
        .f_scatter(1, &label_column, &scale.f_mul(&others)?.f_neg()?)?;
    Ok((
        values.f_squeeze_dim(1)?.f_to_kind(kind)?,
        grad.f_to_kind(kind)?,
    ))
}

/// −ln σ(x).
fn negative_log_sigmoid(x: &Tensor) -> Result<Tensor, TchError> {
    let rest = x.f_abs()?.f_neg()?.f_exp()?.f_log1p()?;
    x.f_neg()?.f_clamp_min(0.0)?.f_add(&rest)
}
