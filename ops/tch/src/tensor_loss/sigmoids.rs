//! Losses of a sigmoid of each score.

use tch::{Kind, TchError, Tensor};
use topk_ops::{BinaryCrossEntropy, DfTopk};

use super::{TensorLoss, label_scores};

/// The logit of each class, in `f64`.
fn dftopk_logits(loss: &DfTopk, scores: &Tensor) -> Result<Tensor, TchError> {
    let scores = scores.f_to_kind(Kind::Double)?;
    let k = loss.k() as i64;
    let (highest, _) = scores.f_topk(k + 1, 1, true, true)?;
    // Halved before they are added: the sum may overflow, and its half does not.
    let threshold = highest
        .f_narrow(1, k - 1, 2)?
        .f_mul_scalar(0.5)?
        .f_sum_dim_intlist(1, true, None)?;
    scores.f_sub(&threshold)?.f_div_scalar(loss.tau())
}

impl TensorLoss for DfTopk {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let logits = label_scores(&dftopk_logits(self, scores)?, labels)?;
        logits.f_log_sigmoid()?.f_neg()?.f_to_kind(scores.kind())
    }

    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let targets = targets.f_to_kind(Kind::Double)?.f_neg()?;
        let values = dftopk_logits(self, scores)?
            .f_log_sigmoid()?
            .f_mv(&targets)?;
        values.f_to_kind(scores.kind())
    }
}

/// The binary cross-entropy of scores with targets between 0 and `all`, of each row.
fn binary_cross_entropy(
    loss: &BinaryCrossEntropy,
    scores: &Tensor,
    targets: &Tensor,
    all: &Tensor,
) -> Result<Tensor, TchError> {
    let wide = scores.f_to_kind(Kind::Double)?;
    let own = wide.f_log_sigmoid()?.f_mul(targets)?;
    let others = wide.f_neg()?.f_log_sigmoid()?.f_mul(&all.f_sub(targets)?)?;
    let values = own.f_add(&others)?.f_neg()?;
    let values = match loss.is_sum() {
        true => values.f_sum_dim_intlist(1, false, None)?,
        false => values.f_mean_dim(1, false, None)?,
    };
    values.f_to_kind(scores.kind())
}

impl TensorLoss for BinaryCrossEntropy {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let options = (Kind::Double, scores.device());
        let targets = Tensor::f_zeros(scores.size(), options)?;
        let targets = targets.f_scatter_value(1, &labels.f_unsqueeze(1)?, 1.0)?;
        binary_cross_entropy(self, scores, &targets, &Tensor::f_ones([], options)?)
    }

    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let targets = targets.f_to_kind(Kind::Double)?;
        let all = targets.f_sum(Kind::Double)?;
        binary_cross_entropy(self, scores, &targets.f_unsqueeze(0)?, &all)
    }
}
