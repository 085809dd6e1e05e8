//! Values computed with 60 digits.

use topk_ops::Reduction;
use topk_reference::{Tolerance, read_cases};

use crate::function::Function;
use crate::kind::Kind;
use crate::problem::Problem;
use crate::program::Program;

#[test]
fn golden_values_are_within_the_cpus_tolerance() {
    let cases = read_cases(&topk_testing::golden()).unwrap();
    let Some(mut program) = Program::start() else {
        return;
    };
    for case in &cases {
        let function = Function::SmoothTopkSvm {
            k: case.k,
            tau: case.tau,
            alpha: case.alpha,
        };
        assert!(case.k <= 128, "{}: the kernels need k up to 128", case.name);
        for kind in Kind::ALL {
            let problem = Problem {
                reduction: Reduction::None,
                // Types differ only where scores are read and written.
                orders: if kind == Kind::F32 { 2 } else { 1 },
                ..Problem::new(function, kind, &case.scores, &[case.y])
            };
            let expected = problem.expected();
            let mut choices = problem.choices();
            if kind != Kind::F32 {
                choices.truncate(1);
            }
            for choice in choices {
                let found = problem.check_with(&mut program, &choice, &expected);
                if kind != Kind::F32 {
                    continue;
                }
                // The scores were not rounded.
                let error = (found.values.unwrap()[0] - case.loss).abs() / case.loss.max(1.0);
                let name = format!("{} with {}", case.name, choice.kernel);
                assert!(error <= Tolerance::F32.loss, "{name}: loss {error:e}");
                for (found, expected) in found.gradient.unwrap().iter().zip(&case.grad) {
                    let error = (found - expected).abs();
                    assert!(error <= Tolerance::F32.grad, "{name}: gradient {error:e}");
                }
            }
        }
    }
}
