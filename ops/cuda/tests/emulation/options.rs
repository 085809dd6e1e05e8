//! Options of the losses, and batches with invalid samples.

use topk_ops::Reduction;

use crate::function::{Function, Ranked};
use crate::kind::Kind;
use crate::problem::{Problem, Upstream};
use crate::program::Program;
use crate::random::Random;

const FUNCTIONS: [Function; 5] = [
    Function::SmoothTopkSvm {
        k: 5,
        tau: 0.5,
        alpha: 1.0,
    },
    Function::SmoothTopkSvm {
        k: 1,
        tau: 1.0,
        alpha: 1.0,
    },
    Function::SmoothTopkSvm {
        k: 17,
        tau: 0.3,
        alpha: 0.7,
    },
    Function::CrossEntropy,
    Function::Ranked {
        loss: Ranked::TruncatedTopkEntropy,
        k: 7,
        alpha: 1.0,
    },
];

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Sum, Reduction::Mean];

/// Six samples of 40 classes.
fn batch(function: Function, kind: Kind) -> Problem {
    let mut random = Random(11);
    let scores: Vec<f64> = (0..6 * 40).map(|_| 8.0 * random.unit() - 4.0).collect();
    Problem::new(function, kind, &scores, &[3, 0, 39, 3, 17, 20])
}

fn class_weights(classes: usize) -> Vec<f32> {
    (0..classes)
        .map(|class| (class % 5) as f32 * 0.75)
        .collect()
}

#[test]
fn options_alone_and_in_pairs() {
    let Some(mut program) = Program::start() else {
        return;
    };
    type Change = fn(&mut Problem);
    let changes: [Change; 8] = [
        |_| (),
        |problem| problem.class_weights = Some(class_weights(problem.classes)),
        |problem| problem.ignore_index = Some(3),
        |problem| problem.gaps = [3, 0],
        |problem| problem.gaps[1] = 5,
        |problem| problem.upstream = Upstream::Same(-2.5),
        |problem| {
            let samples = problem.labels.len();
            problem.upstream = Upstream::Each((0..samples).map(|i| i as f32 - 1.5).collect());
        },
        // A label that is not a class, and the index that PyTorch ignores by default.
        |problem| {
            problem.ignore_index = Some(-100);
            problem.labels[1] = -100;
        },
    ];
    let mut turn = 0;
    for (i, first) in changes.iter().enumerate() {
        for second in &changes[i..] {
            for function in FUNCTIONS {
                turn += 1;
                let mut problem = batch(function, Kind::ALL[turn % 3]);
                problem.reduction = REDUCTIONS[turn / 3 % 3];
                problem.orders = 1 + u32::from(turn % 5 == 0);
                first(&mut problem);
                second(&mut problem);
                let choices = problem.choices();
                let choice = &choices[turn % choices.len()];
                problem.check_with(&mut program, choice, &problem.expected());
            }
        }
    }
}

#[test]
fn values_do_not_depend_on_whether_the_gradient_is_requested() {
    let Some(mut program) = Program::start() else {
        return;
    };
    for function in FUNCTIONS {
        let both = batch(function, Kind::F32);
        for choice in both.choices() {
            let all = both.check_with(&mut program, &choice, &both.expected());
            let mut values = both.clone();
            values.with_gradient = false;
            let values = values.run(&mut program, &choice);
            assert_eq!(values.values, all.values);
            assert_eq!(values.result, all.result);
            assert_eq!(values.gradient, None);
            let mut gradient = both.clone();
            gradient.with_values = false;
            let gradient = gradient.run(&mut program, &choice);
            assert_eq!(gradient.gradient, all.gradient);
            assert_eq!(gradient.values, None);
        }
    }
}

#[test]
fn a_gradient_that_is_there_already_is_left_alone() {
    let Some(mut program) = Program::start() else {
        return;
    };
    for function in FUNCTIONS {
        let mut problem = batch(function, Kind::F32);
        problem.with_values = false;
        problem.skip_if_one = true;
        for choice in problem.choices() {
            problem.upstream = Upstream::Same(1.0);
            let untouched = problem.run(&mut program, &choice).gradient.unwrap();
            assert!(untouched.iter().all(|derivative| derivative.is_nan()));

            problem.upstream = Upstream::Same(3.0);
            problem.check_with(&mut program, &choice, &problem.expected());

            let factors = vec![1.0, 2.0, 1.0, 1.0, 0.5, 1.0];
            problem.upstream = Upstream::Each(factors.clone());
            let expected = problem.expected();
            let found = problem.run(&mut program, &choice).gradient.unwrap();
            for (i, (found, expected)) in found.iter().zip(&expected.gradient).enumerate() {
                if factors[i / problem.classes] == 1.0 {
                    assert!(found.is_nan());
                } else {
                    assert!((found - expected).abs() <= 2e-7);
                }
            }
        }
    }
}

#[test]
fn invalid_samples_give_nan_and_nothing_else_changes() {
    let Some(mut program) = Program::start() else {
        return;
    };
    let mut turn = 0;
    // Each kernel in turn.
    let mut check = |problem: &Problem| {
        turn += 1;
        let choices = problem.choices();
        let choice = &choices[turn % choices.len()];
        problem.check_with(&mut program, choice, &problem.expected());
    };
    for (index, function) in FUNCTIONS.into_iter().enumerate() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut problem = batch(function, Kind::ALL[index % 3]);
            problem.reduction = Reduction::None;
            // The label's score, another one, and the last one.
            problem.scores[3] = bad;
            problem.scores[2 * 40 + 7] = bad;
            problem.scores[5 * 40 + 39] = bad;
            check(&problem);
        }
        for label in [-1, 40, i64::MAX, i64::MIN, 1 << 32] {
            let mut problem = batch(function, Kind::ALL[index % 3]);
            problem.reduction = Reduction::None;
            problem.labels[4] = label;
            check(&problem);
            // Ignored, even with invalid scores.
            problem.ignore_index = Some(label);
            problem.scores[4 * 40 + 1] = f64::NAN;
            problem.reduction = Reduction::Mean;
            check(&problem);
        }
    }
}

#[test]
fn batches_without_samples_that_count() {
    let Some(mut program) = Program::start() else {
        return;
    };
    for reduction in REDUCTIONS {
        let mut ignored = batch(FUNCTIONS[0], Kind::F32);
        ignored.labels.fill(7);
        ignored.ignore_index = Some(7);
        ignored.reduction = reduction;
        ignored.check(&mut program);
        let expected = ignored.expected();
        assert_eq!(expected.result.is_nan(), reduction == Reduction::Mean);

        let mut empty = ignored.clone();
        empty.labels.clear();
        empty.scores.clear();
        empty.check(&mut program);
    }
}

#[test]
fn large_batches() {
    let Some(mut program) = Program::start() else {
        return;
    };
    let mut random = Random(12);
    for (samples, weighted, ignoring) in [
        (512, true, true),
        (513, true, false),
        (513, false, true),
        (3000, true, true),
        (700, false, false),
    ] {
        let scores: Vec<f64> = (0..samples * 7).map(|_| 6.0 * random.unit()).collect();
        let labels: Vec<i64> = (0..samples).map(|_| random.below(7) as i64).collect();
        let mut problem = Problem::new(FUNCTIONS[0], Kind::F32, &scores, &labels);
        problem.class_weights = weighted.then(|| class_weights(7));
        problem.ignore_index = ignoring.then_some(2);
        problem.orders = 2;
        let choices = problem.choices();
        problem.check_with(&mut program, &choices[0], &problem.expected());
    }
}
