//! Random batches, the same in every run, against the CPU in double precision.

use topk_ops::Reduction;

use crate::function::{Function, Ranked};
use crate::kind::Kind;
use crate::problem::Problem;
use crate::program::Program;

/// Uniform random numbers.
pub struct Random(pub u64);

impl Random {
    pub fn unit(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }

    /// From 1/`bound` to `bound`, with a uniform logarithm.
    fn scale(&mut self, bound: f64) -> f64 {
        bound.powf(2.0 * self.unit() - 1.0)
    }

    /// Scores, sometimes with many or only equal ones.
    fn scores(&mut self, count: usize, spread: f64) -> Vec<f64> {
        let steps = match self.below(10) {
            0 => 1.0,
            1 | 2 => 4.0,
            3 => 40.0,
            _ => 1e6,
        };
        (0..count)
            .map(|_| spread * ((steps * self.unit()).floor() / steps - 0.5))
            .collect()
    }
}

/// Numbers of classes, with those at the limits of the kernels.
fn classes(random: &mut Random, case: usize, least: usize) -> usize {
    const LIMITS: [usize; 13] = [2, 3, 31, 32, 33, 127, 128, 129, 511, 513, 1023, 1024, 1025];
    let classes = match case % 4 {
        0 => LIMITS[random.below(LIMITS.len())],
        1 => 2 + random.below(40),
        2 => 2 + random.below(400),
        _ => 2 + random.below(2999),
    };
    classes.max(least)
}

/// Checks cases.
fn check(seed: u64, cases: usize, function: impl Fn(&mut Random, usize) -> Function) {
    let Some(mut program) = Program::start() else {
        return;
    };
    let mut random = Random(seed);
    for case in 0..cases {
        let function = function(&mut random, case);
        let k = match function {
            Function::SmoothTopkSvm { k, .. } | Function::Ranked { k, .. } => k,
            Function::CrossEntropy => 0,
        };
        let classes = match case {
            0 => k + 1,
            _ => classes(&mut random, case, k + 1),
        };
        let samples = if classes > 300 {
            1
        } else {
            1 + random.below(5)
        };
        let spread = random.scale(1e3);
        let scores = random.scores(samples * classes, spread);
        let labels: Vec<i64> = (0..samples).map(|_| random.below(classes) as i64).collect();
        let problem = Problem {
            reduction: [Reduction::None, Reduction::Sum, Reduction::Mean][case % 3],
            orders: if classes <= 300 { 2 } else { 1 } + u32::from(case % 8 == 0),
            ..Problem::new(function, Kind::ALL[case % 5 % 3], &scores, &labels)
        };
        // The kernel for this number of classes, and another one.
        let expected = problem.expected();
        let mut choices = problem.choices();
        problem.check_with(&mut program, &choices.remove(0), &expected);
        if !choices.is_empty() {
            let other = choices.remove(case % choices.len());
            problem.check_with(&mut program, &other, &expected);
        }
    }
}

fn svm(random: &mut Random, k: usize) -> Function {
    Function::SmoothTopkSvm {
        k,
        tau: random.scale(1e3),
        alpha: [0.0, 1.0, 2.0 * random.unit()][random.below(3)],
    }
}

#[test]
fn svm_with_k_up_to_10() {
    check(1, 100, |random, _| {
        let k = 1 + random.below(10);
        svm(random, k)
    });
}

#[test]
fn svm_with_k_from_11_to_128() {
    check(2, 24, |random, case| {
        let k = match case % 6 {
            0 => [11, 31, 32, 33, 63, 64, 65, 127, 128][random.below(9)],
            _ => 11 + random.below(118),
        };
        svm(random, k)
    });
}

#[test]
fn cross_entropy() {
    check(3, 24, |_, _| Function::CrossEntropy);
}

#[test]
fn ranked_losses() {
    check(4, 60, |random, case| Function::Ranked {
        loss: Ranked::ALL[case % 5],
        k: 1 + random.below(10),
        alpha: [0.0, 1.0, 2.0 * random.unit()][random.below(3)],
    });
}

#[test]
fn all_classes_of_imagenet_21k() {
    let Some(mut program) = Program::start() else {
        return;
    };
    let mut random = Random(5);
    let classes = 21_843;
    for (k, tau) in [(1, 1.0), (5, 0.1), (10, 10.0), (40, 0.3)] {
        let scores = random.scores(classes, 20.0);
        let function = Function::SmoothTopkSvm { k, tau, alpha: 1.0 };
        let label = random.below(classes) as i64;
        let problem = Problem {
            orders: 1,
            ..Problem::new(function, Kind::F32, &scores, &[label])
        };
        let expected = problem.expected();
        // In shared memory, or read again.
        let choices = problem.choices();
        assert_eq!(choices.len(), 2);
        for choice in &choices {
            problem.check_with(&mut program, choice, &expected);
        }
    }
}

/// Where all scores are equal, the polynomials are largest.
#[test]
fn equal_scores_of_the_most_classes() {
    let Some(mut program) = Program::start() else {
        return;
    };
    let classes = 1 << 22;
    for k in [5, 10] {
        let function = Function::SmoothTopkSvm {
            k,
            tau: 1.0,
            alpha: 1.0,
        };
        let problem = Problem {
            orders: 1,
            ..Problem::new(function, Kind::F32, &vec![0.5; classes], &[7])
        };
        let choices = problem.choices();
        let found = problem.run(&mut program, &choices[0]);
        // The ratio of the numbers of subsets of k and of k - 1 classes.
        let ratio = (classes - k) as f64 / k as f64;
        let expected = (1.0f64.exp() * ratio).ln_1p();
        let loss = found.values.unwrap()[0];
        assert!(
            (loss - expected).abs() < 2e-7 * expected,
            "k={k}: {loss} {expected}"
        );
    }
}
