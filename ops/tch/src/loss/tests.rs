use super::*;
use topk_ops::{
    BalancedNoisedTopk, BinaryCrossEntropy, CrossEntropy, DfTopk, DifferentiableTopkCrossEntropy,
    Executor, LapSum, LdrKl, Lml, MaxTopkSvm, Psi5, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta,
    TruncatedTopkEntropy,
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
    let found: Vec<f64> = Vec::try_from(tensor.detach().to_kind(Kind::Double).view(-1)).unwrap();
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
fn values_and_gradient_agree_with_slices() {
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
    // Again: gradients accumulate, and the saved gradient of the first loss is not modified.
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
fn a_retained_graph_gives_the_same_gradient_again() {
    let scores = scores(Kind::Double).set_requires_grad(true);
    let (_, grad) = reference(&Criterion::new(svm()), &scores.detach(), &LABELS);
    let value = loss(
        &Criterion::new(svm()),
        &scores,
        &Tensor::from_slice(&LABELS),
    )
    .unwrap();
    for keep_graph in [true, true, false] {
        let mut found = Tensor::run_backward(&[&value], &[&scores], keep_graph, false);
        assert!(distance(&found[0], &grad) < 1e-12);
        let _ = found[0].fill_(7.0);
    }
    let again = Tensor::f_run_backward(&[&value], &[&scores], false, false);
    let error = again.unwrap_err().to_string();
    assert!(
        error.contains("backward through the graph a second time"),
        "{error}"
    );
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
fn non_contiguous_scores_are_supported() {
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
fn large_scores_do_not_overflow() {
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
    let differentiable = scores(Kind::Float).set_requires_grad(true);
    let found = tch::no_grad(|| loss(&each(svm()), &differentiable, &labels).unwrap());
    assert!(!found.requires_grad());
}

#[test]
fn second_derivatives_are_rejected() {
    let scores = scores(Kind::Double).set_requires_grad(true);
    let value = loss(
        &Criterion::new(svm()),
        &scores,
        &Tensor::from_slice(&LABELS),
    )
    .unwrap();
    let (_, grad) = reference(&Criterion::new(svm()), &scores.detach(), &LABELS);
    // Another term of the same objective has second derivatives.
    let other = Tensor::from_slice(&[2.0]).set_requires_grad(true);
    let objective = value + other.pow_tensor_scalar(3).sum(Kind::Double);
    let first = Tensor::run_backward(&[&objective], &[&scores, &other], true, true);
    assert!(distance(&first[0], &grad) < 1e-12);
    let second = Tensor::run_backward(&[&first[1]], &[&other], true, false);
    assert_eq!(second[0].double_value(&[0]), 12.0);
    let error = first[0].sum(Kind::Double).f_backward().unwrap_err();
    assert!(
        error.to_string().contains("no second derivatives"),
        "{error}"
    );
}

#[test]
fn options_of_cross_entropy_agree_with_libtorch() {
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
        let a = scores(Kind::Double).set_requires_grad(true);
        let b = a.detach().copy().set_requires_grad(true);
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
fn check_on_device<L: TensorLoss>(loss: L, scores: &Tensor, labels: &[i64], tolerance: f64) {
    let context = format!("{loss:?} of {scores:?}");
    let criterion = each(loss);
    let (values, grad) = reference(&criterion, &scores.detach(), labels);
    let scores = scores.detach().set_requires_grad(true);
    let found = on_device(&criterion, &scores, &Tensor::from_slice(labels)).unwrap();
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
                check_on_device(CrossEntropy, &scores, &labels, tolerance);
                for loss in [BinaryCrossEntropy::mean(), BinaryCrossEntropy::sum()] {
                    check_on_device(loss, &scores, &labels, tolerance);
                }
                for (tau, alpha) in [(0.1, 0.0), (1.0, 1.0), (100.0, 0.5)] {
                    let ldr = LdrKl::new(tau, alpha).unwrap();
                    check_on_device(ldr, &scores, &labels, tolerance * tau.max(1.0));
                }
                for k in [1, 2, 5, 20, 50] {
                    if k >= classes as usize {
                        continue;
                    }
                    let hard = MaxTopkSvm::new(k, 1.0).unwrap();
                    check_on_device(hard, &scores, &labels, tolerance);
                    let alpha = TopkHingeAlpha::new(k, 1.0).unwrap();
                    check_on_device(alpha, &scores, &labels, tolerance);
                    let beta = TopkHingeBeta::new(k, 1.0).unwrap();
                    check_on_device(beta, &scores, &labels, tolerance);
                    let entropy = TruncatedTopkEntropy::new(k).unwrap();
                    check_on_device(entropy, &scores, &labels, tolerance);
                    let psi5 = Psi5::new(k, 1.0).unwrap();
                    check_on_device(psi5, &scores, &labels, tolerance);
                    let lml = Lml::new(k).unwrap();
                    check_on_device(lml, &scores, &labels, tolerance);
                    let noised = BalancedNoisedTopk::new(k, 0.5, 3, 1.0, 7).unwrap();
                    check_on_device(noised, &scores, &labels, tolerance);
                    let weights = vec![1.0 / k as f64; k];
                    let ranking = DifferentiableTopkCrossEntropy::new(weights, 2.0).unwrap();
                    check_on_device(ranking, &scores, &labels, tolerance);
                    // Sums of these from the two ends round differently.
                    let mut weights = vec![0.1; 10];
                    weights.resize(k.max(10), 0.0);
                    if weights.len() <= classes as usize {
                        let ranking = DifferentiableTopkCrossEntropy::new(weights, 2.0).unwrap();
                        check_on_device(ranking, &scores, &labels, tolerance);
                    }
                    for tau in [0.1, 1.0, 100.0] {
                        let lapsum = LapSum::new(k, tau).unwrap();
                        check_on_device(lapsum, &scores, &labels, tolerance);
                        let dftopk = DfTopk::new(k, tau).unwrap();
                        check_on_device(dftopk, &scores, &labels, tolerance);
                    }
                    for tau in [1e-3, 0.1, 1.0, 100.0] {
                        let smooth = SmoothTopkSvm::new(k, tau, 1.0).unwrap();
                        check_on_device(smooth, &scores, &labels, tolerance);
                    }
                }
            }
        }
    }
}

/// Every loss with this k.
fn family(k: usize) -> Vec<Box<dyn TensorLoss>> {
    vec![
        Box::new(CrossEntropy),
        Box::new(SmoothTopkSvm::new(k, 1.0, 1.0).unwrap()),
        Box::new(MaxTopkSvm::new(k, 1.0).unwrap()),
        Box::new(TopkHingeAlpha::new(k, 1.0).unwrap()),
        Box::new(TopkHingeBeta::new(k, 1.0).unwrap()),
        Box::new(TruncatedTopkEntropy::new(k).unwrap()),
        Box::new(Psi5::new(k, 1.0).unwrap()),
        Box::new(BalancedNoisedTopk::new(k, 0.5, 3, 1.0, 7).unwrap()),
        Box::new(Lml::new(k).unwrap()),
        Box::new(DifferentiableTopkCrossEntropy::new(vec![1.0 / k as f64; k], 2.0).unwrap()),
        Box::new(LapSum::new(k, 0.5).unwrap()),
        Box::new(DfTopk::new(k, 0.5).unwrap()),
        Box::new(LdrKl::new(0.5, 1.0).unwrap()),
        Box::new(BinaryCrossEntropy::mean()),
    ]
}

#[test]
fn label_smoothing_agrees_with_slices_on_both_paths() {
    type Path = fn(&Criterion<Box<dyn TensorLoss>>, &Tensor, &Tensor) -> Tensor;
    let paths: [Path; 2] = [
        |criterion, scores, labels| loss(criterion, scores, labels).unwrap(),
        |criterion, scores, labels| on_device(criterion, scores, labels).unwrap(),
    ];
    let labels = [3i64, -7, 8, 0];
    tch::manual_seed(3);
    for (kind, tolerance) in [(Kind::Double, 1e-11), (Kind::Float, 1e-6)] {
        let scores = Tensor::randn([4, 9], (kind, Device::Cpu)) * 3.0;
        for k in [1, 2, 5] {
            for (loss, reduction) in family(k)
                .into_iter()
                .zip(Reduction::ALL.into_iter().cycle())
            {
                let criterion = Criterion::new(loss)
                    .with_reduction(reduction)
                    .with_ignore_index(-7)
                    .with_label_smoothing(0.3)
                    .unwrap()
                    .with_weight((0..9).map(|class| 0.25 * f64::from(class)).collect())
                    .unwrap();
                let (values, grad) = reference(&criterion, &scores.detach(), &labels);
                for path in paths {
                    let scores = scores.detach().set_requires_grad(true);
                    let found = path(&criterion, &scores, &Tensor::from_slice(&labels));
                    assert!(
                        distance(&found, &values) < tolerance * 10.0,
                        "{criterion:?}"
                    );
                    found.sum(kind).backward();
                    assert!(distance(&scores.grad(), &grad) < tolerance, "{criterion:?}");
                }
            }
        }
    }
}

#[test]
fn a_score_that_is_not_finite_makes_loss_and_gradient_of_its_sample_nan_on_a_device() {
    const ROW: [f64; 6] = [0.5, 1.0, 0.0, -1.0, 2.0, -0.5];
    let labels = Tensor::from_slice(&[2i64, 4, 9, 0]);
    let row = |tensor: &Tensor, i: i64| Vec::<f64>::try_from(tensor.get(i)).unwrap();
    for k in [1, 2, 5] {
        for loss in family(k) {
            let criterion = each(loss).with_ignore_index(9);
            let run = |scores: &Tensor| {
                let scores = scores.detach().set_requires_grad(true);
                let values = on_device(&criterion, &scores, &labels).unwrap();
                values.sum(Kind::Double).backward();
                (
                    Vec::<f64>::try_from(values.detach()).unwrap(),
                    scores.grad(),
                )
            };
            let finite = Tensor::from_slice(&ROW).repeat([4, 1]);
            let (expected, expected_grad) = run(&finite);
            assert!(expected.iter().all(|value| value.is_finite()));
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for class in 0..6 {
                    let scores = finite.copy();
                    // In the first sample, and in the third, which is ignored.
                    for sample in [0, 2] {
                        let _ = scores.get(sample).get(class).fill_(bad);
                    }
                    let context = format!("{criterion:?}: {bad} for class {class}");
                    let (values, grad) = run(&scores);
                    assert!(values[0].is_nan(), "{context}: {values:?}");
                    assert!(row(&grad, 0).iter().all(|g| g.is_nan()), "{context}");
                    assert_eq!(values[1..], expected[1..], "{context}");
                    for i in 1..4 {
                        assert_eq!(row(&grad, i), row(&expected_grad, i), "{context}");
                    }
                    assert_eq!(row(&grad, 2), [0.0; 6], "{context}");
                }
            }
        }
    }
}

#[test]
fn large_finite_scores_are_not_taken_for_infinite_ones_on_a_device() {
    let scores = [3e38f32, 3e38, 3e38, 3e38, -3e38, 3e38];
    let scores = Tensor::from_slice(&scores).reshape([2, 3]);
    for loss in family(2) {
        let criterion = each(loss);
        let expected = {
            let scores: Vec<f32> = Vec::try_from(scores.flatten(0, 1)).unwrap();
            let mut values = [0.0f32; 2];
            criterion.forward(&scores, &[0, 1], &mut values).unwrap();
            values
        };
        let found = on_device(&criterion, &scores, &Tensor::from_slice(&[0i64, 1])).unwrap();
        for (found, expected) in Vec::<f32>::try_from(found).unwrap().iter().zip(expected) {
            let same = *found == expected || (found / expected - 1.0).abs() < 1e-6;
            assert!(same, "{criterion:?}: {found}, not {expected}");
        }
    }
}

#[test]
fn batches_without_samples_and_the_least_number_of_classes_work_on_both_paths() {
    type Path = fn(&Criterion<Box<dyn TensorLoss>>, &Tensor, &Tensor) -> Tensor;
    let paths: [Path; 2] = [
        |criterion, scores, labels| loss(criterion, scores, labels).unwrap(),
        |criterion, scores, labels| on_device(criterion, scores, labels).unwrap(),
    ];
    let nobody: [i64; 0] = [];
    for path in paths {
        for (k, loss) in [1, 5]
            .into_iter()
            .flat_map(|k| family(k).into_iter().map(move |loss| (k, loss)))
        {
            let context = format!("{loss:?}");
            let mut criterion = each(loss).with_ignore_index(-1);
            let classes = k as i64 + 1;
            let empty = Tensor::zeros([0, classes], (Kind::Double, Device::Cpu));
            let found = path(&criterion, &empty, &Tensor::from_slice(&nobody));
            assert_eq!(found.size(), [0], "{context}");

            let scores = Tensor::arange(2 * classes, (Kind::Double, Device::Cpu));
            let scores = scores.reshape([2, classes]);
            let (labels, ignored) = ([0, k as i64], Tensor::from_slice(&[-1i64, -1]));
            let (values, grad) = reference(&criterion, &scores, &labels);
            let scores = scores.set_requires_grad(true);
            let found = path(&criterion, &scores, &Tensor::from_slice(&labels));
            assert!(distance(&found, &values) < 1e-11, "{context}");
            found.sum(Kind::Double).backward();
            assert!(distance(&scores.grad(), &grad) < 1e-11, "{context}");

            assert_eq!(
                path(&criterion, &scores, &ignored),
                Tensor::from_slice(&[0.0, 0.0])
            );
            criterion = criterion.with_reduction(Reduction::Sum);
            assert_eq!(path(&criterion, &scores, &ignored).double_value(&[]), 0.0);
            criterion = criterion.with_reduction(Reduction::Mean);
            let scores = scores.detach().set_requires_grad(true);
            let mean = path(&criterion, &scores, &ignored);
            assert!(
                mean.double_value(&[]).is_nan(),
                "{context}: the mean of nothing"
            );
        }
    }
}

#[test]
fn negated_views_are_read_with_their_sign() {
    let scores = scores(Kind::Double);
    let (values, _) = reference(&each(svm()), &(&scores * -1.0), &LABELS);
    let negated = scores.internal_neg_view();
    assert!(negated.is_contiguous());
    let found = loss(&each(svm()), &negated, &Tensor::from_slice(&LABELS)).unwrap();
    assert!(distance(&found, &values) < 1e-12);
    let labels = Tensor::from_slice(&LABELS.map(|label| -label)).internal_neg_view();
    let (values, _) = reference(&each(svm()), &scores, &LABELS);
    let found = loss(&each(svm()), &scores, &labels).unwrap();
    assert!(distance(&found, &values) < 1e-12);
}

#[test]
fn a_panic_in_a_task_reaches_the_caller() {
    let panics = || {
        LibtorchThreads.for_each(64, &|i| assert!(i != 40, "task {i} fails"));
    };
    let payload = std::panic::catch_unwind(panics).unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap();
    assert_eq!(message, "task 40 fails");
}

#[test]
fn options_apply_to_libtorch_operations_too() {
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
        let found = on_device(&criterion, &scores, &Tensor::from_slice(&labels)).unwrap();
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
