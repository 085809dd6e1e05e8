use tch::{Kind, TchError, Tensor};
use topk_ops::DifferentiableTopkCrossEntropy;

use super::TensorLoss;

impl TensorLoss for DifferentiableTopkCrossEntropy {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let (sorted, order) = scores.f_to_kind(Kind::Double)?.f_sort(1, true)?;
        let (samples, classes) = sorted.size2()?;
        let is_label = order
            .f_eq_tensor(&labels.f_unsqueeze(1)?)?
            .f_to_kind(Kind::Int64)?;
        let label_rank = is_label.f_argmax(1, true)?;
        let gaps = sorted
            .f_narrow(1, 0, classes - 1)?
            .f_sub(&sorted.f_narrow(1, 1, classes - 1)?)?
            .f_div_scalar(self.tau())?;
        let options = (Kind::Double, scores.device());
        let peak = Tensor::f_zeros([samples, 1], options)?;

        // Row j of the relaxed permutation matrix: from rank j, its logits fall on both sides by 1, 3, 5, …
        // times the gaps; see `topk_ops`.
        let mut logs = Vec::with_capacity(self.k());
        for (j, &log_tail) in (0..).zip(self.log_tails()) {
            let odd = |count: i64| {
                Tensor::f_arange(count, options)?
                    .f_mul_scalar(2.0)?
                    .f_add_scalar(1.0)
            };
            let above = gaps.f_narrow(1, 0, j)?.f_flip([1])?.f_mul(&odd(j)?)?;
            let below = gaps
                .f_narrow(1, j, classes - 1 - j)?
                .f_mul(&odd(classes - 1 - j)?)?;
            let fall = [
                above.f_cumsum(1, None)?.f_flip([1])?,
                peak.shallow_clone(),
                below.f_cumsum(1, None)?,
            ];
            let log_row = Tensor::f_cat(&fall, 1)?.f_neg()?.f_log_softmax(1, None)?;
            logs.push(
                log_row
                    .f_gather(1, &label_rank, false)?
                    .f_add_scalar(log_tail)?,
            );
        }
        let log_probability = Tensor::f_cat(&logs, 1)?.f_logsumexp(1, false)?;
        log_probability.f_neg()?.f_to_kind(scores.kind())
    }
}
