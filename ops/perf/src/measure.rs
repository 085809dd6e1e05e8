use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use topk_ops::{LossError, SampleLoss, SmoothTopkSvm};
use topk_reference::algorithms::Real;
use topk_reference::{BeyondRange, Exact, exact, random_batch};

use crate::Algorithm;

/// Type of the scores, and of the arithmetic of the reference algorithms.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// A text is not the name of a type.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("expected f32 or f64")]
pub struct UnknownType;

impl FromStr for Type {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "f32" => Ok(Self::F32),
            "f64" => Ok(Self::F64),
            _ => Err(UnknownType),
        }
    }
}

/// A batch of random samples and the loss to compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Type of the scores.
    pub dtype: Type,
    /// Number of samples.
    pub batch: usize,
    /// Scores per sample.
    pub classes: usize,
    /// The loss.
    pub svm: SmoothTopkSvm,
    /// Standard deviation of the scores.
    pub scale: f64,
    /// Seed of the scores and labels.
    pub seed: u64,
}

/// Runs a function in a new pool with this number of threads and returns the peak number of bytes that
/// they allocated, if it could be measured. (Algorithms keep buffers in their threads.)
pub type PeakMemory = fn(usize, &mut (dyn FnMut() + Send)) -> Option<usize>;

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Protocol<'a> {
    /// The algorithms to compare, in this order.
    pub algorithms: &'a [Algorithm],
    /// Timed runs per algorithm; with 0, neither time nor memory is measured.
    pub repeats: usize,
    /// Samples of the batch whose results are compared with exact values.
    pub error_samples: usize,
    /// An algorithm that would take longer than this for a batch, in seconds, is not timed.
    pub limit: f64,
    /// Measures allocated memory.
    pub peak_memory: Option<PeakMemory>,
}

/// The measurements of one algorithm on one problem. Absent values were not measured; `note` says why.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Measurement {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Type of the scores.
    #[serde(rename = "type")]
    pub dtype: Type,
    /// Number of samples.
    pub batch: usize,
    /// Scores per sample.
    pub classes: usize,
    /// The k of the loss.
    pub k: usize,
    /// Temperature.
    pub tau: f64,
    /// Margin.
    pub alpha: f64,
    /// Standard deviation of the scores.
    pub scale: f64,
    /// Time for the losses of the batch, in milliseconds: the median of the repeats.
    pub forward_ms: Option<f64>,
    /// Time for the losses and the gradient of the batch, in milliseconds: the median of the repeats.
    pub forward_backward_ms: Option<f64>,
    /// Timed runs.
    pub repeats: usize,
    /// Peak number of bytes allocated for the losses and gradient of the batch, on new threads, without
    /// inputs and outputs.
    pub peak_bytes: Option<usize>,
    /// Largest error of a loss, relative to max(1, loss). NaN or infinite if a loss is.
    #[serde(with = "any_number")]
    pub loss_error: Option<f64>,
    /// Largest error of a derivative, absolute. NaN or infinite if a derivative is.
    #[serde(with = "any_number")]
    pub grad_error: Option<f64>,
    /// Number of samples whose errors were measured.
    pub error_samples: usize,
    /// Why a value is absent.
    pub note: Option<String>,
}

/// Limit on the polynomial coefficients for the exact values of a sample: 400 MB.
const EXACT_COEFFICIENTS: usize = 1 << 24;

/// Exact values are not available.
#[derive(Debug, Error)]
enum NoExact {
    #[error("exact values would need too much memory")]
    Memory,
    #[error(transparent)]
    BeyondRange(#[from] BeyondRange),
}

/// Minimum duration of a timed run, in seconds: short calls are repeated within it.
const MIN_RUN: f64 = 1e-3;

/// Compares algorithms on the threads of the current rayon pool. Timed runs alternate between the
/// algorithms, so that changes in the machine's speed affect all of them.
///
/// # Errors
/// If there are too few classes for the loss.
pub fn measure(problem: &Problem, protocol: &Protocol<'_>) -> Result<Vec<Measurement>, LossError> {
    match problem.dtype {
        Type::F32 => measure_type::<f32>(problem, protocol),
        Type::F64 => measure_type::<f64>(problem, protocol),
    }
}

fn measure_type<T: Real>(
    problem: &Problem,
    protocol: &Protocol<'_>,
) -> Result<Vec<Measurement>, LossError> {
    problem.svm.check_classes(problem.classes)?;
    let (scores, labels) =
        random_batch::<T>(problem.seed, problem.batch, problem.classes, problem.scale);
    let mut batch = Batch {
        svm: problem.svm,
        classes: problem.classes,
        values: vec![T::zero(); labels.len()],
        grad: vec![T::zero(); scores.len()],
        scores,
        labels,
    };
    let exact = batch.exact(protocol.error_samples);
    let mut entrants: Vec<_> = protocol
        .algorithms
        .iter()
        .map(|&algorithm| batch.enter(problem, protocol, algorithm, &exact))
        .collect();
    for _ in 0..protocol.repeats {
        for entrant in &mut entrants {
            if let Some(runs) = &mut entrant.runs {
                runs.forward
                    .time(|| batch.run(entrant.measurement.algorithm, false));
                runs.backward
                    .time(|| batch.run(entrant.measurement.algorithm, true));
            }
        }
    }
    Ok(entrants.into_iter().map(Entrant::finish).collect())
}

/// Inputs and outputs.
struct Batch<T> {
    svm: SmoothTopkSvm,
    classes: usize,
    scores: Vec<T>,
    labels: Vec<i64>,
    values: Vec<T>,
    grad: Vec<T>,
}

struct Entrant {
    measurement: Measurement,
    /// Present if the algorithm is to be timed.
    runs: Option<Runs>,
}

struct Runs {
    forward: Stopwatch,
    backward: Stopwatch,
}

impl<T: Real> Batch<T> {
    /// Exact results of the first samples.
    fn exact(&self, samples: usize) -> Result<Vec<Exact>, NoExact> {
        if self.classes * (self.svm.k() + 1) > EXACT_COEFFICIENTS {
            return Err(NoExact::Memory);
        }
        (0..samples.min(self.labels.len()))
            .into_par_iter()
            .map(|sample| {
                let scores: Vec<f64> = self.scores[sample * self.classes..][..self.classes]
                    .iter()
                    .map(|&score| score.into())
                    .collect();
                Ok(exact(&self.svm, &scores, self.labels[sample] as usize)?)
            })
            .collect()
    }

    /// Measures errors and memory, and prepares the timing.
    fn enter(
        &mut self,
        problem: &Problem,
        protocol: &Protocol<'_>,
        algorithm: Algorithm,
        exact: &Result<Vec<Exact>, NoExact>,
    ) -> Entrant {
        let Problem { classes, svm, .. } = *problem;
        let mut entrant = Entrant {
            measurement: Measurement {
                algorithm,
                dtype: problem.dtype,
                batch: problem.batch,
                classes,
                k: svm.k(),
                tau: svm.tau(),
                alpha: svm.alpha(),
                scale: problem.scale,
                forward_ms: None,
                forward_backward_ms: None,
                repeats: 0,
                peak_bytes: None,
                loss_error: None,
                grad_error: None,
                error_samples: 0,
                note: None,
            },
            runs: None,
        };
        let measurement = &mut entrant.measurement;
        let threads = rayon::current_num_threads().min(problem.batch) as f64;
        let per_batch = |per_sample: f64| per_sample * problem.batch as f64 / threads;
        let too_slow = |per_sample: f64| {
            format!(
                "not timed: a batch would take about {:.1} s, the limit is {} s",
                per_batch(per_sample),
                protocol.limit
            )
        };

        let estimate = algorithm.estimate_seconds(classes, svm.k());
        if estimate > protocol.limit {
            measurement.note = Some(too_slow(estimate));
            return entrant;
        }
        let start = Instant::now();
        if let Err(error) = self.run_first(algorithm, 1) {
            measurement.note = Some(format!("rejected: {error}"));
            return entrant;
        }
        let per_sample = start.elapsed().as_secs_f64();

        match exact {
            Ok(exact) => {
                let slow = per_batch(per_sample) > protocol.limit;
                let exact = &exact[..exact.len().min(if slow { 1 } else { usize::MAX })];
                if !exact.is_empty() && self.run_first(algorithm, exact.len()).is_ok() {
                    let (loss, grad) = self.errors(exact);
                    measurement.loss_error = Some(loss);
                    measurement.grad_error = Some(grad);
                    measurement.error_samples = exact.len();
                }
            }
            Err(error) => measurement.note = Some(format!("errors not measured: {error}")),
        }

        if protocol.repeats == 0 {
            return entrant;
        }
        if per_batch(per_sample) > protocol.limit {
            measurement.note = Some(too_slow(per_sample));
            return entrant;
        }
        if let Some(peak_memory) = protocol.peak_memory {
            let threads = rayon::current_num_threads();
            measurement.peak_bytes = peak_memory(threads, &mut || self.run(algorithm, true));
        }
        let mut runs = Runs {
            forward: Stopwatch::default(),
            backward: Stopwatch::default(),
        };
        runs.forward.warm_up(|| self.run(algorithm, false));
        runs.backward.warm_up(|| self.run(algorithm, true));
        entrant.runs = Some(runs);
        entrant
    }

    /// Losses and gradients of the first samples.
    fn run_first(&mut self, algorithm: Algorithm, samples: usize) -> Result<(), LossError> {
        let scores = samples * self.classes;
        algorithm.compute(
            &self.svm,
            &self.scores[..scores],
            &self.labels[..samples],
            &mut self.values[..samples],
            Some(&mut self.grad[..scores]),
        )
    }

    fn run(&mut self, algorithm: Algorithm, backward: bool) {
        algorithm
            .compute(
                &self.svm,
                &self.scores,
                &self.labels,
                &mut self.values,
                backward.then_some(&mut self.grad),
            )
            .expect("the first sample was computed");
    }

    /// Largest errors of the losses and of the gradients.
    fn errors(&self, exact: &[Exact]) -> (f64, f64) {
        let distance = |found: T, expected: f64| (found.into() - expected).abs();
        let mut errors = (0.0, 0.0);
        let rows = self.grad.chunks_exact(self.classes).zip(&self.values);
        for (exact, (grad, &value)) in exact.iter().zip(rows) {
            let loss = distance(value, exact.loss) / exact.loss.max(1.0);
            errors.0 = max_or_nan(errors.0, loss);
            for (&found, &expected) in grad.iter().zip(&exact.grad) {
                errors.1 = max_or_nan(errors.1, distance(found, expected));
            }
        }
        errors
    }
}

/// The larger number, or NaN if either is NaN.
fn max_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

impl Entrant {
    fn finish(self) -> Measurement {
        let Self {
            mut measurement,
            runs,
        } = self;
        if let Some(runs) = runs {
            measurement.repeats = runs.forward.times.len();
            measurement.forward_ms = Some(runs.forward.median_ms());
            measurement.forward_backward_ms = Some(runs.backward.median_ms());
        }
        measurement
    }
}

/// Times of a call, in seconds.
#[derive(Default)]
struct Stopwatch {
    /// Calls per run.
    calls: usize,
    times: Vec<f64>,
}

impl Stopwatch {
    /// Determines the number of calls per run.
    fn warm_up(&mut self, mut call: impl FnMut()) {
        self.calls = 1;
        loop {
            let seconds = self.seconds(&mut call);
            if seconds >= MIN_RUN {
                break;
            }
            self.calls = (self.calls * 10)
                .min((1.1 * self.calls as f64 * MIN_RUN / seconds.max(1e-9)).ceil() as usize);
        }
    }

    fn time(&mut self, mut call: impl FnMut()) {
        let seconds = self.seconds(&mut call);
        self.times.push(seconds / self.calls as f64);
    }

    fn seconds(&self, call: &mut impl FnMut()) -> f64 {
        let start = Instant::now();
        for _ in 0..self.calls {
            call();
        }
        start.elapsed().as_secs_f64()
    }

    fn median_ms(mut self) -> f64 {
        self.times.sort_unstable_by(f64::total_cmp);
        let (low, high) = ((self.times.len() - 1) / 2, self.times.len() / 2);
        1e3 * 0.5 * (self.times[low] + self.times[high])
    }
}

/// Serializes finite numbers as numbers, others as `"NaN"` or `"inf"`, since JSON has no numbers for them.
mod any_number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Other(String),
    }

    pub(super) fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number
            .map(|number| {
                if number.is_finite() {
                    Number::Finite(number)
                } else {
                    Number::Other(number.to_string())
                }
            })
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        match Option::deserialize(deserializer)? {
            None => Ok(None),
            Some(Number::Finite(number)) => Ok(Some(number)),
            Some(Number::Other(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
        }
    }
}
