use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Measurement};

/// What was measured on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Operating system and architecture.
    pub platform: String,
    /// Threads that share out the samples.
    pub threads: usize,
    /// Instruction set extension that the fused algorithm uses for `f32`.
    pub instructions: String,
}

impl Machine {
    /// This machine, with the threads of the current rayon pool.
    pub fn current() -> Self {
        Self {
            cpu: topk_native::processor(),
            platform: topk_native::platform(),
            threads: rayon::current_num_threads(),
            instructions: topk_ops::instructions().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.threads == 1 { "" } else { "s" };
        write!(f, "{}, {} thread{s}", self.cpu, self.threads)
    }
}

/// Results of a run: what the JSON file holds, and the CSV file a row a measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// Version of `topk-perf`.
    pub version: String,
    /// What was measured on.
    pub machine: Machine,
    /// Seed of the scores and labels.
    pub seed: u64,
    /// One entry for each algorithm and problem.
    pub measurements: Vec<Measurement>,
}

impl Report {
    /// As CSV with a header. Empty fields were not measured.
    pub fn csv(&self) -> String {
        let mut csv = String::from(
            "algorithm,type,batch,classes,k,tau,alpha,scale,forward_ms,forward_backward_ms,\
             peak_bytes,loss_error,grad_error,error_samples,note,repeats,seed,version,cpu,platform,\
             threads,instructions\n",
        );
        let number = |number: Option<f64>| number.map_or(String::new(), |n| format!("{n:?}"));
        for row in &self.measurements {
            let fields = [
                row.algorithm.to_string(),
                row.dtype.to_string(),
                row.batch.to_string(),
                row.classes.to_string(),
                row.k.to_string(),
                row.tau.to_string(),
                row.alpha.to_string(),
                row.scale.to_string(),
                number(row.forward_ms),
                number(row.forward_backward_ms),
                row.peak_bytes.map_or(String::new(), |n| n.to_string()),
                number(row.loss_error),
                number(row.grad_error),
                row.error_samples.to_string(),
                quote(row.note.as_deref().unwrap_or_default()),
                row.repeats.to_string(),
                self.seed.to_string(),
                self.version.clone(),
                quote(&self.machine.cpu),
                quote(&self.machine.platform),
                self.machine.threads.to_string(),
                quote(&self.machine.instructions),
            ];
            csv += &fields.join(",");
            csv.push('\n');
        }
        csv
    }
}

fn quote(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The header of the table for people.
pub fn table_header() -> String {
    format!(
        "{:18}  type  {:>5}  {:>7}  {:>4}  {:>6}  {:>10}  {:>6}  {:>10}  {:>6}  {:>9}  {:>8}  {:>8}",
        "algorithm",
        "batch",
        "classes",
        "k",
        "tau",
        "forward ms",
        "×fused",
        "fwd+bwd ms",
        "×fused",
        "memory",
        "loss err",
        "grad err",
    )
}

/// The rows of the table for the measurements of one problem. A dash stands for what was not
/// measured.
pub fn table_rows(measurements: &[Measurement]) -> String {
    let fused = measurements
        .iter()
        .find(|row| row.algorithm == Algorithm::Fused);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let time = |time: Option<f64>| or_dash(time.map(digits));
    let error = |error: Option<f64>| or_dash(error.map(|error| format!("{error:.1e}")));
    let ratio = |time: fn(&Measurement) -> Option<f64>, row| {
        let ratio = time(row).zip(fused.and_then(time));
        or_dash(ratio.map(|(time, fused)| digits(time / fused)))
    };
    let mut table = String::new();
    for row in measurements {
        table += &format!(
            "{:18}  {:4}  {:>5}  {:>7}  {:>4}  {:>6}  {:>10}  {:>6}  {:>10}  {:>6}  {:>9}  {:>8}  {:>8}\n",
            row.algorithm,
            row.dtype,
            row.batch,
            row.classes,
            row.k,
            row.tau,
            time(row.forward_ms),
            ratio(|row| row.forward_ms, row),
            time(row.forward_backward_ms),
            ratio(|row| row.forward_backward_ms, row),
            or_dash(row.peak_bytes.map(bytes)),
            error(row.loss_error),
            error(row.grad_error),
        );
    }
    table
}

/// Three significant digits, without an exponent.
fn digits(value: f64) -> String {
    let decimals = match value {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

fn bytes(bytes: usize) -> String {
    match bytes as f64 / 1024.0 {
        mib @ 1024.0.. => format!("{:.1} MiB", mib / 1024.0),
        kib => format!("{kib:.1} KiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0.01234, 0.1234, 1.234, 12.34, 1234.0].map(digits),
            ["0.0123", "0.123", "1.23", "12.3", "1234"]
        );
        assert_eq!([512, 3 << 20].map(bytes), ["0.5 KiB", "3.0 MiB"]);
    }

    #[test]
    fn quotes_only_where_needed() {
        assert_eq!(quote("AMD EPYC"), "AMD EPYC");
        assert_eq!(quote("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }
}
