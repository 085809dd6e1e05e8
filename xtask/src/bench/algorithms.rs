//! Algorithms for the smooth top-k SVM, with `topk-perf`, which also draws plots.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::report::{Bar, Figures, Measured, Ratio, cell};
use super::setup::{Peers, Setup};

/// The algorithm of `topk-ops`.
const OURS: &str = "fused";

/// Those that it is compared with; the last is that of the authors.
const OTHERS: [&str; 3] = ["summation", "log-summation", "divide-and-conquer"];

/// What `topk-perf` writes.
#[derive(Deserialize)]
struct Output {
    machine: Machine,
    measurements: Vec<Row>,
}

#[derive(Deserialize)]
struct Machine {
    threads: usize,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Algorithms {
    algorithms: Vec<Row>,
}

/// One algorithm on a batch.
#[derive(Deserialize, Serialize)]
struct Row {
    algorithm: String,
    batch: usize,
    classes: usize,
    k: usize,
    tau: f64,
    forward_backward_ms: Option<f64>,
    peak_bytes: Option<usize>,
    /// Relative to max(1, loss); a text if it is not finite.
    loss_error: serde_json::Value,
    /// Absolute; a text if it is not finite.
    grad_error: serde_json::Value,
}

impl Algorithms {
    /// Milliseconds of an algorithm.
    fn time(&self, algorithm: &str) -> Option<f64> {
        let mut rows = self.algorithms.iter();
        rows.find(|row| row.algorithm == algorithm)?
            .forward_backward_ms
    }
}

impl Figures for Algorithms {
    fn measure(setup: &Setup, _: Option<&Peers>) -> Result<Measured<Self>> {
        setup.build(&["topk-perf"])?;
        let mut command = Command::new(setup.built("topk-perf"));
        let output: Output = setup.results_of(command.arg("--plots").arg(setup.plots()))?;
        // What follows the table belongs to the plots.
        let rows = output.measurements.into_iter().take(OTHERS.len() + 1);
        Ok(Measured {
            threads: output.machine.threads,
            figures: Self {
                algorithms: rows.collect(),
            },
        })
    }

    fn ratios(&self) -> Vec<Ratio> {
        let ratio = |other| Ratio {
            what: "fused algorithm of the smooth top-k SVM".to_owned(),
            peer: other,
            value: self
                .time(OURS)
                .zip(self.time(other))
                .map(|(ours, other)| ours / other),
        };
        OTHERS.into_iter().map(ratio).collect()
    }

    fn tables(&self) -> String {
        let mut table =
            "| algorithm | samples × classes | k | τ | loss and gradient, ms | times that of `fused` | memory, KiB | error of the loss | of the gradient |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
                .to_owned();
        let fused = self.time(OURS);
        for row in &self.algorithms {
            let time = row.forward_backward_ms;
            let ratio = time.zip(fused).map(|(time, fused)| time / fused);
            let kib = row.peak_bytes.map(|bytes| bytes as f64 / 1024.0);
            writeln!(
                table,
                "| `{}` | {} × {} | {} | {} | {} | {} | {} | {} | {} |",
                row.algorithm,
                row.batch,
                row.classes,
                row.k,
                row.tau,
                cell(time, 2),
                cell(ratio, 1),
                cell(kib, 0),
                error(&row.loss_error),
                error(&row.grad_error)
            )
            .expect("strings can be written to");
        }
        table
    }

    fn bars(&self) -> Vec<Bar> {
        Vec::new()
    }
}

/// A number with two digits, or what there is instead.
fn error(value: &serde_json::Value) -> String {
    match (value.as_f64(), value.as_str()) {
        (Some(number), _) => format!("{number:.1e}"),
        (None, Some(text)) => text.to_owned(),
        (None, None) => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(algorithm: &str, milliseconds: f64) -> Row {
        Row {
            algorithm: algorithm.to_owned(),
            batch: 256,
            classes: 1000,
            k: 5,
            tau: 1.0,
            forward_backward_ms: Some(milliseconds),
            peak_bytes: Some(2048),
            loss_error: 1.25e-8.into(),
            grad_error: "NaN".into(),
        }
    }

    #[test]
    fn algorithms_are_compared_with_the_fused_one() {
        let algorithms = Algorithms {
            algorithms: vec![row("summation", 8.0), row("fused", 0.5)],
        };
        let table = algorithms.tables();
        let expected = "| `summation` | 256 × 1000 | 5 | 1 | 8.00 | 16.0 | 2 | 1.2e-8 | NaN |\n";
        assert!(table.contains(expected), "{table}");
        let ratios = algorithms.ratios();
        let values: Vec<_> = ratios.iter().map(|ratio| ratio.value).collect();
        assert_eq!(values, [Some(0.0625), None, None]);
    }
}
