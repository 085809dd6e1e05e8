use tch::{Kind, TchError, Tensor, no_grad};

use crate::autograd::{is_grad_enabled, with_gradient};

/// Rows are computed together as long as each row of scores, repeated for every label, makes at most this many
/// numbers: 128 MB of `f64`, of which a loss holds several.
const SCORES: i64 = 1 << 24;

/// [`TensorLoss::soft_values`](super::TensorLoss::soft_values) from the loss of one label per row.
///
/// The gradient is computed at once, so that what it needs of some rows is not held until that of the last rows is.
pub(super) fn label_by_label(
    scores: &Tensor,
    targets: &Tensor,
    values: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let (samples, classes) = scores.size2()?;
    let requires_grad = scores.requires_grad() && is_grad_enabled();
    let rows = (SCORES / (classes * classes)).max(1);
    let (mut sums, mut gradients) = (Vec::new(), Vec::new());
    for first in (0..samples).step_by(rows as usize) {
        let rows = rows.min(samples - first);
        let own = scores.detach().f_narrow(0, first, rows)?;
        let own = own.set_requires_grad(requires_grad);
        let repeated = own.f_repeat_interleave_self_int(classes, 0, None)?;
        let labels = Tensor::f_arange(classes, (Kind::Int64, scores.device()))?.f_repeat([rows])?;
        let of_labels = values(&repeated, &labels)?.f_view([rows, classes])?;
        let sum = of_labels.f_mv(targets)?;
        if requires_grad {
            let total = sum.f_sum(sum.kind())?;
            gradients.extend(Tensor::f_run_backward(&[&total], &[&own], false, false)?);
        }
        sums.push(sum.detach());
    }
    if sums.is_empty() {
        return scores.f_sum_dim_intlist(1, false, None);
    }
    let sums = Tensor::f_cat(&sums, 0)?;
    match requires_grad {
        true => {
            let gradient = no_grad(|| Tensor::f_cat(&gradients, 0))?;
            with_gradient(scores, &sums, &gradient)
        }
        false => Ok(sums),
    }
}
