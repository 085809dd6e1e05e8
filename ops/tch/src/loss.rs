use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};
use thiserror::Error;
use topk_ops::{Criterion, LossError, Outputs, Reduction, Score};

use crate::TensorLoss;
use crate::autograd::{LibtorchThreads, is_grad_enabled, with_gradient};
use crate::elements::{OwnTensor, elements, elements_mut};
use crate::tensor_loss::per_class;

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

/// The loss of `scores` `[N, C]` (any floating-point type) and `labels` `[N]` (`Int64`), on the scores'
/// device: `[N]` without reduction, otherwise a scalar.
///
/// `backward()` through it gives the scores the loss's exact gradient; there is no second derivative.
/// The loss of half-precision scores is computed and returned in `Float`, as libtorch's autocast does
/// for its own losses, and their gradient is multiplied by what comes from above, such as the scale of
/// a scaled loss, before it is rounded.
///
/// On the CPU, value and gradient come from the kernels of `topk-ops` in one pass, on libtorch's
/// threads. Tensors elsewhere (CUDA) are treated by libtorch's own operations
/// ([`TensorLoss`]): scores are not copied to the host, nor does the host wait for the device. It
/// follows that nobody looks at the values there: as with libtorch's own losses, a label that is no
/// class stops the program with an assertion on the device, and scores that are not finite give NaN.
///
/// # Errors
/// If shapes or types are not usable; on the CPU, also if labels or scores are not.
///
/// ```no_run
/// use tch::Tensor;
/// use topk_ops::{Criterion, SmoothTopkSvm};
///
/// let scores = Tensor::randn([64, 100], tch::kind::FLOAT_CPU).set_requires_grad(true);
/// let labels = Tensor::randint(100, [64], tch::kind::INT64_CPU);
/// let criterion = Criterion::new(SmoothTopkSvm::new(5, 1.0, 1.0)?);
/// topk_ops_tch::loss(&criterion, &scores, &labels)?.backward();
/// println!("{}", scores.grad());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn loss<L: TensorLoss>(
    criterion: &Criterion<L>,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TensorLossError> {
    let shapes = (scores.size(), labels.size());
    if !matches!((&*shapes.0, &*shapes.1), ([rows, _], [samples]) if rows == samples) {
        return Err(TensorLossError::Shape {
            scores: shapes.0,
            labels: shapes.1,
        });
    }
    let kinds = (scores.kind(), labels.kind());
    let on_cpu = match kinds {
        (Kind::Double, Kind::Int64) => on_cpu::<f64, L>,
        (Kind::Float | Kind::Half | Kind::BFloat16, Kind::Int64) => on_cpu::<f32, L>,
        (scores, labels) => return Err(TensorLossError::Kind { scores, labels }),
    };
    if scores.device() == Device::Cpu {
        on_cpu(criterion, scores, labels)
    } else {
        criterion.check_classes(shapes.0[1] as usize)?;
        Ok(elsewhere(criterion, scores, labels)?)
    }
}

/// By the kernels for slices.
fn on_cpu<T: Score + Element, L: TensorLoss>(
    criterion: &Criterion<L>,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TensorLossError> {
    let requires_grad = scores.requires_grad() && is_grad_enabled();
    let original = scores;
    let scores = original.detach().f_to_kind(T::KIND)?.f_contiguous()?;
    let labels = labels.f_to_device(Device::Cpu)?.f_contiguous()?;
    let shape = match criterion.reduction() {
        Reduction::None => labels.size(),
        Reduction::Sum | Reduction::Mean => vec![],
    };
    let mut values = OwnTensor::empty::<T>(&shape)?;
    let mut grad = requires_grad
        .then(|| OwnTensor::empty::<T>(&scores.size()))
        .transpose()?;
    criterion.compute(
        &LibtorchThreads,
        elements::<T>(&scores),
        elements(&labels),
        Outputs {
            grad: grad.as_mut().map(elements_mut),
            ..Outputs::new(elements_mut(&mut values))
        },
    )?;
    let values = values.into_tensor();
    Ok(match grad {
        Some(grad) => with_gradient(original, &values, &grad.into_tensor())?,
        None => values,
    })
}

/// By libtorch's operations, on whatever device.
fn elsewhere<L: TensorLoss>(
    criterion: &Criterion<L>,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TchError> {
    let kind = match scores.kind() {
        Kind::Double => Kind::Double,
        _ => Kind::Float,
    };
    let mut wide = scores.f_to_kind(kind)?;
    let mut labels = labels.f_to_device(scores.device())?;
    let ignored = criterion
        .ignore_index()
        .map(|ignored| labels.f_eq(ignored))
        .transpose()?;
    if let Some(ignored) = &ignored {
        // Some class and some scores, whatever they were: what comes of them counts 0 times.
        labels = labels.f_masked_fill(ignored, 0i64)?;
        wide = wide.f_masked_fill(&ignored.f_unsqueeze(1)?, 0.0)?;
    }
    let mut weights = match criterion.weight() {
        None => labels.f_ones_like()?.f_to_kind(kind)?,
        Some(weight) => per_class(weight, &wide)?.f_index_select(0, &labels)?,
    };
    if let Some(ignored) = &ignored {
        weights = weights.f_masked_fill(ignored, 0.0)?;
    }
    let values = criterion.loss().values(&wide, &labels)?.f_mul(&weights)?;
    match criterion.reduction() {
        Reduction::None => Ok(values),
        Reduction::Sum => values.f_sum(None),
        Reduction::Mean => values.f_sum(None)?.f_div(&weights.f_sum(None)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use topk_ops::{
        BalancedNoisedTopk, CrossEntropy, DifferentiableTopkCrossEntropy, Lml, MaxTopkSvm, Psi5,
        SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta, TruncatedTopkEntropy,
    };

    const LABELS: [i64; 3] = [0, 5, 2];

    fn svm() -> SmoothTopkSvm {
        SmoothTopkSvm::new(2, 0.5, 1.0).unwrap()
    }

    fn each<L: TensorLoss>(loss: L) -> Criterion<L> {
        Criterion::new(loss).with_reduction(Reduction::None)
    }

    /// Values and gradient from slices, in double precision.
    fn reference<L: TensorLoss>(
        criterion: &Criterion<L>,
        scores: &Tensor,
        labels: &[i64],
    ) -> (Vec<f64>, Vec<f64>) {
        let scores: Vec<f64> = Vec::try_from(scores.to_kind(Kind::Double).flatten(0, 1)).unwrap();
        let mut values = vec![0.0; criterion.output_len(labels.len())];
        let mut grad = vec![0.0; scores.len()];
        criterion
            .forward_backward(&scores, labels, &mut values, &mut grad)
            .unwrap();
        (values, grad)
    }

    fn distance(tensor: &Tensor, expected: &[f64]) -> f64 {
        let found: Vec<f64> =
            Vec::try_from(tensor.detach().to_kind(Kind::Double).view(-1)).unwrap();
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).fold(0.0, |max, (a, b)| {
            assert!(a.is_finite());
            f64::max(max, (a - b).abs())
        })
    }

    fn scores(kind: Kind) -> Tensor {
        tch::manual_seed(1);
        Tensor::randn([3, 6], (Kind::Float, Device::Cpu))
            .to_kind(kind)
            .detach()
    }

    #[test]
    fn values_and_gradient_are_those_of_the_slices() {
        let kinds = [
            (Kind::Double, Kind::Double, 1e-12),
            (Kind::Float, Kind::Float, 1e-6),
            (Kind::Half, Kind::Float, 3e-4),
            (Kind::BFloat16, Kind::Float, 3e-3),
        ];
        for (kind, output, tolerance) in kinds {
            let scores = scores(kind).set_requires_grad(true);
            let (values, grad) = reference(&each(svm()), &scores.detach(), &LABELS);
            let found = loss(&each(svm()), &scores, &Tensor::from_slice(&LABELS)).unwrap();
            assert_eq!((found.size(), found.kind()), (vec![3], output));
            assert!(distance(&found, &values) < 1e-6, "{kind:?}");
            found.sum(output).backward();
            assert_eq!(scores.grad().kind(), kind);
            assert!(distance(&scores.grad(), &grad) < tolerance, "{kind:?}");
        }
    }

    #[test]
    fn the_mean_is_a_scalar() {
        let scores = scores(Kind::Double).set_requires_grad(true);
        let criterion = Criterion::new(svm());
        let (values, grad) = reference(&criterion, &scores.detach(), &LABELS);
        let found = loss(&criterion, &scores, &Tensor::from_slice(&LABELS)).unwrap();
        assert_eq!(found.size(), [0i64; 0]);
        assert!(distance(&found, &values) < 1e-12);
        found.backward();
        assert!(distance(&scores.grad(), &grad) < 1e-12);
        // Once more: gradients add up, and those of the first time are not touched.
        let first = scores.grad();
        let again = loss(&criterion, &scores, &Tensor::from_slice(&LABELS)).unwrap();
        (again * 3.0).backward();
        let expected: Vec<f64> = grad.iter().map(|g| 4.0 * g).collect();
        assert!(distance(&scores.grad(), &expected) < 1e-12);
        assert!(
            distance(&first, &expected) < 1e-12,
            "libtorch adds in place"
        );
    }

    #[test]
    fn a_graph_that_is_kept_gives_the_same_gradient_twice() {
        let scores = scores(Kind::Double).set_requires_grad(true);
        let (_, grad) = reference(&Criterion::new(svm()), &scores.detach(), &LABELS);
        let value = loss(
            &Criterion::new(svm()),
            &scores,
            &Tensor::from_slice(&LABELS),
        )
        .unwrap();
        for _ in 0..2 {
            let found = &Tensor::run_backward(&[&value], &[&scores], true, false)[0];
            assert!(distance(found, &grad) < 1e-12);
        }
    }

    #[test]
    fn upstream_gradients_scale_each_sample() {
        let scores = scores(Kind::Double).set_requires_grad(true);
        let (_, grad) = reference(&each(svm()), &scores.detach(), &LABELS);
        let factors = [2.0, 0.0, -3.0];
        let found = loss(&each(svm()), &scores, &Tensor::from_slice(&LABELS)).unwrap();
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
    fn a_scaled_loss_keeps_small_derivatives_of_half_precision_scores() {
        // Most derivatives here are below the smallest f16.
        let scores = (scores(Kind::Float) * 20).to_kind(Kind::Half).detach();
        let scores = scores.set_requires_grad(true);
        let (_, grad) = reference(&Criterion::new(svm()), &scores.detach(), &LABELS);
        let scale = 65536.0;
        let value = loss(
            &Criterion::new(svm()),
            &scores,
            &Tensor::from_slice(&LABELS),
        )
        .unwrap();
        (value * scale).backward();
        let found: Vec<f64> = Vec::try_from(scores.grad().to_kind(Kind::Double).view(-1)).unwrap();
        let small = grad
            .iter()
            .filter(|g| (1e-11..3e-8).contains(&g.abs()))
            .count();
        assert!(small > 0, "{grad:?}");
        for (found, expected) in found.iter().zip(grad) {
            let expected = scale * expected;
            assert!(
                (found - expected).abs() <= 1e-3 * expected.abs() + 6e-8,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn scores_that_are_not_contiguous() {
        let columns = scores(Kind::Double)
            .tr()
            .contiguous()
            .set_requires_grad(true);
        let rows = columns.detach().tr().contiguous();
        let (values, grad) = reference(&each(svm()), &rows, &LABELS);
        let labels = Tensor::from_slice(&[0i64, 9, 5, 9, 2]).slice(0, 0, 5, 2);
        let found = loss(&each(svm()), &columns.tr(), &labels).unwrap();
        assert!(distance(&found, &values) < 1e-12);
        found.sum(Kind::Double).backward();
        assert!(distance(&columns.grad().tr().contiguous(), &grad) < 1e-12);
    }

    #[test]
    fn scores_so_large_that_their_products_overflow() {
        let scores = Tensor::from_slice2(&[[1e38f32, -3e38, 3e38]]).set_requires_grad(true);
        let criterion = Criterion::new(SmoothTopkSvm::new(1, 1.0, 1.0).unwrap());
        let value = loss(&criterion, &scores, &Tensor::from_slice(&[0i64])).unwrap();
        assert!((value.double_value(&[]) / 2e38 - 1.0).abs() < 1e-6);
        value.backward();
        assert!(distance(&scores.grad(), &[-1.0, 0.0, 1.0]) == 0.0);
    }

    #[test]
    fn without_gradients_the_loss_is_a_constant() {
        let labels = Tensor::from_slice(&LABELS);
        let found = loss(&each(svm()), &scores(Kind::Float), &labels).unwrap();
        assert!(!found.requires_grad());
        let wanted = scores(Kind::Float).set_requires_grad(true);
        let found = tch::no_grad(|| loss(&each(svm()), &wanted, &labels).unwrap());
        assert!(!found.requires_grad());
    }

    #[test]
    fn second_derivatives_are_refused() {
        let scores = scores(Kind::Double).set_requires_grad(true);
        let value = loss(
            &Criterion::new(svm()),
            &scores,
            &Tensor::from_slice(&LABELS),
        )
        .unwrap();
        let error = Tensor::f_run_backward(&[&value], &[&scores], true, true).unwrap_err();
        assert!(
            error.to_string().contains("no second derivatives"),
            "{error}"
        );
    }

    /// Options of cross-entropy against libtorch's own.
    #[test]
    fn options_are_those_of_libtorch() {
        let weight = [0.5, 2.0, 1.0, 0.0, 3.0, 0.25];
        let labels = Tensor::from_slice(&[0i64, -7, 2]);
        let reductions = [
            (Reduction::None, tch::Reduction::None),
            (Reduction::Sum, tch::Reduction::Sum),
            (Reduction::Mean, tch::Reduction::Mean),
        ];
        for (ours, theirs) in reductions {
            let criterion = Criterion::new(CrossEntropy)
                .with_reduction(ours)
                .with_ignore_index(-7)
                .with_weight(weight.to_vec())
                .unwrap();
            let (a, b) = (scores(Kind::Double), scores(Kind::Double));
            let (a, b) = (a.set_requires_grad(true), b.set_requires_grad(true));
            let value = loss(&criterion, &a, &labels).unwrap();
            value.sum(Kind::Double).backward();
            let weight = Some(Tensor::from_slice(&weight));
            let expected = b.cross_entropy_loss(&labels, weight, theirs, -7, 0.0);
            expected.sum(Kind::Double).backward();
            assert_eq!(value.size(), expected.size());
            for (found, expected) in [(value, expected), (a.grad(), b.grad())] {
                let error = (found - expected).abs().max().double_value(&[]);
                assert!(error < 1e-14, "{ours:?}: {error}");
            }
        }
    }

    /// Compares libtorch's operations, here on the CPU, with the kernels.
    fn check_elsewhere<L: TensorLoss>(loss: L, scores: &Tensor, labels: &[i64], tolerance: f64) {
        let context = format!("{loss:?} of {scores:?}");
        let criterion = each(loss);
        let (values, grad) = reference(&criterion, &scores.detach(), labels);
        let scores = scores.detach().set_requires_grad(true);
        let found = elsewhere(&criterion, &scores, &Tensor::from_slice(labels)).unwrap();
        let largest = |numbers: &[f64]| numbers.iter().fold(1.0, |max, v| f64::max(max, v.abs()));
        let error = distance(&found, &values) / largest(&values);
        assert!(error < tolerance, "{context}: loss {error}");
        found.sum(found.kind()).backward();
        let error = distance(&scores.grad(), &grad) / largest(&grad);
        assert!(error < tolerance, "{context}: gradient {error}");
    }

    #[test]
    fn operations_of_libtorch_agree_with_the_kernels() {
        tch::manual_seed(2);
        for (kind, tolerance) in [(Kind::Double, 1e-11), (Kind::Float, 3e-7)] {
            for classes in [6, 70, 300] {
                for spread in [1e-3, 1.0, 30.0, 1e6] {
                    let scores = Tensor::randn([4, classes], (kind, Device::Cpu)) * spread;
                    let labels = [0, classes - 1, 3, 2];
                    check_elsewhere(CrossEntropy, &scores, &labels, tolerance);
                    for k in [1, 2, 5, 20, 50] {
                        if k >= classes as usize {
                            continue;
                        }
                        let hard = MaxTopkSvm::new(k, 1.0).unwrap();
                        check_elsewhere(hard, &scores, &labels, tolerance);
                        let alpha = TopkHingeAlpha::new(k, 1.0).unwrap();
                        check_elsewhere(alpha, &scores, &labels, tolerance);
                        let beta = TopkHingeBeta::new(k, 1.0).unwrap();
                        check_elsewhere(beta, &scores, &labels, tolerance);
                        let entropy = TruncatedTopkEntropy::new(k).unwrap();
                        check_elsewhere(entropy, &scores, &labels, tolerance);
                        let psi5 = Psi5::new(k, 1.0).unwrap();
                        check_elsewhere(psi5, &scores, &labels, tolerance);
                        let lml = Lml::new(k).unwrap();
                        check_elsewhere(lml, &scores, &labels, tolerance);
                        let noised = BalancedNoisedTopk::new(k, 0.5, 3, 1.0, 7).unwrap();
                        check_elsewhere(noised, &scores, &labels, tolerance);
                        let weights = vec![1.0 / k as f64; k];
                        let ranking = DifferentiableTopkCrossEntropy::new(weights, 2.0).unwrap();
                        check_elsewhere(ranking, &scores, &labels, tolerance);
                        // Sums of these from either end differ by their rounding.
                        let mut weights = vec![0.1; 10];
                        weights.resize(k.max(10), 0.0);
                        if weights.len() <= classes as usize {
                            let ranking =
                                DifferentiableTopkCrossEntropy::new(weights, 2.0).unwrap();
                            check_elsewhere(ranking, &scores, &labels, tolerance);
                        }
                        for tau in [1e-3, 0.1, 1.0, 100.0] {
                            let smooth = SmoothTopkSvm::new(k, tau, 1.0).unwrap();
                            check_elsewhere(smooth, &scores, &labels, tolerance);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn options_apply_elsewhere_too() {
        for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
            let criterion = Criterion::new(svm())
                .with_reduction(reduction)
                .with_ignore_index(9)
                .with_weight(vec![0.5, 2.0, 1.0, 0.0, 3.0, 0.25])
                .unwrap();
            let scores = scores(Kind::Double);
            let _ = scores.get(1).fill_(f64::NAN);
            let labels = [0, 9, 2];
            let (values, grad) = reference(&criterion, &scores, &labels);
            let scores = scores.set_requires_grad(true);
            let found = elsewhere(&criterion, &scores, &Tensor::from_slice(&labels)).unwrap();
            assert!(distance(&found, &values) < 1e-12);
            found.sum(Kind::Double).backward();
            assert!(distance(&scores.grad(), &grad) < 1e-12);
        }
    }

    #[test]
    fn bad_tensors_are_named() {
        let message = |scores: &Tensor, labels: &Tensor| {
            loss(&each(svm()), scores, labels).unwrap_err().to_string()
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
