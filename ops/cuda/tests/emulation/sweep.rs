//! Every small number of classes with every label, and rows that begin anywhere in memory.

use topk_ops::Reduction;

use crate::function::{Function, Ranked};
use crate::kind::Kind;
use crate::problem::Problem;
use crate::program::Program;
use crate::random::Random;

/// A batch with these labels.
fn batch(function: Function, kind: Kind, classes: usize, labels: &[i64]) -> Problem {
    let mut random = Random(classes as u64);
    let scores: Vec<f64> = (0..labels.len() * classes)
        .map(|_| 6.0 * random.unit())
        .collect();
    Problem {
        reduction: Reduction::None,
        orders: 2,
        ..Problem::new(function, kind, &scores, labels)
    }
}

fn svm(k: usize) -> Function {
    Function::SmoothTopkSvm {
        k,
        tau: 0.8,
        alpha: 1.0,
    }
}

#[test]
fn all_labels_of_few_classes() {
    let Some(mut program) = Program::start() else {
        return;
    };
    for classes in 2..=40 {
        let all: Vec<i64> = (0..classes as i64).collect();
        let some = [0, classes as i64 / 2, classes as i64 - 1];
        // The largest k, and another one.
        let mut ks = vec![classes - 1, 1 + classes % 11];
        ks.retain(|&k| k < classes);
        ks.dedup();
        for (turn, k) in ks.into_iter().enumerate() {
            let kind = Kind::ALL[(classes + turn) % 3];
            let ranked = Function::Ranked {
                loss: Ranked::ALL[(classes + turn) % 5],
                k,
                alpha: 1.0,
            };
            let functions = [Some(svm(k)), (k <= 10).then_some(ranked)];
            for function in functions.into_iter().flatten() {
                // Blocks are slow here: a few labels, and one kernel per turn.
                let all = batch(function, kind, classes, &all);
                let some = Problem {
                    orders: 1,
                    ..batch(function, kind, classes, &some)
                };
                let mut choices = all.choices();
                if choices[0].rows > 1 {
                    all.check_with(&mut program, &choices.remove(0), &all.expected());
                }
                let choice = &choices[(classes + turn) % choices.len()];
                some.check_with(&mut program, choice, &some.expected());
            }
        }
    }
}

#[test]
fn rows_at_any_address() {
    let Some(mut program) = Program::start() else {
        return;
    };
    let mut turn = 0;
    for function in [svm(1), svm(5), svm(10), svm(12)] {
        for classes in [13, 33, 140, 1030] {
            for (before, gap) in [(1, 0), (0, 1), (3, 4), (7, 2), (8, 8)] {
                turn += 1;
                let labels = [5, 0, classes as i64 - 1];
                let mut problem = batch(function, Kind::ALL[turn % 3], classes, &labels);
                problem.before = [before, turn % 4];
                problem.gaps = [gap, turn % 3];
                problem.orders = 1;
                let choices = problem.choices();
                let choice = &choices[turn % choices.len()];
                problem.check_with(&mut program, choice, &problem.expected());
            }
        }
    }
}
