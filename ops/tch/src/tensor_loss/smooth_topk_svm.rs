use tch::{Kind, TchError, Tensor, no_grad};
use topk_ops::SmoothTopkSvm;

use super::{TensorLoss, label_scores, without_label};
use crate::autograd::with_gradient;

impl TensorLoss for SmoothTopkSvm {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let (values, grad) = no_grad(|| smooth_topk_svm(self, scores, labels))?;
        with_gradient(scores, &values, &grad)
    }
}

/// Largest k for which only the 2k highest classes are added one by one; beyond it, all are.
const MAX_K: usize = 32;

/// Values and gradient, in `f64`.
///
/// The algorithm is that of the `f32` kernel of `topk-ops`, except that the polynomials of the tail come
/// from its power sums by Newton's identities. These subtract, but the head dominates the result: every
/// weight of the tail is smaller than 2k others.
fn smooth_topk_svm(
    svm: &SmoothTopkSvm,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<(Tensor, Tensor), TchError> {
    let kind = scores.kind();
    let (k, tau) = (svm.k() as i64, svm.tau());
    let per_score = 1.0 / k as f64;
    let scores = scores.f_to_kind(Kind::Double)?;
    let classes = scores.size()[1];
    let size = if svm.k() <= MAX_K {
        (2 * k).min(classes - 1)
    } else {
        classes - 1
    };
    let wrong = without_label(&scores, labels)?;
    let label_score = label_scores(&scores, labels)?;
    let (highest, head) = wrong.f_topk(size, 1, true, true)?;
    let kth = highest.f_narrow(1, k - 1, 1)?;
    let offsets = |scores: &Tensor| {
        // Divided twice, as the product kτ may be out of range.
        scores
            .f_sub(&kth)?
            .f_mul_scalar(per_score)?
            .f_div_scalar(tau)
    };

    let mut tail = None;
    let shift = if size < classes - 1 {
        let weights = offsets(&wrong)?.f_clamp_max(0.0)?.f_exp()?;
        let weights = weights.f_scatter_value(1, &head, 0.0)?;
        let sum = weights.f_sum_dim_intlist(1, true, None)?;
        let c = sum
            .f_reciprocal()?
            .f_mul_scalar(k as f64)?
            .f_clamp_max(1.0)?;
        tail = Some(weights.f_mul(&c)?);
        c.f_log()?.f_neg()?
    } else {
        balanced_shift(&offsets(&highest)?, k)?
    };
    let first = match &tail {
        Some(x) => polynomials(x, k)?,
        None => {
            let samples = scores.size()[0];
            let one = Tensor::f_ones([samples, 1], (Kind::Double, scores.device()))?;
            one.f_constant_pad_nd([0, k])?
        }
    };

    // Sizes of random subsets, as in `SubsetSizes` of `topk_ops`: `[N, k + 1]` for each prefix of the head.
    let odds = offsets(&highest)?.f_sub(&shift)?;
    let (p, q) = (odds.f_sigmoid()?, odds.f_neg()?.f_sigmoid()?);
    let mut before = vec![first];
    for i in 0..size {
        let next = with_element(&before[i as usize], &p, &q, i)?;
        before.push(next);
    }
    let sizes = before.pop().expect("there is a row for all elements");
    let [below, at] = [k - 1, k].map(|j| sizes.f_narrow(1, j, 1));
    let (below, at) = (below?, at?);
    let log_ratio = at.f_div(&below)?.f_log()?.f_add(&shift)?.f_squeeze_dim(1)?;

    let hinge = kth
        .f_squeeze_dim(1)?
        .f_sub(&label_score)?
        .f_mul_scalar(per_score)?
        .f_add_scalar(svm.alpha())?
        .f_add(&log_ratio.f_mul_scalar(tau)?)?;
    let u = hinge.f_div_scalar(tau)?;
    let soft = u.f_abs()?.f_neg()?.f_exp()?.f_log1p()?.f_mul_scalar(tau)?;
    let values = hinge.f_relu()?.f_add(&soft)?.f_to_kind(kind)?;
    let scale = u.f_sigmoid()?.f_mul_scalar(per_score)?.f_unsqueeze(1)?;

    // Gradient of the head: sizes without each element, from those before it and those after it.
    let mut after =
        scores.f_new_zeros([scores.size()[0], k + 1], (Kind::Double, scores.device()))?;
    let _ = after.f_narrow(1, 0, 1)?.f_fill_(1.0)?;
    let mut head_grad = Vec::with_capacity(before.len());
    for (i, before) in before.iter().enumerate().rev() {
        let reversed = after.f_flip([1])?;
        let convolved = |length: i64| {
            let others = before.f_narrow(1, 0, length)?.f_mul(&reversed.f_narrow(
                1,
                k + 1 - length,
                length,
            )?)?;
            others.f_sum_dim_intlist(1, true, None)
        };
        let others = convolved(k)?.f_div(&at)?;
        let others = others.f_sub(&convolved(k - 1)?.f_div(&below)?)?;
        head_grad.push(others.f_mul(&p.f_narrow(1, i as i64, 1)?)?);
        after = with_element(&after, &p, &q, i as i64)?;
    }
    head_grad.reverse();
    let head_grad = Tensor::f_cat(&head_grad, 1)?.f_mul(&scale)?;

    // Gradient of the tail: π⁽ʲ⁾ = (x e_{j−1} − x² e_{j−2} + …) / e_j.
    let grad = match tail {
        None => scores.f_zeros_like()?,
        Some(x) => {
            let mut sum = scores.f_zeros_like()?;
            for l in (0..k).rev() {
                let coefficient = sizes.f_narrow(1, k - 1 - l, 1)?.f_div(&at)?;
                let coefficient = if l + 2 > k {
                    coefficient
                } else {
                    coefficient.f_sub(&sizes.f_narrow(1, k - 2 - l, 1)?.f_div(&below)?)?
                };
                let sign = if l % 2 == 0 { 1.0 } else { -1.0 };
                sum = coefficient
                    .f_mul(&scale)?
                    .f_mul_scalar(sign)?
                    .f_addcmul(&sum, &x)?;
            }
            sum.f_mul(&x)?
        }
    };
    let grad = grad.f_scatter(1, &head, &head_grad)?.f_scatter(
        1,
        &labels.f_unsqueeze(1)?,
        &scale.f_neg()?,
    )?;
    Ok((values, grad.f_to_kind(kind)?))
}

/// P_j ← q P_j + p P_{j−1} with the probabilities of element i, `[N, k + 1]`.
fn with_element(row: &Tensor, p: &Tensor, q: &Tensor, i: i64) -> Result<Tensor, TchError> {
    let degrees = row.size()[1];
    let shifted = row.f_narrow(1, 0, degrees - 1)?.f_constant_pad_nd([1, 0])?;
    row.f_mul(&q.f_narrow(1, i, 1)?)?
        .f_addcmul(&shifted, &p.f_narrow(1, i, 1)?)
}

/// e_0, …, e_k of each row, `[N, k + 1]`, by Newton's identities.
fn polynomials(x: &Tensor, k: i64) -> Result<Tensor, TchError> {
    let mut power = x.shallow_clone();
    let mut e = vec![x.f_new_ones([x.size()[0]], (Kind::Double, x.device()))?];
    // (−1)ʲ⁻¹ times the sum of the j-th powers.
    let mut sums: Vec<Tensor> = Vec::new();
    for m in 1..=k {
        if m > 1 {
            power = power.f_mul(x)?;
        }
        let sign = if m % 2 == 1 { 1.0 } else { -1.0 };
        sums.push(
            power
                .f_sum_dim_intlist(1, false, None)?
                .f_mul_scalar(sign)?,
        );
        let lower: Vec<&Tensor> = e.iter().rev().collect();
        let products = Tensor::f_stack(&sums, 1)?.f_mul(&Tensor::f_stack(&lower, 1)?)?;
        e.push(
            products
                .f_sum_dim_intlist(1, false, None)?
                .f_div_scalar(m as f64)?,
        );
    }
    Tensor::f_stack(&e, 1)
}

/// A shift t, `[N, 1]`, for which Σ 1/(1 + exp(t − z)) is about k − ½, by bisection.
fn balanced_shift(offsets: &Tensor, k: i64) -> Result<Tensor, TchError> {
    let (samples, elements) = offsets.size2()?;
    let options = (Kind::Double, offsets.device());
    let mut low = Tensor::f_full([samples, 1], -(2.0 * k as f64 - 1.0).ln(), options)?;
    let tail = (elements - k) as f64;
    let mut high = Tensor::f_full([samples, 1], (2.0 * tail + 1.0).ln(), options)?;
    for _ in 0..20 {
        let middle = low.f_add(&high)?.f_mul_scalar(0.5)?;
        let expected = offsets
            .f_sub(&middle)?
            .f_sigmoid()?
            .f_sum_dim_intlist(1, true, None)?;
        let too_many = expected.f_gt(k as f64 - 0.5)?;
        low = middle.f_where_self(&too_many, &low)?;
        high = high.f_where_self(&too_many, &middle)?;
    }
    low.f_add(&high)?.f_mul_scalar(0.5)
}
