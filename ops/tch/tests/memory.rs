//! That training steps leave no memory behind; by itself, since it is the process that is measured.
//! `TOPK_STEPS` sets their number.

use tch::{Device, Kind, Tensor};
use topk_ops::{Criterion, SmoothTopkSvm};
use topk_ops_tch::loss;
use topk_testing::resident;

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
fn steps_leave_no_memory_behind() {
    let steps = match std::env::var("TOPK_STEPS") {
        Ok(steps) => steps.parse().unwrap(),
        Err(_) => 5_000,
    };
    let criterion = Criterion::new(SmoothTopkSvm::new(2, 0.5, 1.0).unwrap());
    let labels = Tensor::from_slice(&[1i64; 64]);
    let no_classes = &labels * 1000;
    let step = || {
        let scores = Tensor::zeros([64, 100], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        (loss(&criterion, &scores, &labels).unwrap() * 2.0).backward();
        assert!(loss(&criterion, &scores, &no_classes).is_err());
    };
    for _ in 0..500 {
        step();
    }
    let before = resident();
    for _ in 0..steps {
        step();
    }
    // A step has 50 kB of tensors: 250 MB in all, if one of them stayed.
    let grown = resident().saturating_sub(before);
    assert!(grown < 10_000_000, "{grown} bytes more after {steps} steps");
}
