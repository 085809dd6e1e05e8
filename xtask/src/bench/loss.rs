//! The losses through tensors beside libtorch's cross-entropy.

use std::fmt::Write;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::report::{Bar, Figures, Measured, Ratio};
use super::setup::{Peers, Setup};

const PEER: &str = "libtorch's cross-entropy";

/// What the benchmark writes.
#[derive(Deserialize)]
struct Output {
    threads: usize,
    #[serde(flatten)]
    losses: Losses,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Losses {
    cases: Vec<Case>,
}

/// One loss, number of samples, number of classes, and k.
#[derive(Deserialize, Serialize)]
struct Case {
    loss: String,
    batch: usize,
    classes: usize,
    k: usize,
    libtorch_cross_entropy: Times,
    this_loss: Times,
    /// That of `topk-ops`.
    cross_entropy: Times,
}

/// Microseconds of forward and backward.
#[derive(Deserialize, Serialize)]
struct Times {
    median_us: f64,
    /// That of the fastest tenth.
    fast_us: f64,
}

impl Case {
    /// Of the fastest tenth of the turns, which other programs disturb least.
    fn ratio(&self) -> f64 {
        self.this_loss.fast_us / self.libtorch_cross_entropy.fast_us
    }
}

impl Figures for Losses {
    fn measure(setup: &Setup, _: Option<&Peers>) -> Result<Measured<Self>> {
        let output: Output = setup.cargo_bench("topk-ops-tch", "cross_entropy", &[])?;
        Ok(Measured {
            threads: output.threads,
            figures: output.losses,
        })
    }

    fn ratios(&self) -> Vec<Ratio> {
        let ratio = |case: &Case| Ratio {
            what: format!(
                "{}, {} x {}, k = {}",
                case.loss, case.batch, case.classes, case.k
            ),
            peer: PEER,
            value: Some(case.ratio()),
        };
        self.cases.iter().map(ratio).collect()
    }

    fn tables(&self) -> String {
        let mut table = "| loss | batch | classes | k | libtorch's cross-entropy | this loss | ratio | cross-entropy of this crate, ratio |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
        for case in &self.cases {
            let theirs = case.libtorch_cross_entropy.fast_us;
            writeln!(
                table,
                "| `{}` | {} | {} | {} | {theirs:.0} µs | {:.0} µs | {:.2} | {:.2} |",
                case.loss,
                case.batch,
                case.classes,
                case.k,
                case.this_loss.fast_us,
                case.ratio(),
                case.cross_entropy.fast_us / theirs
            )
            .expect("strings can be written to");
        }
        table
    }

    /// The paper's loss at its size.
    fn bars(&self) -> Vec<Bar> {
        let shown = |case: &&Case| {
            (case.loss.as_str(), case.batch, case.classes, case.k)
                == ("smooth-topk-svm", 256, 1000, 5)
        };
        let bar = |case: &Case| Bar {
            group: "Loss",
            what: format!("smooth top-{} SVM", case.k),
            peer: PEER,
            times: 1.0 / case.ratio(),
        };
        self.cases.iter().filter(shown).map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses() -> Losses {
        let times = |fast_us| Times {
            median_us: 2.0 * fast_us,
            fast_us,
        };
        Losses {
            cases: vec![Case {
                loss: "psi5".to_owned(),
                batch: 256,
                classes: 1000,
                k: 5,
                libtorch_cross_entropy: times(10.0),
                this_loss: times(5.0),
                cross_entropy: times(4.0),
            }],
        }
    }

    #[test]
    fn the_table_has_a_row_per_case() {
        let table = losses().tables();
        let row = "\n| `psi5` | 256 | 1000 | 5 | 10 µs | 5 µs | 0.50 | 0.40 |\n";
        assert!(table.ends_with(row), "{table}");
    }

    #[test]
    fn ratios_are_those_of_the_fastest_tenth() {
        let ratio = losses().ratios().pop().unwrap();
        assert_eq!(ratio.what, "psi5, 256 x 1000, k = 5");
        assert_eq!(ratio.value, Some(0.5));
    }
}
