//! The comparison of two models.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
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

impl CompareArgs {
    /// The output flags that are set, and their files.
    fn files(&self) -> impl Iterator<Item = Output<'_>> {
        requested([("--json", &self.json), ("--html", &self.html)])
    }

    pub(super) fn run(&self) -> Result<()> {
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
        let comparison = Comparison::new((&before, first - 1), (after, second - 1)).with_context(
            || match &self.after {
                Some(after) => format!("{} and {}", self.before.display(), after.display()),
                None => self.before.display().to_string(),
            },
        )?;
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
        Ok(())
    }
}
