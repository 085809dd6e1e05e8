mod balanced_noised_topk;
mod differentiable_topk_cross_entropy;
mod lapsum;
mod lml;
mod sigmoids;
mod smooth_topk_svm;
mod soft;
mod subset_sizes;

use tch::{Device, Kind, TchError, Tensor};
use topk_ops::{
    CrossEntropy, LdrKl, Loss, MaxTopkSvm, Psi5, TopkHingeAlpha, TopkHingeBeta,
    TruncatedTopkEntropy,
};
use topk_ops_cuda::KernelLoss;

/// A loss in libtorch's operations, which run on all its devices.
///
/// Losses of tensors on a GPU are computed this way where no kernel of `topk-ops-cuda` does it. The scores stay on the
/// device, and the host does not wait. Where a loss depends on the order of equal scores, the device determines that order.
///
/// `SmoothTopkSvm` takes some 170 operations of libtorch for 1,000 classes and any k, and holds some k numbers of 8 bytes
/// per score.
pub trait TensorLoss: Loss {
    /// Computes the losses `[N]` of `scores` `[N, C]` (`Float` or `Double`) and `labels` `[N]` on the same
    /// device, with the type of the scores and differentiable with respect to them. The scores are finite:
    /// [`loss`](crate::loss()) sees to others.
    ///
    /// # Errors
    /// If libtorch fails.
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError>;

    /// Computes, for each row of `scores` `[N, C]`, the sum over all classes of the loss with that class as label times
    /// its entry in `targets`, `[C]`, of the type of the scores: `[N]`, as [`values`](Self::values).
    ///
    /// Losses that share the work of all labels do it together. The others take the time and memory of C losses, some
    /// rows at a time.
    ///
    /// # Errors
    /// If libtorch fails.
    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        soft::label_by_label(scores, targets, |scores, labels| {
            self.values(scores, labels)
        })
    }

    /// The loss as CUDA kernels compute it, if they do.
    fn kernel(&self) -> Option<KernelLoss> {
        None
    }
}

impl<L: TensorLoss + ?Sized> TensorLoss for Box<L> {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        (**self).values(scores, labels)
    }

    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        (**self).soft_values(scores, targets)
    }

    fn kernel(&self) -> Option<KernelLoss> {
        (**self).kernel()
    }
}

impl TensorLoss for CrossEntropy {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let log_probabilities = scores.f_log_softmax(1, None)?;
        label_scores(&log_probabilities, labels)?.f_neg()
    }

    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        scores.f_log_softmax(1, None)?.f_mv(&targets.f_neg()?)
    }

    fn kernel(&self) -> Option<KernelLoss> {
        Some((*self).into())
    }
}

impl TensorLoss for MaxTopkSvm {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let kth = kth_largest(&without_label(scores, labels)?, self.k())?;
        let margin = above_label(&kth, scores, labels)?;
        margin
            .f_div_scalar(self.k() as f64)?
            .f_add_scalar(self.alpha())?
            .f_relu()?
            .f_to_kind(scores.kind())
    }

    fn kernel(&self) -> Option<KernelLoss> {
        Some((*self).into())
    }
}

impl TensorLoss for TopkHingeAlpha {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let highest = highest_violations(scores, labels, self.k(), self.alpha())?;
        let hinge = highest.f_mean_dim(1, false, None)?.f_relu()?;
        hinge.f_to_kind(scores.kind())
    }

    fn kernel(&self) -> Option<KernelLoss> {
        Some((*self).into())
    }
}

impl TensorLoss for TopkHingeBeta {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let highest = highest_violations(scores, labels, self.k(), self.alpha())?;
        let hinges = highest.f_relu()?.f_mean_dim(1, false, None)?;
        hinges.f_to_kind(scores.kind())
    }

    fn kernel(&self) -> Option<KernelLoss> {
        Some((*self).into())
    }
}

impl TensorLoss for TruncatedTopkEntropy {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let (_, left_out) =
            without_label(scores, labels)?.f_topk(self.k() as i64 - 1, 1, true, true)?;
        let others = scores.f_scatter_value(1, &left_out, f64::NEG_INFINITY)?;
        CrossEntropy.values(&others, labels)
    }

    fn kernel(&self) -> Option<KernelLoss> {
        Some((*self).into())
    }
}

impl TensorLoss for LdrKl {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let classes = scores.size()[1] as f64;
        let margins = scores
            .f_full_like(self.alpha())?
            .f_to_kind(Kind::Double)?
            .f_scatter_value(1, &labels.f_unsqueeze(1)?, 0.0)?;
        let label = label_scores(scores, labels)?.f_to_kind(Kind::Double)?;
        let exponents = scores
            .f_to_kind(Kind::Double)?
            .f_sub(&label.f_unsqueeze(1)?)?
            .f_add(&margins)?
            .f_div_scalar(self.tau())?;
        let log_mean = exponents
            .f_logsumexp(1, false)?
            .f_sub_scalar(classes.ln())?;
        log_mean.f_mul_scalar(self.tau())?.f_to_kind(scores.kind())
    }
}

impl TensorLoss for Psi5 {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let next = kth_largest(scores, self.k() + 1)?;
        let margin = above_label(&next, scores, labels)?;
        let hinge = margin.f_add_scalar(self.alpha())?.f_relu()?;
        hinge.f_to_kind(scores.kind())
    }

    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let wide = scores.f_to_kind(Kind::Double)?;
        let next = kth_largest(&wide, self.k() + 1)?.f_unsqueeze(1)?;
        let hinges = next.f_sub(&wide)?.f_add_scalar(self.alpha())?.f_relu()?;
        let values = hinges.f_mv(&targets.f_to_kind(Kind::Double)?)?;
        values.f_to_kind(scores.kind())
    }

    fn kernel(&self) -> Option<KernelLoss> {
        Some((*self).into())
    }
}

/// The `k` largest of α + s_j − s_y of the wrong classes and 0 of the label, for each row: `[N, k]`, in `f64`.
fn highest_violations(
    scores: &Tensor,
    labels: &Tensor,
    k: usize,
    alpha: f64,
) -> Result<Tensor, TchError> {
    let (wrong, _) = without_label(scores, labels)?.f_topk(k as i64, 1, true, true)?;
    let violations = above_label(&wrong, scores, labels)?.f_add_scalar(alpha)?;
    let with_label = violations.f_constant_pad_nd([0, 1])?;
    Ok(with_label.f_topk(k as i64, 1, true, true)?.0)
}

/// How far some scores of each sample, `[N]` or `[N, k]`, are above that of its label. In `f64`, since differences of
/// `f32` may be too large for `f32` before they are divided by k.
fn above_label(some: &Tensor, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    let label = label_scores(scores, labels)?.f_to_kind(Kind::Double)?;
    let label = match some.dim() {
        1 => label,
        _ => label.f_unsqueeze(1)?,
    };
    some.f_to_kind(Kind::Double)?.f_sub(&label)
}

/// The k-th largest entry along the last dimension.
fn kth_largest(entries: &Tensor, k: usize) -> Result<Tensor, TchError> {
    let (largest, _) = entries.f_topk(k as i64, -1, true, true)?;
    largest.f_select(-1, k as i64 - 1)
}

/// The label's entry in each row, `[N]`.
fn label_scores(rows: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    rows.f_gather(1, &labels.f_unsqueeze(1)?, false)?
        .f_squeeze_dim(1)
}

/// One number per class, on a device; does not wait for the copy.
pub(crate) fn per_class(
    numbers: &[f64],
    (kind, device): (Kind, Device),
) -> Result<Tensor, TchError> {
    Tensor::from_slice(numbers).f_to_device_(device, kind, true, false)
}

/// The scores with −∞ for that of the label.
fn without_label(scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    scores.f_scatter_value(1, &labels.f_unsqueeze(1)?, f64::NEG_INFINITY)
}
