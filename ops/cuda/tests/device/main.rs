//! The library on a device: an NVIDIA GPU if there is one, and in any case the driver that executes the kernels on the
//! CPU.
#![cfg(target_os = "linux")]

mod c;
mod memory;

use std::env;
use std::fs;
use std::process::Command;

use topk_ops::{
    CrossEntropy, Loss, MaxTopkSvm, Psi5, Reduction, Score, SmoothTopkSvm, TopkHingeAlpha,
    TopkHingeBeta, TruncatedTopkEntropy, bf16, f16,
};
use topk_ops_cuda::{Batch, Gradient, KernelLoss, ScoreType, Stream, Upstream};
use topk_reference::{Tolerance, read_cases};
use topk_testing::{Emulation, Requirement, SKIP_LOG, skip};

use crate::memory::Device;

/// Set where the CPU executes the kernels.
const EMULATED: &str = "TOPK_EMULATED_DEVICE";

#[test]
fn everything_runs_on_the_cpu_without_a_gpu() {
    let Some(driver) = Emulation::Driver.build() else {
        return;
    };
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["on_device", "--test-threads=2"])
        .env("LD_LIBRARY_PATH", driver.parent().unwrap())
        .env(EMULATED, "1")
        .env(SKIP_LOG, log.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("5 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(fs::read_to_string(log).unwrap(), "");
}

/// `None` if the test should be skipped.
fn device() -> Option<Device> {
    match Device::open() {
        Ok(device) => Some(device),
        Err(why) => {
            skip(Requirement::Gpu, &why);
            None
        }
    }
}

/// A type of scores.
trait Element: Score {
    const TYPE: ScoreType;
    /// Half the distance from 1 to the next number.
    const ROUNDING: f64;
    fn bytes(self) -> Vec<u8>;
    fn of_bytes(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($($element:ty, $type:ident, $rounding:expr;)*) => {$(
        impl Element for $element {
            const TYPE: ScoreType = ScoreType::$type;
            const ROUNDING: f64 = $rounding;
            fn bytes(self) -> Vec<u8> {
                self.to_ne_bytes().to_vec()
            }
            fn of_bytes(bytes: &[u8]) -> Self {
                Self::from_ne_bytes(bytes.try_into().unwrap())
            }
        }
    )*};
}

elements! {
    // Rounding is included in the tolerance.
    f32, F32, 0.0;
    f16, F16, 0.5 / 1024.0;
    bf16, Bf16, 0.5 / 128.0;
}

fn bytes<T: Element>(numbers: &[T]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.bytes()).collect()
}

fn numbers<T: Element>(bytes: &[u8]) -> Vec<f64> {
    let chunks = bytes.chunks_exact(size_of::<T>());
    chunks.map(|bytes| T::of_bytes(bytes).into()).collect()
}

/// Rows of scores with their labels.
struct Rows<T> {
    scores: Vec<T>,
    labels: Vec<i64>,
}

impl<T: Element> Rows<T> {
    fn new(scores: &[f64], labels: &[i64]) -> Self {
        Self {
            scores: scores.iter().map(|&score| T::from_f64(score)).collect(),
            labels: labels.to_vec(),
        }
    }

    /// Losses of the samples and their gradient, from the device.
    fn on_device(&self, device: &Device, loss: KernelLoss) -> (Vec<f64>, Vec<f64>) {
        let samples = self.labels.len();
        let scores = device.array(&bytes(&self.scores));
        let labels: Vec<u8> = self.labels.iter().flat_map(|l| l.to_ne_bytes()).collect();
        let labels = device.array(&labels);
        let values = device.array(&vec![0xff; 4 * samples]);
        let gradient = device.array(&vec![0xff; bytes(&self.scores).len()]);
        let batch = Batch {
            loss,
            reduction: Reduction::None,
            ignore_index: None,
            score_type: T::TYPE,
            samples,
            classes: self.scores.len() / samples,
            scores: scores.pointer(),
            scores_stride: self.scores.len() / samples,
            labels: labels.pointer(),
            class_weights: std::ptr::null(),
        };
        assert_eq!(batch.workspace_bytes(), 0);
        let to = Gradient {
            memory: gradient.pointer(),
            stride: batch.classes,
        };
        // SAFETY: all arrays are on the device, have the documented sizes, and live until they have been read.
        unsafe {
            batch
                .loss(
                    values.pointer(),
                    Some(to),
                    std::ptr::null_mut(),
                    Stream::DEFAULT,
                )
                .unwrap();
        }
        (
            numbers::<f32>(&values.read()),
            numbers::<T>(&gradient.read()),
        )
    }

    /// The same, on the CPU in double precision.
    fn on_cpu(&self, loss: &impl Loss) -> (Vec<f64>, Vec<f64>) {
        let scores: Vec<f64> = self.scores.iter().map(|&score| score.into()).collect();
        let (mut values, mut gradient) = (vec![0.0; self.labels.len()], vec![0.0; scores.len()]);
        loss.forward_backward(&scores, &self.labels, &mut values, &mut gradient)
            .unwrap();
        (values, gradient)
    }

    fn check(&self, device: &Device, loss: KernelLoss, cpu: &impl Loss, name: &str) {
        let (values, gradient) = self.on_device(device, loss);
        let (expected_values, expected_gradient) = self.on_cpu(cpu);
        let name = format!("{name}, {:?}, {cpu:?}", T::TYPE);
        for (found, expected) in values.iter().zip(expected_values) {
            let error = (found - expected).abs() / expected.max(1.0);
            assert!(error <= Tolerance::F32.loss, "{name}: loss {error:e}");
        }
        for (found, expected) in gradient.iter().zip(expected_gradient) {
            // The smallest normal number of half precision.
            let rounding = T::ROUNDING * expected.abs().max(6.2e-5);
            let error = (found - expected).abs();
            let bound = Tolerance::F32.grad + 1.01 * rounding;
            assert!(
                error <= bound,
                "{name}: derivative {error:e} of {expected:e}"
            );
        }
    }
}

#[test]
fn golden_values_on_device() {
    let Some(device) = device() else { return };
    for case in read_cases(&topk_testing::golden()).unwrap() {
        let loss = SmoothTopkSvm::new(case.k, case.tau, case.alpha).unwrap();
        let single = Rows::<f32>::new(&case.scores, &[case.y]);
        let (values, gradient) = single.on_device(&device, loss.into());
        let error = (values[0] - case.loss).abs() / case.loss.max(1.0);
        assert!(
            error <= Tolerance::F32.loss,
            "{}: loss {error:e}",
            case.name
        );
        for (found, expected) in gradient.iter().zip(&case.grad) {
            let error = (found - expected).abs();
            assert!(error <= Tolerance::F32.grad, "{}: {error:e}", case.name);
        }
        let half = Rows::<f16>::new(&case.scores, &[case.y]);
        // Scores beyond 65,504 are infinite in half precision.
        if half.scores.iter().all(|score| score.is_finite()) {
            half.check(&device, loss.into(), &loss, &case.name);
        }
        let brain = Rows::<bf16>::new(&case.scores, &[case.y]);
        brain.check(&device, loss.into(), &loss, &case.name);
    }
}

/// Scores of three samples.
fn scores(classes: usize) -> Vec<f64> {
    (0..3 * classes)
        .map(|i| 4.0 * f64::sin(1.7 * i as f64))
        .collect()
}

#[test]
fn all_losses_on_device() {
    fn check<L: Loss + Into<KernelLoss> + Copy>(device: &Device, loss: L) {
        for classes in [12, 200, 1500, 21_843] {
            // On the CPU, large rows take a while.
            if env::var_os(EMULATED).is_some() && classes > 1500 {
                continue;
            }
            let labels = [3, classes as i64 - 1, 0];
            let rows = Rows::<f32>::new(&scores(classes), &labels);
            rows.check(device, loss.into(), &loss, &format!("{classes} classes"));
        }
    }
    let Some(device) = device() else { return };
    check(&device, CrossEntropy);
    check(&device, SmoothTopkSvm::new(1, 0.5, 1.0).unwrap());
    check(&device, SmoothTopkSvm::new(5, 0.5, 1.0).unwrap());
    check(&device, SmoothTopkSvm::new(10, 2.0, 0.0).unwrap());
    check(&device, SmoothTopkSvm::new(11, 1.0, 1.0).unwrap());
    check(&device, MaxTopkSvm::new(5, 1.0).unwrap());
    check(&device, TopkHingeAlpha::new(3, 1.0).unwrap());
    check(&device, TopkHingeBeta::new(3, 1.0).unwrap());
    check(&device, Psi5::new(3, 1.0).unwrap());
    check(&device, TruncatedTopkEntropy::new(10).unwrap());
}

#[test]
fn options_on_device() {
    let Some(device) = device() else { return };
    let loss = SmoothTopkSvm::new(5, 0.7, 1.0).unwrap();
    let (samples, classes, stride) = (700, 20, 23);
    // Misaligned rows, class weights, an ignored label, and more samples than a block sums.
    let all: Vec<f32> = (0..samples * stride)
        .map(|i| 3.0 * f32::sin(0.37 * i as f32))
        .collect();
    let labels: Vec<i64> = (0..samples as i64).map(|i| i * 7 % 20).collect();
    let weights: Vec<f32> = (0..classes).map(|i| 0.25 * (i % 4) as f32).collect();
    let ignored = 4;
    let arrays = [
        device.array(&bytes(&all)),
        device.array(
            &labels
                .iter()
                .flat_map(|l| l.to_ne_bytes())
                .collect::<Vec<_>>(),
        ),
        device.array(&bytes(&weights)),
    ];
    let batch = Batch {
        loss: loss.into(),
        reduction: Reduction::Mean,
        ignore_index: Some(ignored),
        score_type: ScoreType::F32,
        samples,
        classes,
        scores: arrays[0].pointer(),
        scores_stride: stride,
        labels: arrays[1].pointer(),
        class_weights: arrays[2].pointer(),
    };
    let result = device.array(&[0xff; 4]);
    let gradient = device.array(&vec![0xff; 4 * samples * classes]);
    let workspace = device.array(&vec![0xff; batch.workspace_bytes()]);
    let to = Gradient {
        memory: gradient.pointer(),
        stride: classes,
    };
    let backward = |number: f32, skip_if_one: bool| {
        let upstream = device.array(&bytes(&[number]));
        let from = Upstream {
            memory: upstream.pointer(),
            per_sample: false,
        };
        // SAFETY: as above.
        unsafe {
            let space = workspace.pointer();
            batch
                .gradient(from, skip_if_one, to, space, Stream::DEFAULT)
                .unwrap();
        }
        numbers::<f32>(&gradient.read())
    };
    // SAFETY: as above.
    unsafe {
        batch.prepare(Stream::DEFAULT).unwrap();
        let space = workspace.pointer();
        batch
            .loss(result.pointer(), Some(to), space, Stream::DEFAULT)
            .unwrap();
    }
    let first = numbers::<f32>(&gradient.read());
    assert_eq!(backward(1.0, true), first);
    let doubled = backward(2.0, true);

    let (mut total, mut divisor) = (0.0, 0.0);
    let mut expected = Vec::new();
    for (row, &label) in labels.iter().enumerate() {
        let scores: Vec<f64> = all[row * stride..][..classes]
            .iter()
            .map(|&score| score.into())
            .collect();
        let weight = if label == ignored {
            0.0
        } else {
            f64::from(weights[label as usize])
        };
        let (mut value, mut derivatives) = ([0.0], vec![0.0; classes]);
        loss.forward_backward(&scores, &[label], &mut value, &mut derivatives)
            .unwrap();
        total += weight * value[0];
        divisor += weight;
        expected.extend(
            derivatives
                .into_iter()
                .map(|derivative| weight * derivative),
        );
    }
    let mean = numbers::<f32>(&result.read())[0];
    assert!((mean - total / divisor).abs() <= 3e-7 * (total / divisor).max(1.0));
    for (i, expected) in expected.iter().enumerate() {
        let expected = expected / divisor;
        assert!((first[i] - expected).abs() <= 1e-7, "{i}");
        assert!((doubled[i] - 2.0 * expected).abs() <= 2e-7, "{i}");
    }
}

#[test]
fn invalid_samples_on_device() {
    let Some(device) = device() else { return };
    let mut scores = scores(30);
    scores[40] = f64::INFINITY;
    let rows = Rows::<f32>::new(&scores, &[5, 7, 30]);
    let loss = SmoothTopkSvm::new(5, 1.0, 1.0).unwrap();
    let (values, gradient) = rows.on_device(&device, loss.into());
    assert!(values[0].is_finite() && values[1].is_nan() && values[2].is_nan());
    assert!(
        gradient[..30]
            .iter()
            .all(|derivative| derivative.is_finite())
    );
    assert!(gradient[30..].iter().all(|derivative| derivative.is_nan()));
}
