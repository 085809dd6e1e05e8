//! The comparison of the algorithms.

use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rayon::ThreadPoolBuilder;
use topk_ops::{SampleLoss, SmoothTopkSvm};
use topk_perf::{
    Algorithm, Machine, Measurement, Problem, Protocol, Report, Type, measure, plot_errors_by_tau,
    plot_time_by_classes, plot_time_by_k, table,
};

use crate::memory;
use crate::output::Output;

/// Limit on the scores of a batch, so that several copies fit into memory.
const MAX_SCORES: usize = 1 << 29;

// Not a doc comment, which would become the text of the help.
#[derive(Debug, clap::Args)]
pub struct Comparison {
    /// Number of classes
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000")]
    num_classes: Vec<NonZeroUsize>,
    /// Samples per batch
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "256")]
    batch_size: Vec<NonZeroUsize>,
    /// The k of the loss
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "5")]
    topk: Vec<usize>,
    /// Temperature of the loss
    #[arg(long, value_name = "T", value_delimiter = ',', default_value = "1")]
    tau: Vec<f64>,
    /// Margin of the loss
    #[arg(long, value_name = "A", default_value_t = 1.0)]
    alpha: f64,
    /// Algorithms to compare
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "summation,log-summation,divide-and-conquer,fused"
    )]
    algorithms: Vec<Algorithm>,
    /// Type of the scores, f32 or f64
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: Type,
    /// Standard deviation of the normally distributed scores
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    scale: f64,
    /// Number of threads [default: all processors]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Number of timed runs; their median is reported
    #[arg(long, value_name = "R", default_value = "11")]
    repeats: NonZeroUsize,
    /// Number of samples per batch to compare with exact values
    #[arg(long, value_name = "N", default_value_t = 8)]
    error_samples: usize,
    /// Skip timing an algorithm whose batch would take longer than this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    limit: f64,
    /// Seed of the random scores and labels
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Write the table to a CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the table to a JSON file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also measure ranges of num-classes, topk and tau, and write plots (SVG) into this folder
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

/// Numbers of classes that `--plots` measures at k = 5 and τ = 1, up to that of ImageNet-21k.
const CLASSES: [usize; 6] = [100, 300, 1000, 3000, 10_000, 21_843];

/// The k that it measures at 1,000 classes and τ = 1.
const KS: [usize; 7] = [1, 2, 3, 5, 10, 20, 50];

/// The temperatures at which it compares errors, with 1,000 classes and k = 5.
const TAUS: [f64; 13] = [
    1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0,
];

/// Samples in these measurements, and timed runs.
const PLOT_BATCH: usize = 64;
const PLOT_REPEATS: usize = 5;

pub fn run(args: &Comparison) -> Result<()> {
    let problems = args.problems()?;
    let csv = args.csv.as_deref().map(Output::open).transpose()?;
    let json = args.json.as_deref().map(Output::open).transpose()?;
    let plots = args.plots.as_deref().map(Plots::open).transpose()?;
    let mut pool = ThreadPoolBuilder::new();
    if let Some(threads) = args.threads {
        pool = pool.num_threads(threads.get());
    }
    let pool = pool.build().context("cannot start the threads")?;
    let report = pool.install(|| args.report(&problems, plots))?;
    if let Some(csv) = csv {
        csv.write(&report.csv())?;
    }
    if let Some(json) = json {
        json.write(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    Ok(())
}

/// The files of `--plots`.
struct Plots {
    time_by_classes: Output,
    time_by_k: Output,
    errors_by_tau: Output,
}

impl Plots {
    fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        Ok(Self {
            time_by_classes: Output::open(&folder.join("time-by-classes.svg"))?,
            time_by_k: Output::open(&folder.join("time-by-k.svg"))?,
            errors_by_tau: Output::open(&folder.join("errors-by-tau.svg"))?,
        })
    }
}

impl Comparison {
    /// Every combination, checked.
    fn problems(&self) -> Result<Vec<Problem>> {
        if !(self.scale >= 0.0 && self.scale.is_finite()) {
            bail!(
                "--scale must be a finite number of at least 0, got {}",
                self.scale
            );
        }
        if self.limit.is_nan() || self.limit <= 0.0 {
            bail!("--limit must be above 0, got {}", self.limit);
        }
        let mut problems = Vec::new();
        for &batch in &self.batch_size {
            for &classes in &self.num_classes {
                for &k in &self.topk {
                    for &tau in &self.tau {
                        let (batch, classes) = (batch.get(), classes.get());
                        let svm = SmoothTopkSvm::new(k, tau, self.alpha)?;
                        svm.check_classes(classes).with_context(|| {
                            format!("--topk {k} is too large for --num-classes {classes}")
                        })?;
                        if batch.saturating_mul(classes) > MAX_SCORES {
                            bail!(
                                "--batch-size {batch} with --num-classes {classes} is more than the limit of \
                                 {MAX_SCORES} scores"
                            );
                        }
                        problems.push(Problem {
                            dtype: self.dtype,
                            batch,
                            classes,
                            svm,
                            scale: self.scale,
                            seed: self.seed,
                        });
                    }
                }
            }
        }
        Ok(problems)
    }

    fn report(&self, problems: &[Problem], plots: Option<Plots>) -> Result<Report> {
        let machine = Machine::current();
        write!(
            topk_cli::stdout(),
            "topk-perf {} on {machine}\nf32 kernels of the fused algorithm: {}\n\n",
            env!("CARGO_PKG_VERSION"),
            machine.instructions,
        )?;
        let repeats = self.repeats.get();
        let mut measurements = self.measure(problems, repeats, self.error_samples)?;
        write!(
            topk_cli::stdout(),
            "Times per batch are medians of {} runs, of the losses alone (forward) and with\n\
             their gradient (fwd + bwd); ratio is the ratio to the fused algorithm. Memory is\n\
             the peak allocation for losses and gradient, on all threads. Errors are the\n\
             largest over {} samples of the batch: of a loss relative to max(1, loss), of a\n\
             derivative absolute.\n",
            self.repeats,
            self.error_samples,
        )?;
        if let Some(plots) = plots {
            measurements.extend(self.plot(plots, &machine)?);
        }
        Ok(Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine,
            seed: self.seed,
            measurements,
        })
    }

    /// Measures what the plots show, draws them, and returns the measurements.
    fn plot(&self, plots: Plots, machine: &Machine) -> Result<Vec<Measurement>> {
        let problem = |classes, k, tau| {
            Ok(Problem {
                dtype: Type::F32,
                batch: PLOT_BATCH,
                classes,
                svm: SmoothTopkSvm::new(k, tau, self.alpha)?,
                scale: self.scale,
                seed: self.seed,
            })
        };
        let sweep = |about: &str, problems: Vec<Problem>, repeats, error_samples| -> Result<_> {
            write!(topk_cli::stdout(), "\nFor the plots: {about}\n\n")?;
            self.measure(&problems, repeats, error_samples)
        };

        let problems: Result<_> = CLASSES.map(|n| problem(n, 5, 1.0)).into_iter().collect();
        let classes = sweep(
            &format!("time by classes, medians of {PLOT_REPEATS} runs"),
            problems?,
            PLOT_REPEATS,
            0,
        )?;
        let problems: Result<_> = KS.map(|k| problem(1000, k, 1.0)).into_iter().collect();
        let k = sweep(
            &format!("time by k, medians of {PLOT_REPEATS} runs"),
            problems?,
            PLOT_REPEATS,
            0,
        )?;
        let problems: Result<_> = TAUS.map(|t| problem(1000, 5, t)).into_iter().collect();
        let tau = sweep(
            &format!("errors by tau, largest of {PLOT_BATCH} samples"),
            problems?,
            0,
            PLOT_BATCH,
        )?;

        plots
            .time_by_classes
            .write(&plot_time_by_classes(&classes, machine)?)?;
        plots.time_by_k.write(&plot_time_by_k(&k, machine)?)?;
        plots.errors_by_tau.write(&plot_errors_by_tau(&tau)?)?;
        Ok([classes, k, tau].concat())
    }

    /// Measures the problems and prints a table of each.
    fn measure(
        &self,
        problems: &[Problem],
        repeats: usize,
        error_samples: usize,
    ) -> Result<Vec<Measurement>> {
        let protocol = Protocol {
            algorithms: &self.algorithms,
            repeats,
            error_samples,
            limit: self.limit,
            peak_memory: Some(memory::peak),
        };
        let mut measurements = Vec::new();
        for problem in problems {
            let rows = measure(problem, &protocol)?;
            writeln!(topk_cli::stdout(), "{}", table(problem, &rows))?;
            measurements.extend(rows);
        }
        Ok(measurements)
    }
}
