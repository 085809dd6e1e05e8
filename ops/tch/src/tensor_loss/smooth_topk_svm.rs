use tch::{Kind, TchError, Tensor, no_grad};
use topk_ops::SmoothTopkSvm;
use topk_ops_cuda::KernelLoss;

use super::subset_sizes::SubsetSizes;
use super::{TensorLoss, label_scores, without_label};
use crate::autograd::with_gradient;

impl TensorLoss for SmoothTopkSvm {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let (values, grad) = no_grad(|| smooth_topk_svm(self, scores, labels))?;
        with_gradient(scores, &values, &grad)
    }

    fn kernel(&self) -> Option<KernelLoss> {
        Some((*self).into())
    }
}

/// Values and gradient, in `f64`.
///
/// Everything is relative to the k-th highest wrong score: near the hinge, the argument of the loss is a small difference
/// of large numbers.
fn smooth_topk_svm(
    svm: &SmoothTopkSvm,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<(Tensor, Tensor), TchError> {
    let kind = scores.kind();
    let (k, tau) = (svm.k() as i64, svm.tau());
    let per_score = (1.0 / k as f64 / tau).clamp(f64::MIN_POSITIVE, f64::MAX);
    let scores = scores.f_to_kind(Kind::Double)?;
    let wrong = without_label(&scores, labels)?;
    let (highest, _) = wrong.f_topk(k, 1, true, true)?;
    let kth = highest.f_narrow(1, k - 1, 1)?;
    let offsets = |scores: &Tensor| scores.f_sub(&kth)?.f_mul_scalar(per_score);
    let offsets_of_all = offsets(&wrong)?;
    let shift = balanced_shift(&offsets_of_all, &offsets(&highest)?, k)?;
    let sizes = SubsetSizes::new(&offsets_of_all.f_sub(&shift)?, k)?;
    let [below, at] = sizes.probabilities()?;
    let log_ratio = at.f_div(&below)?.f_log()?.f_add(&shift)?.f_squeeze_dim(1)?;

    let hinge = kth
        .f_squeeze_dim(1)?
        .f_sub(&label_scores(&scores, labels)?)?
        .f_div_scalar(k as f64)?
        .f_add_scalar(svm.alpha())?
        .f_add(&log_ratio.f_mul_scalar(tau)?)?;
    let u = hinge.f_div_scalar(tau)?;
    let soft = u.f_abs()?.f_neg()?.f_exp()?.f_log1p()?.f_mul_scalar(tau)?;
    let values = hinge.f_relu()?.f_add(&soft)?.f_to_kind(kind)?;
    let scale = u.f_sigmoid()?.f_div_scalar(k as f64)?.f_unsqueeze(1)?;
    let grad = sizes.marginal_differences(&scale)?.f_scatter(
        1,
        &labels.f_unsqueeze(1)?,
        &scale.f_neg()?,
    )?;
    Ok((values, grad.f_to_kind(kind)?))
}

/// A shift t, `[N, 1]`, for which Σ σ(z_i − t) is about k − ½.
///
/// `offsets` are the z, relative to the k-th highest, and `highest` the k highest of them. With x the sum of exp z over
/// the other elements, t = ln max(x/k, 1) gives between k/2 and 2k expected elements and P_k of at least about 2⁻ᵏ: enough
/// for small k. For larger k, steps of Newton's method follow, on the difference of the logarithms of what the k
/// highest lack of k elements, and of what the others contribute and ½; its slope is between ½ and 2.
fn balanced_shift(offsets: &Tensor, highest: &Tensor, k: i64) -> Result<Tensor, TchError> {
    let count = k as f64;
    let sum = |numbers: &Tensor| numbers.f_sum_dim_intlist(1, true, None::<Kind>);
    let of_others = sum(&offsets.f_clamp_max(0.0)?.f_exp()?)?.f_sub_scalar(count)?;
    let mut shift = of_others.f_div_scalar(count)?.f_clamp_min(1.0)?.f_log()?;
    if k <= 32 {
        return Ok(shift);
    }
    let low = -(2.0 * count - 1.0).ln();
    let high = (2.0 * (offsets.size()[1] - k) as f64 + 1.0).ln();
    for _ in 0..3 {
        let p = offsets.f_sub(&shift)?.f_sigmoid()?;
        let p_of_highest = highest.f_sub(&shift)?.f_sigmoid()?;
        let (mean, mean_of_highest) = (sum(&p)?, sum(&p_of_highest)?);
        let variance = mean.f_sub(&sum(&p.f_square()?)?)?;
        let variance_of_highest = mean_of_highest.f_sub(&sum(&p_of_highest.f_square()?)?)?;
        let lacking = mean_of_highest.f_neg()?.f_add_scalar(count)?;
        let above = mean.f_sub(&mean_of_highest)?.f_add_scalar(0.5)?;
        let slope = variance_of_highest
            .f_div(&lacking)?
            .f_add(&variance.f_sub(&variance_of_highest)?.f_div(&above)?)?;
        let step = lacking.f_div(&above)?.f_log()?.f_div(&slope)?;
        shift = shift.f_sub(&step)?.f_clamp(low, high)?;
    }
    Ok(shift)
}
