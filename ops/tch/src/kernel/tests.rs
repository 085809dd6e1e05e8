//! The kernels on tensors of the CPU, through a driver whose device is the CPU.

use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_NOW};
use topk_ops::{
    CrossEntropy, Lml, MaxTopkSvm, Psi5, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta,
    TruncatedTopkEntropy,
};
use topk_testing::Emulation;

use super::*;
use crate::loss;

type Boxed = Box<dyn TensorLoss>;

/// Loads the emulated driver; `false` if the test should be skipped.
fn has_driver() -> bool {
    // It stays loaded, so that the driver is found by its name.
    static LOADED: OnceLock<Option<Library>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let file = Emulation::Driver.build()?;
        // SAFETY: its initialisers only set up its own state.
        Some(unsafe { Library::open(Some(file), RTLD_NOW) }.unwrap())
    });
    loaded.is_some()
}

fn family(k: usize) -> Vec<Boxed> {
    let mut family: Vec<Boxed> = vec![
        Box::new(SmoothTopkSvm::new(k, 1.0, 1.0).unwrap()),
        Box::new(SmoothTopkSvm::new(k, 0.01, 0.5).unwrap()),
    ];
    if k <= KernelLoss::MAX_RANKED_K {
        family.push(Box::new(CrossEntropy));
        family.push(Box::new(MaxTopkSvm::new(k, 1.0).unwrap()));
        family.push(Box::new(TopkHingeAlpha::new(k, 1.0).unwrap()));
        family.push(Box::new(TopkHingeBeta::new(k, 1.0).unwrap()));
        family.push(Box::new(Psi5::new(k, 1.0).unwrap()));
        family.push(Box::new(TruncatedTopkEntropy::new(k).unwrap()));
    }
    family
}

fn svm() -> Criterion<Boxed> {
    Criterion::new(Box::new(SmoothTopkSvm::new(3, 0.5, 1.0).unwrap()))
}

fn kernel(criterion: &Criterion<Boxed>, scores: &Tensor, labels: &Tensor) -> Tensor {
    let loss = criterion.loss().kernel().unwrap();
    by_kernel(criterion, loss, scores, labels).unwrap()
}

fn scores(shape: [i64; 2], kind: Kind) -> Tensor {
    tch::manual_seed(shape[1]);
    (Tensor::randn(shape, tch::kind::FLOAT_CPU) * 3).to_kind(kind)
}

fn labels(samples: i64, classes: i64) -> Tensor {
    (Tensor::arange(samples, tch::kind::INT64_CPU) * 7).remainder(classes)
}

/// A copy that gradients are computed for.
fn leaf(scores: &Tensor) -> Tensor {
    scores.detach().copy().set_requires_grad(true)
}

/// Largest difference, relative to the largest number if that is above 1.
fn error(found: &Tensor, expected: &Tensor) -> f64 {
    let expected = expected.to_kind(Kind::Double);
    let largest = expected.abs().max().double_value(&[]).max(1.0);
    let error = (found.to_kind(Kind::Double) - expected).abs().max();
    error.double_value(&[]) / largest
}

#[test]
fn values_and_gradients_are_those_of_the_cpu() {
    if !has_driver() {
        return;
    }
    // Half the distance of two numbers of the type near 1, and a little for its arithmetic.
    let kinds = [
        (Kind::Float, 1e-6),
        (Kind::Half, 5e-4),
        (Kind::BFloat16, 4e-3),
    ];
    for k in [1, 4, 9, 30] {
        for loss_of_sample in family(k) {
            let name = format!("{loss_of_sample:?}");
            let mut criterion = Criterion::new(loss_of_sample);
            // The last ones for one k, as they take long in the emulation.
            let sizes = [k as i64 + 1, 40, 300, 1500];
            for classes in sizes.into_iter().take(if k == 4 { 4 } else { 2 }) {
                for (kind, bound) in kinds {
                    for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
                        criterion = criterion.with_reduction(reduction);
                        let scores = scores([5, classes], kind);
                        let labels = labels(5, classes);
                        let factor = match reduction {
                            Reduction::None => Tensor::from_slice(&[1f32, 0.0, 2.0, -1.0, 0.25]),
                            Reduction::Sum | Reduction::Mean => Tensor::from(3f32),
                        };
                        let [found, expected] = [true, false].map(|by_kernel| {
                            let scores = leaf(&scores);
                            let values = if by_kernel {
                                kernel(&criterion, &scores, &labels)
                            } else {
                                loss(&criterion, &scores, &labels).unwrap()
                            };
                            (&values * &factor).sum(Kind::Float).backward();
                            (values.detach(), scores.grad())
                        });
                        let context = format!("{name} {classes} {kind:?} {reduction:?}");
                        assert_eq!(found.0.kind(), Kind::Float);
                        assert_eq!(found.0.size(), expected.0.size());
                        assert_eq!(found.1.kind(), kind);
                        let value = error(&found.0, &expected.0);
                        assert!(value < 1e-6, "{context}: loss {value}");
                        let gradient = error(&found.1, &expected.1);
                        assert!(gradient < bound, "{context}: gradient {gradient}");
                    }
                }
            }
        }
    }
}

#[test]
fn class_weights_and_the_ignored_label_count() {
    if !has_driver() {
        return;
    }
    // More samples than the kernels sum the weights of by themselves.
    for samples in [5, 700] {
        for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
            let weight = (0..20).map(|class| f64::from(class % 4)).collect();
            let criterion = svm()
                .with_reduction(reduction)
                .with_ignore_index(3)
                .with_weight(weight)
                .unwrap();
            let scores = scores([samples, 20], Kind::Float);
            let labels = labels(samples, 20);
            let (ours, theirs) = (leaf(&scores), leaf(&scores));
            let found = kernel(&criterion, &ours, &labels);
            let expected = loss(&criterion, &theirs, &labels).unwrap();
            assert!(error(&found, &expected) < 1e-6, "{reduction:?}");
            found.sum(Kind::Float).backward();
            expected.sum(Kind::Float).backward();
            assert!(error(&ours.grad(), &theirs.grad()) < 1e-6, "{reduction:?}");
        }
    }
}

#[test]
fn a_gradient_that_is_kept_is_not_overwritten() {
    if !has_driver() {
        return;
    }
    for kind in [Kind::Float, Kind::Half] {
        let scores = leaf(&scores([4, 30], kind));
        let value = kernel(&svm(), &scores, &labels(4, 30));
        let first = Tensor::run_backward(&[&value], &[&scores], true, false).remove(0);
        let copy = first.copy();
        let doubled = &value * 2.0;
        let second = Tensor::run_backward(&[&doubled], &[&scores], true, false).remove(0);
        assert_eq!(first, copy);
        assert!(error(&second, &(&copy * 2.0)) < 1e-3);
        // The graph is freed: the gradient of the forward pass is used, and changed.
        let last = Tensor::run_backward(&[&value * 0.5], &[&scores], false, false).remove(0);
        assert_eq!(first, copy);
        assert!(error(&last, &(&copy * 0.5)) < 1e-3);
    }
}

#[test]
fn the_gradient_of_the_forward_pass_is_used_where_nothing_scales_it() {
    if !has_driver() {
        return;
    }
    // Scores that a later pass would read are changed behind autograd's back.
    let scores = leaf(&scores([4, 30], Kind::Float));
    let expected = {
        let scores = leaf(&scores);
        kernel(&svm(), &scores, &labels(4, 30)).backward();
        scores.grad()
    };
    let change = || {
        let data = scores.data_ptr().cast::<f32>();
        // SAFETY: the first of the tensor's numbers, which nothing else accesses now.
        unsafe { data.write(data.read() + 10.0) };
    };
    let value = kernel(&svm(), &scores, &labels(4, 30));
    change();
    let found = Tensor::run_backward(&[&value], &[&scores], false, false).remove(0);
    assert_eq!(found, expected);
    let value = kernel(&svm(), &scores, &labels(4, 30));
    change();
    let found = Tensor::run_backward(&[&value * 2.0], &[&scores], false, false).remove(0);
    assert!(error(&found, &(expected * 2.0)) > 1e-3);
}

#[test]
fn a_scaled_loss_keeps_small_derivatives_of_half_precision_scores() {
    if !has_driver() {
        return;
    }
    let scores = scores([4, 50], Kind::Half) * 6;
    let (half, single) = (leaf(&scores), leaf(&scores.to_kind(Kind::Float)));
    (kernel(&svm(), &half, &labels(4, 50)) * 65536.0).backward();
    loss(&svm(), &single, &labels(4, 50)).unwrap().backward();
    let expected = single.grad() * 65536.0;
    let lost = single.grad().to_kind(Kind::Half).eq(0.0);
    let lost = lost.logical_and(&expected.abs().gt(1e-6));
    assert!(
        lost.any().int64_value(&[]) != 0,
        "a gradient that would be 0"
    );
    let found = half.grad().to_kind(Kind::Float);
    let difference = (found - &expected).abs();
    let bound = expected.abs() * 1e-3 + 6e-8;
    assert!(difference.less_equal_tensor(&bound).all().int64_value(&[]) != 0);
}

#[test]
fn scores_are_read_with_their_strides() {
    if !has_driver() {
        return;
    }
    let wide = scores([6, 60], Kind::Float);
    let labels = labels(3, 20);
    for view in [
        |wide: &Tensor| wide.slice(0, 0, 6, 2).slice(1, 7, 27, 1),
        |wide: &Tensor| wide.slice(0, 0, 3, 1).slice(1, 0, 60, 3),
        |wide: &Tensor| {
            wide.reshape([60, 6])
                .slice(0, 0, 20, 1)
                .slice(1, 0, 3, 1)
                .tr()
        },
        |wide: &Tensor| {
            wide.slice(0, 0, 1, 1)
                .slice(1, 0, 20, 1)
                .expand([3, 20], false)
        },
        |wide: &Tensor| {
            wide.slice(0, 0, 3, 1)
                .slice(1, 0, 20, 1)
                .internal_neg_view()
        },
    ] {
        let (ours, theirs) = (leaf(&wide), leaf(&wide));
        let found = kernel(&svm(), &view(&ours), &labels);
        let expected = loss(&svm(), &view(&theirs), &labels).unwrap();
        assert!(error(&found, &expected) < 1e-6);
        found.backward();
        expected.backward();
        assert!(error(&ours.grad(), &theirs.grad()) < 1e-6);
    }
}

#[test]
fn invalid_rows_are_nan_and_changed_scores_are_an_error() {
    if !has_driver() {
        return;
    }
    let criterion = svm().with_reduction(Reduction::None);
    let scores = scores([3, 20], Kind::Float);
    let _ = scores.get(0).get(4).fill_(f64::INFINITY);
    let scores = leaf(&scores);
    let found = kernel(&criterion, &scores, &Tensor::from_slice(&[1i64, 20, 1]));
    found.sum(Kind::Float).backward();
    let numbers = [1, 1, 0];
    assert_eq!(
        found.isnan().to_kind(Kind::Int64),
        Tensor::from_slice(&numbers)
    );
    let rows = scores.grad().isnan().all_dim(1, false);
    assert_eq!(rows.to_kind(Kind::Int64), Tensor::from_slice(&numbers));

    let leaf = leaf(&scores);
    let mut changed = &leaf * 1.0;
    let value = kernel(&svm(), &changed, &labels(3, 20));
    let _ = changed.g_add_scalar_(1.0);
    let error = value.f_backward().unwrap_err().to_string();
    assert!(
        error.contains("modified by an inplace operation"),
        "{error}"
    );
}

#[test]
fn second_derivatives_are_rejected_and_constants_have_none() {
    if !has_driver() {
        return;
    }
    let constant = kernel(&svm(), &scores([3, 20], Kind::Float), &labels(3, 20));
    assert!(!constant.requires_grad());
    let scores = leaf(&scores([3, 20], Kind::Float));
    let constant = tch::no_grad(|| kernel(&svm(), &scores, &labels(3, 20)));
    assert!(!constant.requires_grad());
    let value = kernel(&svm(), &scores, &labels(3, 20));
    let first = Tensor::run_backward(&[&value], &[&scores], true, true).remove(0);
    let error = first.sum(Kind::Float).f_backward().unwrap_err().to_string();
    assert!(error.contains("no second derivatives"), "{error}");
}

#[test]
fn what_the_kernels_cannot_compute_is_an_error_or_left_to_libtorch() {
    if !has_driver() {
        return;
    }
    let wide = scores([2, 300], Kind::Float);
    let large: Criterion<Boxed> =
        Criterion::new(Box::new(SmoothTopkSvm::new(200, 1.0, 1.0).unwrap()));
    let loss = large.loss().kernel().unwrap();
    let error = by_kernel(&large, loss, &wide, &labels(2, 300)).unwrap_err();
    assert_eq!(
        error.to_string().lines().next(),
        Some("Internal torch error: the CUDA kernels of this loss support k up to 128, got 200")
    );
    // On the CPU, no kernel of a GPU is chosen.
    assert_eq!(kernel_for(&svm(), &wide), None);
    let lml: Boxed = Box::new(Lml::new(2).unwrap());
    assert_eq!(lml.kernel(), None);
}
