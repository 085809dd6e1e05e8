use tch::{Device, Kind, TchError, Tensor};
use thiserror::Error;
use topk_ops::{Loss, LossError, Score};

use crate::elements::{OwnTensor, elements, elements_mut};

/// Why the loss of these tensors cannot be computed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorLossError {
    /// Scores or labels have the wrong number of dimensions, or do not belong together.
    #[error(
        "scores have shape {scores:?} and labels {labels:?}: expected [samples, classes] and \
         [samples]"
    )]
    Shape {
        /// Shape of the scores.
        scores: Vec<i64>,
        /// Shape of the labels.
        labels: Vec<i64>,
    },
    /// Scores must be floating point, labels 64-bit integers.
    #[error(
        "scores are {scores:?} and labels {labels:?}: expected a floating-point type and Int64"
    )]
    Kind {
        /// Type of the scores.
        scores: Kind,
        /// Type of the labels.
        labels: Kind,
    },
    /// The values are not usable.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Tch(#[from] TchError),
}

/// Loss of each sample, `[N]`, of `scores` `[N, C]` (any floating-point type) and `labels` `[N]`
/// (`Int64`), as a tensor of the scores' type and device.
///
/// `backward()` through it gives the scores the loss's analytic gradient. Half-precision scores are
/// computed with in `f32`. On a GPU, the scores are copied to the host and the gradient back.
///
/// # Errors
/// If shapes, types, labels or scores are not usable.
///
/// ```no_run
/// use tch::{Kind, Tensor};
/// use topk_ops::SmoothTopkSvm;
///
/// let scores = Tensor::randn([64, 100], tch::kind::FLOAT_CPU).set_requires_grad(true);
/// let labels = Tensor::randint(100, [64], tch::kind::INT64_CPU);
/// let svm = SmoothTopkSvm::new(5, 1.0, 1.0)?;
/// topk_ops_tch::loss(&svm, &scores, &labels)?.mean(Kind::Float).backward();
/// println!("{}", scores.grad());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn loss(loss: &impl Loss, scores: &Tensor, labels: &Tensor) -> Result<Tensor, TensorLossError> {
    let shapes = (scores.size(), labels.size());
    if !matches!((&*shapes.0, &*shapes.1), ([rows, _], [samples]) if rows == samples) {
        return Err(TensorLossError::Shape {
            scores: shapes.0,
            labels: shapes.1,
        });
    }
    let kinds = (scores.kind(), labels.kind());
    let (values, grad) = match kinds {
        (Kind::Double, Kind::Int64) => values_and_grad::<f64>(loss, scores, labels)?,
        (Kind::Float | Kind::Half | Kind::BFloat16, Kind::Int64) => {
            values_and_grad::<f32>(loss, scores, labels)?
        }
        (scores, labels) => return Err(TensorLossError::Kind { scores, labels }),
    };
    let like_scores = |tensor: Tensor| {
        tensor
            .f_to_device(scores.device())?
            .f_to_kind(scores.kind())
    };
    let values = like_scores(values)?;
    let Some(grad) = grad else { return Ok(values) };
    let grad = like_scores(grad)?;
    // tch has no custom autograd function. The product of each row with its gradient has the
    // derivative that is wanted; less itself as a constant it is exactly 0, so that the sum has the
    // values that are wanted.
    let product = scores
        .f_mul(&grad)?
        .f_sum_dim_intlist([1i64].as_slice(), false, None)?;
    Ok(product.f_sub(&product.detach())?.f_add(&values)?)
}

/// Per-sample values `[N]` and, if the scores require it, their gradients `[N, C]`, on the CPU.
fn values_and_grad<T: Score + tch::kind::Element>(
    loss: &impl Loss,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<(Tensor, Option<Tensor>), TensorLossError> {
    let host = |tensor: &Tensor, kind| {
        tensor
            .detach()
            .f_to_device(Device::Cpu)?
            .f_to_kind(kind)?
            .f_contiguous()
    };
    let requires_grad = scores.requires_grad();
    let (scores, labels) = (host(scores, T::KIND)?, host(labels, Kind::Int64)?);
    let mut values = OwnTensor::zeros::<T>(&labels.size())?;
    let (s, y, v) = (
        elements::<T>(&scores),
        elements(&labels),
        elements_mut(&mut values),
    );
    let grad = if requires_grad {
        let mut grad = OwnTensor::zeros::<T>(&scores.size())?;
        loss.forward_backward(s, y, v, elements_mut(&mut grad))?;
        Some(grad.into_tensor())
    } else {
        loss.forward(s, y, v)?;
        None
    };
    Ok((values.into_tensor(), grad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Reduction;
    use topk_ops::{CrossEntropy, SmoothTopkSvm};

    fn svm() -> SmoothTopkSvm {
        SmoothTopkSvm::new(2, 0.5, 1.0).unwrap()
    }

    /// The loss from slices.
    fn reference(scores: &Tensor, labels: &[i64]) -> (Vec<f64>, Vec<f64>) {
        let scores: Vec<f64> = Vec::try_from(scores.to_kind(Kind::Double).flatten(0, 1)).unwrap();
        let mut values = vec![0.0; labels.len()];
        let mut grad = vec![0.0; scores.len()];
        svm()
            .forward_backward(&scores, labels, &mut values, &mut grad)
            .unwrap();
        (values, grad)
    }

    fn distance(tensor: &Tensor, expected: &[f64]) -> f64 {
        let found: Vec<f64> =
            Vec::try_from(tensor.detach().to_kind(Kind::Double).view(-1)).unwrap();
        assert_eq!(found.len(), expected.len());
        found
            .iter()
            .zip(expected)
            .fold(0.0, |max, (a, b)| f64::max(max, (a - b).abs()))
    }

    fn scores(kind: Kind) -> Tensor {
        tch::manual_seed(1);
        Tensor::randn([3, 6], (Kind::Float, Device::Cpu))
            .to_kind(kind)
            .detach()
    }

    const LABELS: [i64; 3] = [0, 5, 2];

    #[test]
    fn values_and_gradient_are_those_of_the_slices() {
        let kinds = [
            (Kind::Double, 1e-12),
            (Kind::Float, 1e-6),
            (Kind::BFloat16, 1e-2),
        ];
        for (kind, tolerance) in kinds {
            let scores = scores(kind).set_requires_grad(true);
            let (values, grad) = reference(&scores.detach(), &LABELS);
            let found = loss(&svm(), &scores, &Tensor::from_slice(&LABELS)).unwrap();
            assert_eq!((found.size(), found.kind()), (vec![3], kind));
            assert!(distance(&found, &values) < tolerance, "{kind:?}");
            found.sum(kind).backward();
            assert!(distance(&scores.grad(), &grad) < tolerance, "{kind:?}");
        }
    }

    #[test]
    fn upstream_gradients_scale_each_sample() {
        let scores = scores(Kind::Double).set_requires_grad(true);
        let (_, grad) = reference(&scores.detach(), &LABELS);
        let factors = [2.0, 0.0, -3.0];
        let found = loss(&svm(), &scores, &Tensor::from_slice(&LABELS)).unwrap();
        (found * Tensor::from_slice(&factors))
            .sum(Kind::Double)
            .backward();
        let expected: Vec<f64> = grad
            .iter()
            .zip(0..)
            .map(|(g, i)| g * factors[i / 6])
            .collect();
        assert!(distance(&scores.grad(), &expected) < 1e-12);
    }

    #[test]
    fn transposed_scores_need_no_copy_by_the_caller() {
        let columns = scores(Kind::Double)
            .tr()
            .contiguous()
            .set_requires_grad(true);
        let (values, _) = reference(&columns.detach().tr().contiguous(), &LABELS);
        let found = loss(&svm(), &columns.tr(), &Tensor::from_slice(&LABELS)).unwrap();
        assert!(distance(&found, &values) < 1e-12);
        found.sum(Kind::Double).backward();
        assert_eq!(columns.grad().size(), [6, 3]);
    }

    #[test]
    fn without_requires_grad_the_loss_is_a_constant() {
        let found = loss(&svm(), &scores(Kind::Float), &Tensor::from_slice(&LABELS)).unwrap();
        assert!(!found.requires_grad());
    }

    #[test]
    fn cross_entropy_is_that_of_libtorch() {
        let scores = scores(Kind::Double).set_requires_grad(true);
        let labels = Tensor::from_slice(&LABELS);
        let ours = loss(&CrossEntropy, &scores, &labels)
            .unwrap()
            .mean(Kind::Double);
        ours.backward();
        let grad = scores.grad().copy();
        let theirs = scores.detach().set_requires_grad(true);
        let value = theirs.cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Mean, -100, 0.0);
        value.backward();
        assert!((ours.double_value(&[]) - value.double_value(&[])).abs() < 1e-14);
        let error = (grad - theirs.grad()).abs().max().double_value(&[]);
        assert!(error < 1e-14, "{error}");
    }

    #[test]
    fn bad_tensors_are_named() {
        let message = |scores: &Tensor, labels: &Tensor| {
            loss(&svm(), scores, labels).unwrap_err().to_string()
        };
        let labels = Tensor::from_slice(&LABELS);
        let flat = message(&Tensor::zeros([18], tch::kind::FLOAT_CPU), &labels);
        assert!(
            flat.starts_with("scores have shape [18] and labels [3]"),
            "{flat}"
        );
        let floats = message(&scores(Kind::Float), &labels.to_kind(Kind::Float));
        assert!(
            floats.starts_with("scores are Float and labels Float"),
            "{floats}"
        );
        let label = message(&scores(Kind::Float), &Tensor::from_slice(&[0i64, 6, 2]));
        assert_eq!(label, "label 6 of sample 1 is not in 0..6");
    }
}
