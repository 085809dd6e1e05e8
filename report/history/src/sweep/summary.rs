//! Means and standard deviations over the seeds of a sweep.

use serde::Serialize;
use topk_report::text::grouped;

use super::axis_value::variant;
use super::{Axes, AxisValue, Reference, RunState, Sweep, SweepRun, sorted};
use crate::page::{Top, plain, progress, tops};
use crate::record::BEST1;
use crate::run::Run;

/// Settings that say where a run is computed, not what.
const MACHINE_SETTINGS: [&str; 2] = ["device", "workers"];

/// A sweep as a table with one cell per value of the row setting and variant.
///
/// Accuracies are on the test images: top-k of the checkpoint with the best validation top-k, top-1 of the one with the
/// best validation top-1. Only finished runs count; the notes name the others.
#[derive(Debug)]
pub struct Summary<'a> {
    pub(super) sweep: &'a Sweep,
    pub(super) reference: Option<&'a Reference>,
    /// The k of top-k; `None` if it is unknown or differs between runs.
    pub k: Option<usize>,
    /// Values of the row setting, in ascending order.
    pub rows: Vec<AxisValue>,
    /// Variants, in ascending order.
    pub columns: Vec<Vec<AxisValue>>,
    /// Seeds, in ascending order.
    pub seeds: Vec<AxisValue>,
    /// One cell per column for each row.
    pub cells: Vec<Vec<Cell>>,
    /// Caveats, one sentence each.
    pub notes: Vec<String>,
}

/// The runs that differ only in the seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Indices of the runs in [`Sweep::runs`].
    #[serde(skip)]
    pub runs: Vec<usize>,
    /// Seeds without a run.
    pub missing: Vec<AxisValue>,
    /// Number of runs, including missing ones.
    pub expected: usize,
    /// Number of finished runs.
    pub finished: usize,
    /// Top-1 accuracy, from 0 to 1.
    pub top1: Option<Spread>,
    /// Top-k accuracy, from 0 to 1.
    pub topk: Option<Spread>,
}

/// Mean and standard deviation of an accuracy over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Number of runs.
    pub runs: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (with n − 1 in the denominator); `None` for a single run.
    pub std: Option<f64>,
}

impl Spread {
    /// The spread of at least one value; `None` if there are none.
    fn of(values: &[f64]) -> Option<Self> {
        let runs = values.len();
        if runs == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / runs as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            runs,
            mean,
            std: (runs > 1).then(|| (squares / (runs - 1) as f64).sqrt()),
        })
    }
}

impl Cell {
    pub(crate) fn spread(&self, top: &Top) -> Option<Spread> {
        if top.checkpoint == BEST1 {
            self.top1
        } else {
            self.topk
        }
    }
}

impl<'a> Summary<'a> {
    /// Summarises a sweep, with reference accuracies beside the results if given.
    pub fn new(sweep: &'a Sweep, reference: Option<&'a Reference>) -> Self {
        let axes = &sweep.axes;
        let (rows, columns) = (sweep.rows(), sweep.columns());
        let seeds = sorted(sweep.known().map(|run| run.axis_value(&axes.seed)));
        // A run that has not started may have no k yet: its default follows the data.
        let ks = sweep.known().map(|run| run.axis_value("topk"));
        let ks = sorted(ks.filter(|k| *k != AxisValue::None));
        let k = match &ks[..] {
            [AxisValue::Number(k)] if *k >= 1.0 => Some(*k as usize),
            _ => None,
        };
        let mut indices = vec![vec![Vec::new(); columns.len()]; rows.len()];
        for (at, run) in sweep.runs.iter().enumerate() {
            let position = (
                rows.binary_search(&run.axis_value(&axes.row)),
                columns.binary_search(&run.column(axes)),
            );
            if let (false, (Ok(row), Ok(column))) = (run.config.is_empty(), position) {
                indices[row][column].push(at);
            }
        }
        let cells = indices.into_iter().map(|indices| {
            let cells = indices.into_iter().map(|runs| cell(sweep, &seeds, runs));
            cells.collect()
        });
        let mut summary = Self {
            cells: cells.collect(),
            sweep,
            reference,
            k,
            rows,
            columns,
            seeds,
            notes: Vec::new(),
        };
        summary.notes = summary.caveats();
        summary
    }

    /// The kinds of accuracy, top-k first.
    pub(crate) fn tops(&self) -> Vec<Top> {
        let mut tops = tops(self.k);
        tops.reverse();
        tops
    }

    /// The names of the variants: the settings in which they differ.
    pub(crate) fn column_names(&self) -> Vec<String> {
        let keys = &self.sweep.axes.columns;
        let differs = |&at: &usize| match &self.columns[..] {
            [first, others @ ..] if !others.is_empty() => {
                others.iter().any(|column| column[at] != first[at])
            }
            _ => true,
        };
        let shown: Vec<usize> = (0..keys.len()).filter(differs).collect();
        let keys: Vec<String> = shown.iter().map(|&at| keys[at].clone()).collect();
        let names = self.columns.iter().map(|column| {
            let values: Vec<AxisValue> = shown.iter().map(|&at| column[at].clone()).collect();
            variant(&keys, &values)
        });
        names.collect()
    }

    pub(crate) fn row_name(&self, row: usize) -> String {
        format!("{} {}", self.sweep.axes.row, self.rows[row].text())
    }

    /// The reference accuracy for a cell, from 0 to 1.
    pub(crate) fn published(&self, row: usize, column: usize, top: &Top) -> Option<f64> {
        let value = self.reference?.of(&self.rows[row], &self.columns[column])?;
        let percent = if top.checkpoint == BEST1 {
            value.top1
        } else {
            value.topk
        };
        percent.map(|percent| percent / 100.0)
    }

    fn caveats(&self) -> Vec<String> {
        let Axes { seed, columns, .. } = &self.sweep.axes;
        let mut notes = Vec::new();
        for run in &self.sweep.runs {
            let RunState::Finished(finished) = &run.state else {
                notes.push(format!("{} is not counted: {}", run.name, run.progress()));
                continue;
            };
            for top in self.tops() {
                if test(finished, &top).is_none() {
                    notes.push(format!("{} has no {} test accuracy", run.name, top.name));
                }
            }
        }
        for (row, cells) in self.cells.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                let of = format!("{}, {}", self.row_name(row), self.column_names()[column]);
                if !cell.missing.is_empty() {
                    let seeds: Vec<String> = cell.missing.iter().map(AxisValue::text).collect();
                    notes.push(format!("no run for {of}, {seed} {}", seeds.join(", ")));
                }
                let runs = || cell.runs.iter().map(|&run| &self.sweep.runs[run]);
                for value in &self.seeds {
                    let same = runs().filter(|run| run.axis_value(seed) == *value);
                    let same: Vec<&str> = same.map(|run| run.name.as_str()).collect();
                    if same.len() > 1 {
                        let same = same.join(" and ");
                        notes.push(format!(
                            "{same} have the same settings ({of}, {seed} {}); both are counted",
                            value.text()
                        ));
                    }
                }
            }
        }
        for (at, column) in self.columns.iter().enumerate() {
            let axes = &self.sweep.axes;
            let runs = self.sweep.known().filter(|run| run.column(axes) == *column);
            let runs: Vec<&SweepRun> = runs.collect();
            let keys = sorted(runs.iter().flat_map(|run| run.config.keys()));
            for key in keys {
                if MACHINE_SETTINGS.contains(&key.as_str())
                    || [&axes.row, seed].contains(&key)
                    || columns.contains(key)
                {
                    continue;
                }
                let values = sorted(
                    runs.iter()
                        .map(|run| run.config.get(key).map_or_else(|| "–".to_owned(), plain)),
                );
                if values.len() > 1 {
                    let name = &self.column_names()[at];
                    notes.push(format!(
                        "the runs of {name} also differ in {key}: {}",
                        values.join(", ")
                    ));
                }
            }
        }
        if let Some(reference) = self.reference {
            if let Some(note) = &reference.note {
                notes.push(format!(
                    "{}: {}",
                    reference.name,
                    note.trim_end_matches('.')
                ));
            }
            let is_here = |value: &&super::ReferenceValue| {
                let mut rows = self.rows.iter();
                rows.any(|row| self.columns.iter().any(|column| value.is_for(row, column)))
            };
            let (all, here) = (
                reference.values.len(),
                reference.values.iter().filter(is_here).count(),
            );
            if here < all {
                let (missing, all) = (grouped(all - here), grouped(all));
                notes.push(format!(
                    "{missing} of the {all} settings of {} are not in the sweep",
                    reference.name
                ));
            }
        }
        notes
    }
}

/// The cell of the runs with these indices.
fn cell(sweep: &Sweep, seeds: &[AxisValue], runs: Vec<usize>) -> Cell {
    let axes = &sweep.axes;
    let here = || runs.iter().map(|&run| &sweep.runs[run]);
    let finished = || {
        here().filter_map(|run| match &run.state {
            RunState::Finished(run) => Some(run),
            _ => None,
        })
    };
    let has_run = |seed: &&AxisValue| here().any(|run| run.axis_value(&axes.seed) == **seed);
    let missing: Vec<AxisValue> = seeds
        .iter()
        .filter(|seed| !has_run(seed))
        .cloned()
        .collect();
    let spread = |top: &Top| {
        let values: Vec<f64> = finished().filter_map(|run| test(run, top)).collect();
        Spread::of(&values)
    };
    let [top1, topk] = [Some(1), None].map(|k| tops(k).pop().and_then(|top| spread(&top)));
    Cell {
        expected: runs.len() + missing.len(),
        finished: finished().count(),
        missing,
        top1,
        topk,
        runs,
    }
}

/// The test accuracy of the checkpoint with the best validation accuracy of the same kind.
pub(crate) fn test(run: &Run, top: &Top) -> Option<f64> {
    top.part(&run.checkpoint(top.checkpoint)?.test?)
}

impl SweepRun {
    /// Description of the run's state.
    pub(crate) fn progress(&self) -> String {
        match &self.state {
            RunState::Finished(_) => "finished".to_owned(),
            RunState::Unfinished(run) => format!("unfinished, {}", progress(run)),
            RunState::Missing => "not started".to_owned(),
            RunState::Unreadable(error) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_deviation_is_the_sample_one() {
        let spread = Spread::of(&[0.5, 0.7, 0.9]).unwrap();
        assert!((spread.mean - 0.7).abs() < 1e-12);
        assert!((spread.std.unwrap() - 0.2).abs() < 1e-12);
        assert_eq!(Spread::of(&[0.5]).unwrap().std, None);
        assert_eq!(Spread::of(&[]), None);
    }
}
