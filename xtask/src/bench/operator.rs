//! The native operator of ONNX Runtime, and the portable function, beside the same loss called from Rust.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::report::{Bar, Figures, Measured, Ratio};
use super::setup::{Peers, Setup};

const PEER: &str = "the call from Rust";

/// What ONNX Runtime computes.
const IN_RUNTIME: [&str; 3] = [
    "native operator",
    "native operator, memory of the caller's",
    "portable function",
];

/// What the benchmark writes.
#[derive(Deserialize)]
struct Output {
    threads: usize,
    #[serde(flatten)]
    operator: Operator,
}

/// The smooth top-k SVM and its gradient.
#[derive(Deserialize, Serialize)]
pub(super) struct Operator {
    samples: usize,
    classes: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize, Serialize)]
struct Case {
    k: usize,
    criterion: Times,
    operator_new_outputs: Times,
    operator_own_outputs: Times,
    portable_function: Times,
}

/// Medians in microseconds.
#[derive(Deserialize, Serialize)]
struct Times {
    /// Turn by turn with the others.
    in_turn_us: f64,
    /// When nothing else runs.
    alone_us: f64,
}

impl Case {
    /// Of each of [`IN_RUNTIME`].
    fn in_runtime(&self) -> [&Times; 3] {
        [
            &self.operator_new_outputs,
            &self.operator_own_outputs,
            &self.portable_function,
        ]
    }
}

impl Figures for Operator {
    fn measure(setup: &Setup, _: Option<&Peers>) -> Result<Measured<Self>> {
        let output: Output = setup.cargo_bench("topk-ops-ort", "operator", &[])?;
        Ok(Measured {
            threads: output.threads,
            figures: output.operator,
        })
    }

    fn ratios(&self) -> Vec<Ratio> {
        let mut ratios = Vec::new();
        for case in &self.cases {
            for (name, times) in IN_RUNTIME.into_iter().zip(case.in_runtime()) {
                ratios.push(Ratio {
                    what: format!("{name}, k = {}", case.k),
                    peer: PEER,
                    value: Some(times.alone_us / case.criterion.alone_us),
                });
            }
        }
        ratios
    }

    fn tables(&self) -> String {
        let row = |name: &str, cell: &dyn Fn(&Case) -> String| -> String {
            let cells = self.cases.iter().map(cell);
            let cells: String = cells.map(|cell| format!(" {cell} |")).collect();
            format!("| {name} |{cells}\n")
        };
        let head = format!("{} × {}, each alone", self.samples, self.classes);
        let mut table = row(&head, &|case| format!("k = {}", case.k));
        table += &row("---", &|_| "---".to_owned());
        table += &row("`topk_ops::Criterion` in Rust", &|case| {
            format!("{:.0} µs", case.criterion.alone_us)
        });
        for (at, name) in IN_RUNTIME.into_iter().enumerate() {
            table += &row(name, &|case| {
                let time = case.in_runtime()[at].alone_us;
                let ratio = time / case.criterion.alone_us;
                format!("{time:.0} µs, {ratio:.2} times that")
            });
        }
        table
    }

    fn bars(&self) -> Vec<Bar> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_to_those_of_rust() {
        let times = |alone_us| Times {
            in_turn_us: 1000.0,
            alone_us,
        };
        let operator = Operator {
            samples: 256,
            classes: 1000,
            cases: vec![Case {
                k: 5,
                criterion: times(10.0),
                operator_new_outputs: times(11.0),
                operator_own_outputs: times(9.0),
                portable_function: times(80.0),
            }],
        };
        let expected = "| 256 × 1000, each alone | k = 5 |\n| --- | --- |\n\
                        | `topk_ops::Criterion` in Rust | 10 µs |\n\
                        | native operator | 11 µs, 1.10 times that |\n\
                        | native operator, memory of the caller's | 9 µs, 0.90 times that |\n\
                        | portable function | 80 µs, 8.00 times that |\n";
        assert_eq!(operator.tables(), expected);
        let values: Vec<_> = operator
            .ratios()
            .iter()
            .filter_map(|ratio| ratio.value)
            .collect();
        assert_eq!(values, [1.1, 0.9, 8.0]);
    }
}
