use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Measurement, Problem};

/// The machine of the measurements.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Operating system and architecture.
    pub platform: String,
    /// Number of threads.
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

/// Results of a run: the content of the JSON file, and of the CSV file with one row per measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// Version of `topk-perf`.
    pub version: String,
    /// The machine of the measurements.
    pub machine: Machine,
    /// Seed of the scores and labels.
    pub seed: u64,
    /// One entry per algorithm and problem.
    pub measurements: Vec<Measurement>,
}

impl Report {
    /// The measurements as CSV with a header. Empty fields were not measured.
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

/// The table of one problem, at most 80 columns wide. A dash marks what was not measured.
pub fn table(problem: &Problem, measurements: &[Measurement]) -> String {
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
    let mut table = format!(
        "{}, batch size {}, {} classes, k = {}, tau = {}\n{:18}  {:>14}  {:>14}  {:>9}  {:>16}\n",
        problem.dtype,
        problem.batch,
        problem.classes,
        problem.svm.k(),
        problem.svm.tau(),
        "",
        "forward",
        "fwd + bwd",
        "",
        "largest error",
    );
    let mut line = |cells: [String; 8]| {
        let [name, forward, ratio, both, ratio_both, memory, loss, grad] = cells;
        table += &format!(
            "{name:18}  {forward:>7}  {ratio:>5}  {both:>7}  {ratio_both:>5}  {memory:>9}  \
             {loss:>7}  {grad:>7}\n"
        );
    };
    let header = [
        "algorithm",
        "ms",
        "ratio",
        "ms",
        "ratio",
        "memory",
        "loss",
        "grad",
    ];
    line(header.map(str::to_owned));
    for row in measurements {
        line([
            row.algorithm.to_string(),
            time(row.forward_ms),
            ratio(|row| row.forward_ms, row),
            time(row.forward_backward_ms),
            ratio(|row| row.forward_backward_ms, row),
            or_dash(row.peak_bytes.map(bytes)),
            error(row.loss_error),
            error(row.grad_error),
        ]);
    }
    for row in measurements {
        if let Some(note) = &row.note {
            table += &format!("  {}: {note}\n", row.algorithm);
        }
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
    fn numbers_are_rounded_for_the_table() {
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
