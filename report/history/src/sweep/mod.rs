//! Sweeps: runs that differ in some settings, and summaries of their results.

mod axis_value;
mod html;
mod plots;
mod reference;
mod summary;
mod tables;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::record::LOG;
use crate::run::{Run, RunError};

pub use axis_value::AxisValue;
pub use reference::{Reference, ReferenceError, ReferenceValue};
pub use summary::{Cell, Spread, Summary};

/// Maximum number of runs in a sweep.
const MAX_RUNS: usize = 1_000;
/// Maximum number of cells in the table of a sweep.
const MAX_CELLS: usize = 10_000;

/// The settings in which the runs of a sweep differ, as keys of their configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axes {
    /// Setting with one row per value, the x axis of plots, such as `noise`.
    pub row: String,
    /// Settings whose combinations are the variants, with one column and one line each, such as `loss` and `tau`.
    pub columns: Vec<String>,
    /// Setting over which results are averaged, such as `seed`.
    pub seed: String,
}

/// The runs of a sweep, each in a subfolder of one folder.
#[derive(Debug)]
pub struct Sweep {
    pub(crate) axes: Axes,
    pub(crate) runs: Vec<SweepRun>,
}

/// A run of a sweep.
#[derive(Debug)]
pub struct SweepRun {
    /// Name of its folder.
    pub name: String,
    /// Its configuration; empty if unknown.
    pub config: Map<String, Value>,
    /// Its state.
    pub state: RunState,
}

/// State of a run.
#[derive(Debug)]
pub enum RunState {
    /// Finished.
    Finished(Run),
    /// In progress or interrupted.
    Unfinished(Run),
    /// Not started.
    Missing,
    /// Its files cannot be read.
    Unreadable(RunError),
}

/// A sweep cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The folder cannot be listed.
    #[error("cannot list {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// There are no runs.
    #[error("{} contains no runs: expected subfolders with a file {LOG}", path.display())]
    NoRuns {
        /// The folder.
        path: PathBuf,
    },
    /// No run can be read; the error of the first.
    #[error(transparent)]
    Unreadable(RunError),
    /// There are too many runs.
    #[error("{} contains more than {MAX_RUNS} runs, the maximum of a sweep", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// The axes have too many values.
    #[error(
        "the runs have {rows} values of `{row}` and {columns} variants, too many for a table of at most \
         {MAX_CELLS} cells: choose other settings for rows and columns"
    )]
    TooManyCells {
        /// The key of the rows.
        row: String,
        /// Number of its values.
        rows: usize,
        /// Number of variants.
        columns: usize,
    },
    /// No run has a setting of the axes.
    #[error("no run has the setting `{key}`; known settings: {known}")]
    NoKey {
        /// The key.
        key: String,
        /// The keys that runs have.
        known: String,
    },
}

impl Sweep {
    /// Reads the runs in the subfolders of a folder, in the order of their names. A subfolder without a log
    /// counts as a run that has not started.
    ///
    /// # Errors
    /// If the folder cannot be listed, has no run or more than 1,000, no run has a setting of the axes, or the table has
    /// more than 10,000 cells. A run that cannot be read is not an error but [`RunState::Unreadable`].
    pub fn discover(folder: &Path, axes: Axes) -> Result<Self, SweepError> {
        let cannot_list = |error| SweepError::Folder {
            path: folder.to_owned(),
            error,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(cannot_list)? {
            let entry = entry.map_err(cannot_list)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !name.starts_with('.') {
                names.push(name);
            }
            if names.len() > MAX_RUNS {
                let path = folder.to_owned();
                return Err(SweepError::TooMany { path });
            }
        }
        names.sort();
        let plan = names.into_iter().map(|name| (name, Map::new()));
        Self::planned(folder, axes, plan.collect())
    }

    /// Reads planned runs, given as folder names and configurations. Runs that have not started have the given
    /// configuration, others that of their log.
    ///
    /// # Errors
    /// The errors of [`Sweep::discover`].
    pub fn planned(
        folder: &Path,
        axes: Axes,
        plan: Vec<(String, Map<String, Value>)>,
    ) -> Result<Self, SweepError> {
        let path = folder.to_owned();
        if plan.len() > MAX_RUNS {
            return Err(SweepError::TooMany { path });
        }
        let runs = plan.into_iter().map(|(name, config)| {
            let state = RunState::of(&folder.join(&name));
            let config = state.run().map_or(config, |run| run.start.config.clone());
            SweepRun {
                name,
                config,
                state,
            }
        });
        let runs: Vec<SweepRun> = runs.collect();
        if runs.iter().all(|run| run.config.is_empty()) {
            let mut states = runs.into_iter().map(|run| run.state);
            return Err(states
                .find_map(|state| match state {
                    RunState::Unreadable(error) => Some(SweepError::Unreadable(error)),
                    _ => None,
                })
                .unwrap_or(SweepError::NoRuns { path }));
        }
        for key in axes.keys() {
            if !runs.iter().any(|run| run.config.contains_key(key)) {
                let mut known: Vec<&str> = runs
                    .iter()
                    .flat_map(|run| run.config.keys().map(String::as_str))
                    .collect();
                known.sort_unstable();
                known.dedup();
                return Err(SweepError::NoKey {
                    key: key.to_owned(),
                    known: known.join(", "),
                });
            }
        }
        let sweep = Self { axes, runs };
        let (rows, columns) = (sweep.rows().len(), sweep.columns().len());
        if rows * columns > MAX_CELLS {
            return Err(SweepError::TooManyCells {
                row: sweep.axes.row,
                rows,
                columns,
            });
        }
        Ok(sweep)
    }

    /// The runs.
    pub fn runs(&self) -> &[SweepRun] {
        &self.runs
    }

    /// Runs with a known configuration.
    fn known(&self) -> impl Iterator<Item = &SweepRun> {
        self.runs.iter().filter(|run| !run.config.is_empty())
    }

    /// Values of the row setting, ascending.
    fn rows(&self) -> Vec<AxisValue> {
        sorted(self.known().map(|run| run.axis_value(&self.axes.row)))
    }

    /// Variants, ascending.
    fn columns(&self) -> Vec<Vec<AxisValue>> {
        sorted(self.known().map(|run| run.column(&self.axes)))
    }
}

impl Axes {
    fn keys(&self) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter().map(String::as_str);
        [self.row.as_str(), self.seed.as_str()]
            .into_iter()
            .chain(columns)
    }
}

impl SweepRun {
    /// The value of a setting.
    fn axis_value(&self, key: &str) -> AxisValue {
        self.config.get(key).map_or(AxisValue::None, AxisValue::of)
    }

    fn column(&self, axes: &Axes) -> Vec<AxisValue> {
        axes.columns
            .iter()
            .map(|key| self.axis_value(key))
            .collect()
    }
}

impl RunState {
    fn of(folder: &Path) -> Self {
        match Run::read(folder) {
            Ok(run) if run.end.is_some() => Self::Finished(run),
            Ok(run) => Self::Unfinished(run),
            Err(RunError::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Self::Missing
            }
            // A process that is about to train it has locked the log, and is loading the images.
            Err(RunError::Empty { .. }) => Self::Missing,
            Err(error) => Self::Unreadable(error),
        }
    }

    /// The run, if it has started and can be read.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Finished(run) | Self::Unfinished(run) => Some(run),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }
}

/// Sorted, without duplicates.
fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort();
    values.dedup();
    values
}
