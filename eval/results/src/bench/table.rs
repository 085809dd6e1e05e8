//! Measurements as tables for a terminal of 80 columns.

use topk_report::text::{TERMINAL_WIDTH, fit, grouped, percent, wrap};

use super::schema::{Bench, Measurement, Profile};
use crate::names::short_names;
use crate::table::{Column, block, blocks, speed, width};

/// Operators and nodes of a profile that a table shows.
const LISTED: usize = 8;

impl Bench {
    /// Short names of the models; a model that is given twice has the same name twice.
    pub(super) fn model_names(&self) -> Vec<String> {
        let paths: Vec<&str> = self.models.iter().map(|model| &*model.path).collect();
        short_names(&paths, |_| None)
    }

    /// The measurements, each with the index of its model.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, &Measurement)> {
        let models = self.models.iter().enumerate();
        models.flat_map(|(at, model)| model.measurements.iter().map(move |row| (at, row)))
    }

    /// The measurements as tables of at most 80 columns, with what they were measured on.
    pub fn table(&self) -> String {
        let names = self.model_names();
        let rows: Vec<(usize, &Measurement)> = self.rows().collect();
        let column = |title: &str, cell: &dyn Fn(usize, &Measurement) -> String| {
            Column::new(title, rows.iter().map(|&(model, row)| cell(model, row)))
        };
        let model = column("model", &|model, _| names[model].clone());
        let on = || {
            vec![
                column("provider", &|_, row| row.provider.clone()),
                column("threads", &|_, row| row.threads.to_string()),
            ]
        };
        let mut latency = on();
        latency.extend([
            column("p50 ms", &|_, row| milliseconds(row.latency.latency.p50)),
            column("p90", &|_, row| milliseconds(row.latency.latency.p90)),
            column("p99", &|_, row| milliseconds(row.latency.latency.p99)),
            column("min", &|_, row| milliseconds(row.latency.latency.min)),
            column("mean", &|_, row| milliseconds(row.latency.latency.mean)),
        ]);
        let mut others = on();
        others.extend([
            column("images/s", &|_, row| speed(row.best().images_per_second)),
            column("at batch", &|_, row| row.best().batch_size.to_string()),
            column("first s", &|_, row| {
                format!("{:.2}", row.first_result_seconds())
            }),
        ]);
        if rows
            .iter()
            .any(|(_, row)| row.memory.resident_bytes.is_some())
        {
            others.push(column("MiB", &|_, row| {
                mebibytes(row.memory.resident_bytes)
            }));
        }
        if rows.iter().any(|(_, row)| row.memory.gpu_bytes.is_some()) {
            others.push(column("GPU MiB", &|_, row| mebibytes(row.memory.gpu_bytes)));
        }
        if self.models.iter().any(|model| model.accuracy.is_some()) {
            others.push(column("top-1 %", &|model, _| {
                let accuracy = &self.models[model].accuracy;
                accuracy
                    .as_ref()
                    .map_or_else(|| "–".to_owned(), |accuracy| percent(accuracy.top1))
            }));
        }
        let mut text = self.latency_title();
        text += &block(&model, &latency);
        text += "\nThroughput at the best batch size, first result, peak growth of memory\n";
        for columns in blocks(others) {
            debug_assert!(width(&columns) < TERMINAL_WIDTH);
            text += &block(&model, &columns);
        }
        text += &self.batches(&names);
        text += &self.preparation_table(&names);
        for (model, row) in &rows {
            if let Some(profile) = &row.profile {
                text += &profile.table(&format!("{}, {}", names[*model], on_device(row)));
            }
        }
        for note in &self.notes {
            text += &format!("\n{}", wrap(note, TERMINAL_WIDTH, 2));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        text
    }

    fn latency_title(&self) -> String {
        let mut sizes: Vec<usize> = self.rows().map(|(_, row)| row.latency.batch_size).collect();
        sizes.dedup();
        match &sizes[..] {
            [size] => format!("Latency of a run with {size} image{}\n", plural(*size)),
            _ => "Latency of a run with one image, or as many as the model requires\n".to_owned(),
        }
    }

    /// Images per second by batch size.
    fn batches(&self, names: &[String]) -> String {
        let rows: Vec<(usize, &Measurement)> = self.rows().collect();
        let sizes = self.batch_sizes();
        if sizes.len() < 2 {
            return String::new();
        }
        let of = rows
            .iter()
            .map(|&(model, row)| format!("{}, {}", names[model], on_device(row)));
        let columns = sizes.iter().map(|size| {
            let cells = rows.iter().map(|(_, row)| {
                let runs = row.throughput.iter();
                let mut runs = runs.filter(|runs| runs.batch_size == *size);
                let found = runs.next();
                found.map_or_else(|| "–".to_owned(), |runs| speed(runs.images_per_second))
            });
            Column::new(&size.to_string(), cells)
        });
        let names = Column::new("images/s by batch size", of);
        let tables = blocks(columns.collect());
        let tables = tables.iter().map(|columns| block(&names, columns));
        format!("\n{}", tables.collect::<Vec<_>>().join("\n"))
    }

    /// All batch sizes, ascending.
    pub(super) fn batch_sizes(&self) -> Vec<usize> {
        let runs = self.rows().flat_map(|(_, row)| &row.throughput);
        let mut sizes: Vec<usize> = runs.map(|runs| runs.batch_size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn preparation_table(&self, names: &[String]) -> String {
        let prepared: Vec<_> = names
            .iter()
            .zip(&self.models)
            .filter_map(|(name, model)| Some((name, model, model.preparation?)))
            .collect();
        if prepared.is_empty() {
            return String::new();
        }
        let column =
            |title: &str, cells: Vec<f64>| Column::new(title, cells.into_iter().map(milliseconds));
        let times = |time: fn(&super::Preparation) -> f64| -> Vec<f64> {
            prepared.iter().map(|(.., times)| time(times)).collect()
        };
        // The first measurement is that of the first provider and number of threads.
        let inference = prepared.iter().map(|(_, model, _)| {
            let first = model.measurements.first();
            first.map_or(0.0, |row| 1.0 / row.best().images_per_second)
        });
        let columns = [
            column("read ms", times(|times| times.read_seconds)),
            column("decode", times(|times| times.decode_seconds)),
            column("transform", times(super::Preparation::transform_seconds)),
            column("inference", inference.collect()),
        ];
        let names = Column::new("model", prepared.iter().map(|(name, ..)| (*name).clone()));
        format!(
            "\nTime per image: preparation on one thread, inference at the best batch size\n{}",
            block(&names, &columns)
        )
    }
}

impl Profile {
    fn table(&self, title: &str) -> String {
        let listed = self.operators.len().min(LISTED);
        let title = format!(
            "Profile of {title}: batch {}, {} runs, {} ms per run",
            self.batch_size,
            grouped(self.runs),
            milliseconds(self.run_seconds)
        );
        let mut text = format!("\n{}\n", wrap(&title, TERMINAL_WIDTH, 2));
        let operators = &self.operators[..listed];
        let columns = [
            Column::new("provider", operators.iter().map(|of| short(&of.provider))),
            Column::new("nodes", operators.iter().map(|of| of.nodes.to_string())),
            Column::new("ms", operators.iter().map(|of| milliseconds(of.seconds))),
            Column::new("%", operators.iter().map(|of| percent(of.share))),
        ];
        let names = Column::new("operator", operators.iter().map(|of| of.operator.clone()));
        text += &block(&names, &columns);
        let nodes = &self.nodes[..self.nodes.len().min(LISTED)];
        let columns = [
            Column::new("operator", nodes.iter().map(|of| of.operator.clone())),
            Column::new("ms", nodes.iter().map(|of| milliseconds(of.seconds))),
            Column::new("%", nodes.iter().map(|of| percent(of.share))),
        ];
        let names = nodes
            .iter()
            .map(|of| fit(&of.name, 40).trim_end().to_owned());
        let names = Column::new("slowest nodes", names);
        text + "\n" + &block(&names, &columns)
    }
}

/// ONNX Runtime's name of a provider without the part that all have.
pub(super) fn short(provider: &str) -> String {
    let name = provider.strip_suffix("ExecutionProvider");
    name.unwrap_or(provider).to_owned()
}

/// The provider and the number of threads.
pub(super) fn on_device(row: &Measurement) -> String {
    let threads = row.threads;
    format!("{}, {threads} thread{}", row.provider, plural(threads))
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// Milliseconds with three significant digits, and at least two decimals below 100.
pub(super) fn milliseconds(seconds: f64) -> String {
    match 1000.0 * seconds {
        ms @ ..1.0 => format!("{ms:.3}"),
        ms @ ..100.0 => format!("{ms:.2}"),
        ms => format!("{ms:.1}"),
    }
}

pub(super) fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "–".to_owned(), |bytes| grouped((bytes >> 20) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let text = [0.000_012_3, 0.001_234, 0.056_789, 1.2345].map(milliseconds);
        assert_eq!(text, ["0.012", "1.23", "56.79", "1234.5"]);
        assert_eq!(mebibytes(Some(1536 << 20)), "1,536");
        assert_eq!(mebibytes(None), "–");
        assert_eq!(short("CPUExecutionProvider"), "CPU");
    }
}
