//! The comparison of two models.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use topk_calibration::{Logits, LogitsDifference};
use topk_report::text::wrap_for;
use topk_results::{Comparison, Results};

use super::outputs::{Output, check, print, requested, write};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// Results of the first model
    #[arg(value_name = "BEFORE")]
    before: PathBuf,

    /// Results of the second model [default: the second model in BEFORE]
    #[arg(value_name = "AFTER")]
    after: Option<PathBuf>,

    /// Which model of each file, counted from 1, e.g. 1,2; for files with several models
    #[arg(long, value_name = "I,J", value_parser = models)]
    models: Option<[usize; 2]>,

    /// Number of changed images to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    list: usize,

    /// Fail unless both rank the true class of every image equally, as the same model on a GPU and on the CPU
    #[arg(long)]
    same_ranks: bool,

    /// Also compare the files of logits that topk-eval --logits wrote for the two models
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    logits: Option<Vec<PathBuf>>,

    /// Exit with status 2 if the top-1 accuracy of the second model is more than this number of percentage points below
    /// that of the first, e.g. 0.5. The accuracies themselves count, not their intervals
    #[arg(long, value_name = "POINTS", value_parser = points)]
    fail_if_top1_drops: Option<f64>,

    /// The same for top-k accuracy, with the largest k of the first results
    #[arg(long, value_name = "POINTS", value_parser = points)]
    fail_if_topk_drops: Option<f64>,

    /// Write the comparison with all changed images as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write an HTML report
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Parses two numbers, from 1.
fn models(text: &str) -> Result<[usize; 2], String> {
    let number = |text: &str| text.parse().ok().filter(|&number: &usize| number > 0);
    let numbers = text
        .split_once(',')
        .and_then(|(i, j)| Some([number(i)?, number(j)?]));
    numbers.ok_or_else(|| "expected two numbers from 1, such as 1,2".to_owned())
}

/// Parses a number of percentage points.
fn points(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "expected percentage points from 0 to 100, such as 0.5".to_owned())
}

/// The exit status if an accuracy drops by more than is allowed. All errors have status 1.
const DROPPED: u8 = 2;

impl CompareArgs {
    /// The output flags that are set, and their files.
    fn files(&self) -> impl Iterator<Item = Output<'_>> {
        requested([("--json", &self.json), ("--html", &self.html)])
    }

    pub(super) fn run(&self) -> Result<ExitCode> {
        check(self.files())?;
        let before = Results::read(&self.before)?;
        let after = match &self.after {
            Some(path) => &Results::read(path)?,
            None => &before,
        };
        let [first, second] = match (self.models, &self.after) {
            (Some(models), _) => models,
            (None, None) => [1, 2],
            (None, Some(path)) => {
                for (path, results) in [(&self.before, &before), (path, after)] {
                    let count = results.models.len();
                    if count != 1 {
                        bail!(
                            "{} has {count} models: select one with --models, e.g. --models 1,1",
                            path.display()
                        );
                    }
                }
                [1, 1]
            }
        };
        let mut comparison = Comparison::new((&before, first - 1), (after, second - 1))
            .with_context(|| match &self.after {
                Some(after) => format!("{} and {}", self.before.display(), after.display()),
                None => self.before.display().to_string(),
            })?;
        if let Some([before, after]) = self.logits.as_deref() {
            let [first, second] = [Logits::open(before)?, Logits::open(after)?];
            ensure!(
                first.images() == comparison.predicted,
                "{} has the logits of {} images, but the results have {} in common: pass the files of the same \
                 evaluations",
                before.display(),
                first.images(),
                comparison.predicted
            );
            comparison.logits = Some(LogitsDifference::measure(&first, &second)?);
        }
        if let Some(points) = self.fail_if_top1_drops {
            comparison.check_drop(1, points)?;
        }
        if let Some(points) = self.fail_if_topk_drops {
            comparison.check_largest_k(points)?;
        }
        print(&comparison.table(self.list), self.files())?;
        if let Some(path) = &self.json {
            write(path, &comparison.to_json())?;
        }
        if let Some(path) = &self.html {
            write(path, &comparison.to_html())?;
        }
        if self.same_ranks {
            comparison.check_ranks()?;
        }
        let mut failed = comparison
            .gates
            .iter()
            .filter(|gate| !gate.passed)
            .peekable();
        let code = match failed.peek() {
            Some(_) => ExitCode::from(DROPPED),
            None => ExitCode::SUCCESS,
        };
        for gate in failed {
            eprintln!("{}", wrap_for(&io::stderr(), &format!("failed: {gate}")));
        }
        Ok(code)
    }
}
