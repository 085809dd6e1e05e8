use std::f64::consts::TAU;

use tch::{Kind, TchError, Tensor};
use topk_ops::BalancedNoisedTopk;

use super::{TensorLoss, kth_largest, label_scores, per_class};

impl TensorLoss for BalancedNoisedTopk {
    fn values(&self, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
        let kind = scores.kind();
        let scores = &scores.f_to_kind(Kind::Double)?;
        let noise = standard_normal(self.seed(), self.draws() as i64, scores)?;
        let noise = noise.f_mul_scalar(self.epsilon())?;
        let noised = scores.f_unsqueeze(1)?.f_add(&noise)?;
        let label_score = label_scores(scores, labels)?;
        let margin = kth_largest(&noised, self.k() + 1)?
            .f_sub(&label_score.f_unsqueeze(1)?)?
            .f_mean_dim(1, false, None)?;
        let hinge = match self.margins() {
            None => margin.f_add_scalar(self.alpha())?,
            Some(margins) => {
                let margins = per_class(margins, (scores.kind(), scores.device()))?;
                margin.f_add(&margins.f_index_select(0, labels)?)?
            }
        };
        hinge.f_relu()?.f_to_kind(kind)
    }

    fn soft_values(&self, scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
        let wide = &scores.f_to_kind(Kind::Double)?;
        let noise = standard_normal(self.seed(), self.draws() as i64, wide)?;
        let noised = wide
            .f_unsqueeze(1)?
            .f_add(&noise.f_mul_scalar(self.epsilon())?)?;
        let next = kth_largest(&noised, self.k() + 1)?.f_mean_dim(1, true, None)?;
        let margin = next.f_sub(wide)?;
        let hinges = match self.margins() {
            None => margin.f_add_scalar(self.alpha())?,
            Some(margins) => margin.f_add(&per_class(margins, (wide.kind(), wide.device()))?)?,
        };
        let values = hinges.f_relu()?.f_mv(&targets.f_to_kind(Kind::Double)?)?;
        values.f_to_kind(scores.kind())
    }
}

/// The noise of [`topk_ops::noise`] for each sample, draw and class of `scores`, `[N, draws, C]`, in `f64`.
fn standard_normal(seed: u64, draws: i64, scores: &Tensor) -> Result<Tensor, TchError> {
    const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
    let (samples, classes) = scores.size2()?;
    let pairs = (classes + 1) / 2;
    let options = (Kind::Int64, scores.device());
    let sample = Tensor::f_arange(samples, options)?.f_view([-1, 1, 1])?;
    let draw = Tensor::f_arange(draws, options)?.f_view([1, -1, 1])?;
    let pair = Tensor::f_arange(pairs, options)?.f_mul_scalar(2)?;

    let seed = mix(&Tensor::f_full([1, 1, 1], seed as i64, options)?)?;
    let key = word(&word(&seed, &sample)?, &draw)?;
    let unit = |word: Tensor, above: i64| {
        let digits = logical_shift(&word, 11)?.f_add_scalar(above)?;
        digits.f_to_kind(Kind::Double)?.f_mul_scalar(UNIT)
    };
    let u = unit(word(&key, &pair)?, 1)?;
    let v = unit(word(&key, &pair.f_add_scalar(1)?)?, 0)?;
    let radius = u.f_log()?.f_mul_scalar(-2.0)?.f_sqrt()?;
    let angle = v.f_mul_scalar(TAU)?;
    let both = [
        radius.f_mul(&angle.f_cos()?)?,
        radius.f_mul(&angle.f_sin()?)?,
    ];
    let interleaved = Tensor::f_stack(&both, -1)?.f_flatten(2, 3)?;
    interleaved.f_narrow(2, 0, classes)
}

fn word(key: &Tensor, i: &Tensor) -> Result<Tensor, TchError> {
    const GAMMA: i64 = 0x9E37_79B9_7F4A_7C15_u64 as i64;
    mix(&key.f_add(&i.f_add_scalar(1)?.f_mul_scalar(GAMMA)?)?)
}

fn mix(x: &Tensor) -> Result<Tensor, TchError> {
    let step = |x: &Tensor, bits| x.f_bitwise_xor_tensor(&logical_shift(x, bits)?);
    let x = step(x, 30)?.f_mul_scalar(0xBF58_476D_1CE4_E5B9_u64 as i64)?;
    let x = step(&x, 27)?.f_mul_scalar(0x94D0_49BB_1331_11EB_u64 as i64)?;
    step(&x, 31)
}

/// Logical shift to the right.
fn logical_shift(x: &Tensor, bits: i64) -> Result<Tensor, TchError> {
    x.f_bitwise_right_shift_tensor_scalar(bits)?
        .f_bitwise_and((1i64 << (64 - bits)) - 1)
}
