use std::ffi::c_void;
use std::ptr;

use topk_ops::{Reduction, SmoothTopkSvm};

use super::*;
use crate::driver::tests::{Log, fail, recorder, take_log};
use crate::{DriverError, ScoreType};

fn address<T>(address: usize) -> *mut T {
    ptr::without_provenance_mut(address)
}

fn batch(samples: usize, classes: usize, reduction: Reduction) -> Batch {
    Batch {
        loss: SmoothTopkSvm::new(5, 0.5, 2.0).unwrap().into(),
        reduction,
        ignore_index: None,
        score_type: ScoreType::Bf16,
        samples,
        classes,
        scores: address(0x100),
        scores_stride: classes + 1,
        labels: address(0x200),
        class_weights: ptr::null(),
    }
}

const GRADIENT: usize = 0x300;
const RESULT: usize = 0x400;
const WORKSPACE: usize = 0x800;

/// What the recording driver is told by a call.
fn recorded(call: impl FnOnce(Launcher<'_>) -> Result<(), CudaError>) -> Result<Log, CudaError> {
    let driver = recorder();
    take_log();
    let kernels = Kernels::default();
    call(Launcher {
        driver: &driver,
        kernels: &kernels,
        stream: Stream::from_raw(address(0x500)),
    })?;
    Ok(take_log())
}

fn loss(batch: &Batch, with_gradient: bool) -> Result<Log, CudaError> {
    let gradient = with_gradient.then_some(Gradient {
        memory: address(GRADIENT),
        stride: 2000,
    });
    // SAFETY: the recorder does not use the addresses.
    recorded(|launcher| unsafe {
        batch.loss_with(launcher, address(RESULT), gradient, address(WORKSPACE))
    })
}

fn gradient(batch: &Batch, per_sample: bool) -> Log {
    let upstream = Upstream {
        memory: address(0x600),
        per_sample,
    };
    let gradient = Gradient {
        memory: address(GRADIENT),
        stride: 2000,
    };
    // SAFETY: the recorder does not use the addresses.
    recorded(|launcher| unsafe {
        batch.gradient_with(launcher, upstream, true, gradient, address(WORKSPACE))
    })
    .unwrap()
}

fn names(log: &Log) -> Vec<&str> {
    log.launches.iter().map(|(name, ..)| &**name).collect()
}

#[test]
fn one_launch_without_reduction() {
    let log = loss(&batch(9, 1000, Reduction::None), true).unwrap();
    let [(name, shape, arguments)] = &log.launches[..] else {
        panic!("{log:?}");
    };
    assert_eq!((&**name, *shape), ("topk_svm_5_warp", [3, 128, 0]));
    assert_eq!(arguments.scores, address::<c_void>(0x100));
    assert_eq!(arguments.labels, address(0x200));
    assert_eq!(arguments.values, address(RESULT));
    assert_eq!(arguments.gradient, address(GRADIENT));
    assert!(arguments.result.is_null() && arguments.weights.is_null());
    assert!(arguments.class_weights.is_null() && arguments.upstream.is_null());
    assert_eq!(
        (arguments.samples, arguments.classes, arguments.k),
        (9, 1000, 5)
    );
    assert_eq!(
        (arguments.scores_stride, arguments.gradient_stride),
        (1001, 2000)
    );
    assert_eq!((arguments.tau, arguments.alpha), (0.5, 2.0));
    assert_eq!(arguments.per_score, 0.4);
    assert_eq!((arguments.score_type, arguments.reduction), (2, 0));
    assert_eq!((arguments.has_ignore_index, arguments.skip_if_one), (0, 0));
}

#[test]
fn a_reduction_is_a_second_launch_and_large_weighted_means_a_third() {
    let mut batch = batch(513, 1000, Reduction::Mean);
    assert_eq!(batch.workspace_bytes(), 4 * 513);
    let log = loss(&batch, false).unwrap();
    assert_eq!(names(&log), ["topk_svm_5_warp", "topk_reduce"]);
    assert!(log.launches[0].2.gradient.is_null());
    for (_, _, arguments) in &log.launches {
        assert_eq!(arguments.values, address(WORKSPACE));
        assert_eq!(arguments.result, address(RESULT));
    }

    batch.ignore_index = Some(-100);
    assert_eq!(batch.workspace_bytes(), 512 + 4 * 513);
    assert_eq!(batch.gradient_workspace_bytes(), 512);
    let log = loss(&batch, true).unwrap();
    assert_eq!(
        names(&log),
        ["topk_weights", "topk_svm_5_warp", "topk_reduce"]
    );
    for (_, _, arguments) in &log.launches {
        assert_eq!(arguments.weights, address(WORKSPACE));
        assert_eq!(arguments.values, address(WORKSPACE + 512));
        assert_eq!(
            (arguments.ignore_index, arguments.has_ignore_index),
            (-100, 1)
        );
    }
    assert_eq!(
        names(&gradient(&batch, false)),
        ["topk_weights", "topk_svm_5_warp"]
    );

    // Few samples, or a sum, need no sums of weights.
    batch.samples = 512;
    assert_eq!(batch.gradient_workspace_bytes(), 0);
    batch.samples = 513;
    batch.reduction = Reduction::Sum;
    assert_eq!(batch.workspace_bytes(), 4 * 513);
    assert_eq!(
        names(&loss(&batch, true).unwrap()),
        ["topk_svm_5_warp", "topk_reduce"]
    );
}

#[test]
fn upstream_gradients_are_for_each_sample_or_all() {
    for (reduction, per_sample, stride) in [
        (Reduction::None, true, 1),
        (Reduction::None, false, 0),
        (Reduction::Mean, true, 0),
    ] {
        let log = gradient(&batch(9, 100, reduction), per_sample);
        let [(_, _, arguments)] = &log.launches[..] else {
            panic!("{log:?}");
        };
        assert_eq!(arguments.upstream, address(0x600));
        assert_eq!(arguments.upstream_stride, stride);
        assert_eq!(arguments.skip_if_one, 1);
        assert!(arguments.values.is_null());
    }
}

#[test]
fn probabilities_are_those_of_unweighted_losses() {
    let mut batch = batch(200, 100, Reduction::Mean);
    batch.class_weights = address(0x700);
    batch.ignore_index = Some(3);
    // SAFETY: the recorder does not use the addresses.
    let log = recorded(|launcher| unsafe { batch.probabilities_with(launcher, address(RESULT)) });
    let log = log.unwrap();
    assert_eq!(names(&log), ["topk_svm_5_small", "topk_probability"]);
    assert_eq!(log.launches[1].1, [2, 128, 0]);
    for (_, _, arguments) in &log.launches {
        assert!(arguments.class_weights.is_null() && arguments.gradient.is_null());
        assert_eq!(arguments.values, address(RESULT));
        assert_eq!((arguments.reduction, arguments.has_ignore_index), (0, 1));
    }
    assert_eq!(log.launches[1].2.result, address(RESULT));
}

#[test]
fn an_empty_batch_is_only_reduced() {
    assert!(
        loss(&batch(0, 100, Reduction::None), true)
            .unwrap()
            .launches
            .is_empty()
    );
    let log = loss(&batch(0, 100, Reduction::Mean), true).unwrap();
    assert_eq!(names(&log), ["topk_reduce"]);
    // None of its addresses need be valid.
    let log = loss(&batch(0, 100, Reduction::None), true).unwrap();
    assert!(log.calls.is_empty());
    assert!(
        gradient(&batch(0, 100, Reduction::Mean), false)
            .calls
            .is_empty()
    );
}

#[test]
fn a_kernel_is_loaded_once_and_opts_in_to_shared_memory() {
    let driver = recorder();
    let kernels = Kernels::default();
    let run = || {
        take_log();
        let launcher = Launcher {
            driver: &driver,
            kernels: &kernels,
            stream: Stream::from_raw(address(0x500)),
        };
        let batch = batch(2, 10_000, Reduction::None);
        // SAFETY: the recorder does not use the addresses.
        unsafe { batch.loss_with(launcher, address(RESULT), None, ptr::null_mut()) }.unwrap();
        take_log().calls
    };
    let first = [
        "mode 2",
        "load 1",
        "function",
        "opt in 68608",
        "mode 0",
        "launch",
        "pop",
    ];
    assert_eq!(run()[2..], first);
    assert_eq!(run(), ["push 50", "launch", "pop"]);
}

#[test]
fn unsupported_batches_and_failed_launches_are_errors() {
    let message = |batch: &Batch| loss(batch, true).unwrap_err().to_string();
    assert_eq!(
        message(&batch(0, 5, Reduction::Mean)),
        "this loss needs at least 6 classes, got 5"
    );
    let mut large = batch(1, 1000, Reduction::Mean);
    large.loss = SmoothTopkSvm::new(200, 1.0, 1.0).unwrap().into();
    assert!(!large.is_supported());
    assert_eq!(
        message(&large),
        "the CUDA kernels of this loss support k up to 128, got 200"
    );
    fail("launch", 2);
    let error = loss(&batch(1, 1000, Reduction::Mean), true).unwrap_err();
    assert!(matches!(
        error,
        CudaError::Driver(DriverError::Call {
            function: "cuLaunchKernel",
            ..
        })
    ));
}
