//! The command line of `topk-eval`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use topk_data::Dataset;
use topk_data::cifar100::{self, Split};
use topk_image::Normalization;
use topk_native::{Device, Runtime};
use topk_ops::accuracy::Accuracy;

use crate::evaluation::Evaluation;
use crate::model::Model;
use crate::report::{self, Report};

/// Measure top-1 and top-k accuracy of ONNX classifiers.
///
/// The test set of CIFAR-100, or of a part of it in the same layout, is what they are measured on.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "topk-eval",
    version,
    max_term_width = 100,
    args_override_self = true
)]
pub struct Args {
    /// ONNX model; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    model: Vec<PathBuf>,

    /// Folder of the data set: test.bin and fine_label_names.txt, as CIFAR-100 unpacks
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The k of top-k accuracy
    #[arg(long, value_name = "K", default_value_t = 5)]
    topk: usize,

    /// Write the results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Mean of red, green, blue in units of pixels / 255 [default: what the model says]
    #[arg(long, value_name = "R,G,B", value_parser = rgb, requires = "std")]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green, blue, likewise
    #[arg(long, value_name = "R,G,B", value_parser = rgb, requires = "mean")]
    std: Option<[f32; 3]>,

    /// Images evaluated at once
    #[arg(long, value_name = "N", default_value_t = 256)]
    batch_size: usize,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    device: Device,

    /// Threads [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Three numbers with commas between them.
fn rgb(text: &str) -> Result<[f32; 3], String> {
    let numbers: Option<Vec<f32>> = text
        .split(',')
        .map(|number| number.trim().parse().ok())
        .collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "expected three numbers, such as 0.5,0.5,0.5".to_owned())
}

impl Args {
    /// Evaluates all models, prints the table and writes the results.
    ///
    /// # Errors
    /// At the first fault in the arguments, the data or a model; nothing is written then.
    pub fn run(&self) -> Result<()> {
        ensure!(
            self.batch_size > 0,
            "--batch-size must be at least 1, got 0"
        );
        ensure!(
            self.threads != Some(0),
            "--threads must be at least 1, got 0"
        );
        let normalization = self.normalization();
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .context("cannot start threads")?;
        }
        let dataset = cifar100::load(&self.data, Split::Test)?;
        let runtime = Runtime::load()?;

        let results = self
            .model
            .iter()
            .map(|path| {
                let mut model = Model::open(&runtime, path, self.device, self.threads)?;
                self.evaluate(&mut model, &dataset, normalization)
            })
            .collect::<Result<Vec<_>>>()?;

        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            onnxruntime: runtime.version().to_owned(),
            data: self.data.clone(),
            results,
        };
        if let Some(path) = &self.json {
            report
                .save(path)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        io::stdout().write_all(report.table().as_bytes())?;
        Ok(())
    }

    fn normalization(&self) -> Option<Normalization> {
        let (mean, std) = (self.mean?, self.std?);
        Some(Normalization { mean, std })
    }

    fn evaluate(
        &self,
        model: &mut Model,
        dataset: &Dataset,
        normalization: Option<Normalization>,
    ) -> Result<report::Result> {
        let evaluation = Evaluation::new(model, dataset, self.topk, normalization)?;
        // Hidden by indicatif when standard error is not a terminal.
        let bar = ProgressBar::new(dataset.len() as u64);
        let style = "{wide_bar:.cyan/black.bright} {pos}/{len}  {per_sec}  {msg}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
        let start = Instant::now();
        let ranks = evaluation.label_ranks(model, dataset, self.batch_size, |ranks| {
            let accuracy = Accuracy::of(ranks, self.topk);
            bar.set_message(format!(
                "top-1 {:.2} top-{} {:.2}",
                100.0 * accuracy.top1(),
                self.topk,
                100.0 * accuracy.topk()
            ));
            bar.set_position(ranks.len() as u64);
        });
        bar.finish_and_clear();
        let accuracy = Accuracy::of(&ranks?, self.topk);
        Ok(report::Result {
            model: model.path().to_owned(),
            sha256: model.sha256().to_owned(),
            provider: model.provider().to_string(),
            // Turned off for the CUDA provider when the session is made; the CPU's has none.
            tf32: false,
            normalization: evaluation.normalization(),
            images: accuracy.images,
            k: self.topk,
            top1_correct: accuracy.top1_correct,
            topk_correct: accuracy.topk_correct,
            top1: accuracy.top1(),
            topk: accuracy.topk(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn mean_and_std_come_together() {
        let parse = |flags: &str| {
            let command = format!("topk-eval --model m.onnx --data DIR {flags}");
            Args::try_parse_from(command.split_whitespace())
        };
        let args = parse("--mean 0.5,0.4,0.3 --std 0.2,0.2,0.2").unwrap();
        let expected = Normalization {
            mean: [0.5, 0.4, 0.3],
            std: [0.2; 3],
        };
        assert_eq!(args.normalization(), Some(expected));
        assert!(parse("--mean 0.5,0.4,0.3").is_err());
        assert!(parse("--mean 0.5,0.4 --std 0.2,0.2,0.2").is_err());
    }
}
