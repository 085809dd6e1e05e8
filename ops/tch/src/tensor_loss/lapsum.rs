use tch::{Kind, TchError, Tensor, no_grad};
use topk_ops::LapSum;

use super::{TensorLoss, label_scores};
use crate::autograd::with_gradient;

impl TensorLoss for LapSum {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let (values, grad) = no_grad(|| {
            let x = offsets(self, scores)?;
            let of_label = label_scores(&x, labels)?.f_unsqueeze(1)?;
            let scale = slope(&of_label)?.f_div_scalar(self.tau())?;
            let share = x.f_abs()?.f_neg()?.f_softmax(1, None)?;
            let column = labels.f_unsqueeze(1)?;
            let wrong = share.f_scatter_value(1, &column, 0.0)?;
            let others = wrong.f_sum_dim_intlist(1, true, None)?;
            let grad = wrong
                .f_scatter(1, &column, &others.f_neg()?)?
                .f_mul(&scale)?;
            let values = value(&of_label)?.f_squeeze_dim(1)?;
            in_kind(scores.kind(), &values, &grad)
        })?;
        with_gradient(scores, &values, &grad)
    }

    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let (values, grad) = no_grad(|| {
            let x = offsets(self, scores)?;
            let targets = targets.f_to_kind(Kind::Double)?;
            let slopes = slope(&x)?.f_mul(&targets)?;
            let all = slopes.f_sum_dim_intlist(1, true, None)?;
            let share = x.f_abs()?.f_neg()?.f_softmax(1, None)?;
            let grad = share
                .f_mul(&all)?
                .f_sub(&slopes)?
                .f_div_scalar(self.tau())?;
            in_kind(scores.kind(), &value(&x)?.f_mv(&targets)?, &grad)
        })?;
        with_gradient(scores, &values, &grad)
    }
}

fn in_kind(kind: Kind, values: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    Ok((values.f_to_kind(kind)?, grad.f_to_kind(kind)?))
}

/// x of each score, in `f64`; see [`LapSum`]. The threshold is the root of the same equations as there, with the
/// logarithms of the sums A and C relative to the middle between the k-th and the (k + 1)-th largest score.
fn offsets(loss: &LapSum, scores: &Tensor) -> Result<Tensor, TchError> {
    let (k, tau) = (loss.k(), loss.tau());
    let scores = scores.f_to_kind(Kind::Double)?;
    let (samples, classes) = scores.size2()?;
    let options = (Kind::Double, scores.device());
    let (sorted, _) = scores.f_sort(1, true)?;
    let middle = sorted
        .f_narrow(1, k as i64 - 1, 2)?
        .f_mul_scalar(0.5)?
        .f_sum_dim_intlist(1, true, None)?;
    let z = sorted.f_sub(&middle)?.f_div_scalar(tau)?;
    // After m = 0, …, n scores.
    let nothing = Tensor::f_full([samples, 1], f64::NEG_INFINITY, options)?;
    let heads = Tensor::f_cat(&[&nothing, &z.f_neg()?.f_logcumsumexp(1)?], 1)?;
    let tails = z.f_flip([1])?.f_logcumsumexp(1)?.f_flip([1])?;
    let tails = Tensor::f_cat(&[&tails, &nothing], 1)?;
    // The sum of p where the threshold is the m-th score, m = 1, …, n.
    let counts = Tensor::f_arange_start(1, classes + 1, options)?;
    let lacking = heads.f_narrow(1, 1, classes)?.f_add(&z)?.f_exp()?;
    let having = tails.f_narrow(1, 1, classes)?.f_sub(&z)?.f_exp()?;
    let sums = having.f_sub(&lacking)?.f_mul_scalar(0.5)?.f_add(&counts)?;
    let above = sums
        .f_lt(k as f64)?
        .f_sum_dim_intlist(1, true, Kind::Int64)?;
    let head = heads.f_gather(1, &above, false)?;
    let tail = tails.f_gather(1, &above, false)?;
    let excess = above.f_to_kind(Kind::Double)?.f_sub_scalar(k as f64)?;
    let product = head.f_add(&tail)?.f_exp()?;
    let root = excess.f_square()?.f_add(&product)?.f_sqrt()?;
    let high = excess.f_add(&root)?.f_log()?.f_sub(&head)?;
    let low = tail.f_sub(&root.f_sub(&excess)?.f_log()?)?;
    let even = tail.f_sub(&head)?.f_mul_scalar(0.5)?;
    let threshold = high.f_where_self(
        &excess.f_gt(0.0)?,
        &low.f_where_self(&excess.f_lt(0.0)?, &even)?,
    )?;
    scores.f_sub(&middle)?.f_div_scalar(tau)?.f_sub(&threshold)
}

/// −ln F(x).
fn value(x: &Tensor) -> Result<Tensor, TchError> {
    let above = half_power(x)?.f_neg()?.f_log1p()?.f_neg()?;
    let below = x.f_neg()?.f_add_scalar(std::f64::consts::LN_2)?;
    below.f_where_self(&x.f_lt(0.0)?, &above)
}

/// F′(x)/F(x).
fn slope(x: &Tensor) -> Result<Tensor, TchError> {
    let power = half_power(x)?;
    // 1 for x = 0 and below.
    power.f_div(&power.f_neg()?.f_add_scalar(1.0)?)
}

/// exp(−x)/2, or ½ for x below 0.
fn half_power(x: &Tensor) -> Result<Tensor, TchError> {
    x.f_clamp_min(0.0)?.f_neg()?.f_exp()?.f_mul_scalar(0.5)
}
