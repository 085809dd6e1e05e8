//! Batches with all options of the kernels, and what the CPU computes for them in double precision.

use topk_ops::Reduction;

use crate::function::Function;
use crate::kind::Kind;
use crate::program::{Arrays, Launch, Numbers, Outputs, Program};

/// The gradient of the loss that a backward pass starts with.
#[derive(Clone, Debug, PartialEq)]
pub enum Upstream {
    /// 1, without an array.
    One,
    /// For all samples.
    Same(f32),
    /// For each sample.
    Each(Vec<f32>),
}

/// A batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub function: Function,
    pub kind: Kind,
    pub classes: usize,
    /// Rows of scores, one after the other.
    pub scores: Vec<f64>,
    pub labels: Vec<i64>,
    pub class_weights: Option<Vec<f32>>,
    pub ignore_index: Option<i64>,
    pub reduction: Reduction,
    pub upstream: Upstream,
    pub skip_if_one: bool,
    pub with_gradient: bool,
    pub with_values: bool,
    /// Elements between the end of a row and the start of the next one, of scores and gradient.
    pub gaps: [usize; 2],
    /// Elements before the first one, of scores and gradient, so that addresses are multiples of less.
    pub before: [usize; 2],
    /// With how many orders of the threads the kernels run.
    pub orders: u32,
}

/// What a problem's kernels, or the CPU, computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Weighted losses of the samples.
    pub values: Option<Vec<f64>>,
    pub gradient: Option<Vec<f64>>,
    pub result: Option<f64>,
}

/// A kernel that can compute a problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub kernel: String,
    pub threads: i32,
    pub rows: usize,
    pub shared: u64,
}

/// Largest row in shared memory, in bytes: what Hopper has beside 32 KiB for all else.
const SHARED_ROW: usize = 232_448 - (32 << 10);

impl Problem {
    /// The mean over a batch of one or more rows, without options.
    pub fn new(function: Function, kind: Kind, scores: &[f64], labels: &[i64]) -> Self {
        Self {
            function,
            kind,
            classes: scores.len() / labels.len().max(1),
            scores: scores.iter().map(|&score| kind.round(score)).collect(),
            labels: labels.to_vec(),
            class_weights: None,
            ignore_index: None,
            reduction: Reduction::Mean,
            upstream: Upstream::One,
            skip_if_one: false,
            with_gradient: true,
            with_values: true,
            gaps: [0, 0],
            before: [0, 0],
            orders: 3,
        }
    }

    fn samples(&self) -> usize {
        self.labels.len()
    }

    /// All kernels that can compute this problem.
    pub fn choices(&self) -> Vec<Choice> {
        let (k, ..) = self.function.parameters();
        let family = match (self.function, k) {
            (Function::Ranked { .. }, _) => "ranked",
            (_, 1) => "svm_1",
            (_, 2..=5) => "svm_5",
            (_, 6..=10) => "svm_10",
            _ => "svm_any",
        };
        let mut choices = Vec::new();
        let mut add = |name: &str, threads, rows, shared: usize| {
            choices.push(Choice {
                kernel: format!("topk_{family}_{name}"),
                threads,
                rows,
                shared: shared as u64,
            });
        };
        if family != "svm_any" {
            if self.classes <= 128 {
                add("small", 128, 4, 0);
            }
            if self.classes <= 1024 {
                add("warp", 128, 4, 0);
            }
        }
        let row = 4 * self.classes.next_multiple_of(4);
        if row <= SHARED_ROW {
            add("shared", 512, 1, row);
        }
        add("global", 512, 1, 0);
        choices
    }

    fn launches(&self, choice: &Choice) -> Vec<Launch> {
        let launch = |kernel: &str, blocks: usize, threads, shared| Launch {
            kernel: kernel.to_owned(),
            blocks: blocks as i32,
            threads,
            shared,
        };
        let mut launches = Vec::new();
        if self.needs_weight_sums() {
            let blocks = self.samples().div_ceil(1024).min(64);
            launches.push(launch("topk_weights", blocks, 128, 0));
        }
        if self.samples() > 0 {
            let blocks = self.samples().div_ceil(choice.rows);
            launches.push(launch(
                &choice.kernel,
                blocks,
                choice.threads,
                choice.shared,
            ));
        }
        if self.has_result() {
            launches.push(launch("topk_reduce", 1, 512, 0));
        }
        launches
    }

    fn needs_weight_sums(&self) -> bool {
        self.reduction == Reduction::Mean
            && self.samples() > 512
            && (self.class_weights.is_some() || self.ignore_index.is_some())
    }

    fn has_result(&self) -> bool {
        self.reduction != Reduction::None && self.with_values
    }

    /// Runs a kernel.
    #[track_caller]
    pub fn run(&self, program: &mut Program, choice: &Choice) -> Found {
        self.outputs(program, choice)
            .unwrap_or_else(|error| panic!("{}: {error}", self.describe(choice)))
    }

    fn outputs(&self, program: &mut Program, choice: &Choice) -> Result<Found, String> {
        let (samples, classes) = (self.samples(), self.classes);
        let (k, tau, alpha) = self.function.parameters();
        let strides = self.gaps.map(|gap| classes + gap);
        let [scores_elements, gradient_elements] = strides
            .map(|stride| samples.saturating_sub(1) * stride + classes.min(samples * classes));
        let numbers = Numbers {
            samples: samples as i64,
            scores_stride: strides[0] as i64,
            gradient_stride: strides[1] as i64,
            upstream_stride: matches!(self.upstream, Upstream::Each(_)).into(),
            ignore_index: self.ignore_index,
            tau,
            alpha,
            classes: classes as i32,
            k: k as i32,
            score_type: self.kind as i32,
            reduction: self.reduction as i32,
            skip_if_one: self.skip_if_one,
            loss: match self.function {
                Function::Ranked { loss, .. } => loss as i32,
                Function::SmoothTopkSvm { .. } | Function::CrossEntropy => 0,
            },
        };
        let before = self.before.map(|elements| elements * self.kind.size());
        let mut scores = UNTOUCHED.repeat(before[0] + scores_elements * self.kind.size());
        for (row, values) in self.scores.chunks_exact(classes).enumerate() {
            for (i, &score) in values.iter().enumerate() {
                let at = before[0] + (row * strides[0] + i) * self.kind.size();
                scores[at..][..self.kind.size()].copy_from_slice(&self.kind.to_bytes(score));
            }
        }
        let floats = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_ne_bytes()).collect();
        let arrays = Arrays {
            scores: Some(scores),
            before: before.map(|bytes| bytes as u64),
            labels: Some(self.labels.iter().flat_map(|x| x.to_ne_bytes()).collect()),
            class_weights: self.class_weights.as_deref().map(floats),
            upstream: match &self.upstream {
                Upstream::One => None,
                Upstream::Same(number) => Some(floats(&[*number])),
                Upstream::Each(numbers) => Some(floats(numbers)),
            },
            outputs: Outputs {
                gradient: self
                    .with_gradient
                    .then(|| UNTOUCHED.repeat(before[1] + gradient_elements * self.kind.size())),
                values: self.with_values.then(|| UNTOUCHED.repeat(4 * samples)),
                weights: self.needs_weight_sums().then(|| UNTOUCHED.repeat(8 * 64)),
                result: self.has_result().then(|| UNTOUCHED.repeat(4)),
            },
        };
        let outputs = program.run(&self.launches(choice), self.orders, &numbers, &arrays)?;
        let floats = |bytes: &[u8]| -> Vec<f64> {
            let chunks = bytes.chunks_exact(4);
            chunks
                .map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap()).into())
                .collect()
        };
        Ok(Found {
            values: outputs.values.as_deref().map(floats),
            result: outputs.result.map(|bytes| floats(&bytes)[0]),
            gradient: outputs
                .gradient
                .map(|bytes| self.gradient_of(&bytes, before[1], strides[1])),
        })
    }

    /// Reads the rows of a gradient, and asserts that nothing was written between them.
    fn gradient_of(&self, bytes: &[u8], before: usize, stride: usize) -> Vec<f64> {
        let size = self.kind.size();
        let (before, bytes) = bytes.split_at(before);
        assert!(before.iter().all(|&byte| byte == UNTOUCHED[0]), "{self:?}");
        let mut gradient = Vec::new();
        for row in bytes.chunks(stride * size) {
            let (row, gap) = row.split_at(self.classes * size);
            assert!(
                gap.iter().all(|&byte| byte == UNTOUCHED[0]),
                "{self:?}: a kernel wrote between rows"
            );
            gradient.extend(
                row.chunks_exact(size)
                    .map(|bytes| self.kind.of_bytes(bytes)),
            );
        }
        gradient
    }

    /// In double precision, and with bounds.
    pub fn expected(&self) -> Expected {
        let weight = |label: i64| -> Option<f64> {
            if Some(label) == self.ignore_index {
                return Some(0.0);
            }
            let label = usize::try_from(label)
                .ok()
                .filter(|&label| label < self.classes)?;
            let weights = self.class_weights.as_ref();
            Some(weights.map_or(1.0, |weights| weights[label].into()))
        };
        let divisor = match self.reduction {
            Reduction::None | Reduction::Sum => 1.0,
            Reduction::Mean if self.class_weights.is_none() && self.ignore_index.is_none() => {
                self.samples() as f64
            }
            // A label that is not a class has no weight.
            Reduction::Mean => {
                let labels = self.labels.iter();
                labels.map(|&label| weight(label).unwrap_or(0.0)).sum()
            }
        };
        let mut expected = Expected::default();
        for (row, &label) in self.labels.iter().enumerate() {
            let scores = &self.scores[row * self.classes..][..self.classes];
            let upstream = match &self.upstream {
                Upstream::One => 1.0,
                Upstream::Same(number) => (*number).into(),
                Upstream::Each(numbers) => numbers[row].into(),
            };
            let weight = weight(label);
            let (loss, gradient) = if Some(label) == self.ignore_index {
                (0.0, vec![0.0; self.classes])
            } else if weight.is_none() || scores.iter().any(|score| !score.is_finite()) {
                (f64::NAN, vec![f64::NAN; self.classes])
            } else {
                self.function.evaluate(scores, label)
            };
            let weight = weight.unwrap_or(f64::NAN);
            expected.values.push(weight * loss);
            expected.value_bounds.push(2e-7 * weight * loss.max(1.0));
            // An ignored sample has a gradient of 0 even if all are ignored and the divisor is 0.
            let factor = if Some(label) == self.ignore_index {
                0.0
            } else {
                weight * upstream / divisor
            };
            for derivative in gradient {
                let derivative = factor * derivative;
                expected.gradient.push(derivative);
                let rounding = match self.kind {
                    // Included in the bound.
                    Kind::F32 => 0.0,
                    kind => kind.rounding(derivative),
                };
                expected
                    .gradient_bounds
                    .push(1e-7 * factor.abs() + 1.01 * rounding + 1e-44);
            }
        }
        expected.result = expected.values.iter().sum::<f64>() / divisor;
        expected.result_bound = expected.value_bounds.iter().sum::<f64>() / divisor
            + f64::from(f32::EPSILON) * expected.result.abs();
        expected
    }

    fn describe(&self, choice: &Choice) -> String {
        let Self {
            function,
            kind,
            classes,
            reduction,
            ..
        } = self;
        let samples = self.samples();
        format!(
            "{} for {function:?} {kind:?} [{samples}, {classes}] {reduction:?}",
            choice.kernel
        )
    }

    /// Runs a kernel and compares its results with the CPU's.
    #[track_caller]
    pub fn check_with(&self, program: &mut Program, choice: &Choice, expected: &Expected) -> Found {
        let found = self.run(program, choice);
        let context = || self.describe(choice);
        if let Some(values) = &found.values {
            for (row, &value) in values.iter().enumerate() {
                let (wanted, bound) = (expected.values[row], expected.value_bounds[row]);
                assert!(
                    close(value, wanted, bound),
                    "{}: the loss of sample {row} is {value:e} instead of {wanted:e}",
                    context()
                );
            }
        }
        if let Some(gradient) = &found.gradient {
            assert_eq!(gradient.len(), expected.gradient.len());
            for (i, &derivative) in gradient.iter().enumerate() {
                let (wanted, bound) = (expected.gradient[i], expected.gradient_bounds[i]);
                assert!(
                    close(derivative, wanted, bound),
                    "{}: the derivative of sample {}, class {} with label {} is {derivative:e} instead of \
                     {wanted:e}, by {:.1e}, bound {bound:.1e}",
                    context(),
                    i / self.classes,
                    i % self.classes,
                    self.labels[i / self.classes],
                    (derivative - wanted).abs()
                );
            }
        }
        if let Some(result) = found.result {
            let (wanted, bound) = (expected.result, expected.result_bound);
            assert!(
                close(result, wanted, bound),
                "{}: the result is {result:e} instead of {wanted:e}",
                context()
            );
        }
        found
    }

    /// Checks all kernels that can compute this problem.
    #[track_caller]
    pub fn check(&self, program: &mut Program) {
        let expected = self.expected();
        for choice in self.choices() {
            self.check_with(program, &choice, &expected);
        }
    }
}

/// What outputs contain before the kernels run: NaN in every type.
const UNTOUCHED: &[u8] = &[0xff];

/// What the CPU computes, and the largest errors that are allowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    pub values: Vec<f64>,
    value_bounds: Vec<f64>,
    pub gradient: Vec<f64>,
    gradient_bounds: Vec<f64>,
    pub result: f64,
    result_bound: f64,
}

fn close(found: f64, expected: f64, bound: f64) -> bool {
    if expected.is_nan() {
        return found.is_nan();
    }
    (found - expected).abs() <= bound
}
