//! Plots of a sweep.

use topk_report::COLORS;
use topk_report::chart::{file, text};
use topk_report::text::percent;
use unicode_width::UnicodeWidthStr;

use super::tables::cell_text;
use super::{AxisValue, RunState, Summary};
use crate::page::Top;
use crate::plot::{Axis, Line, Plot, SMALL, Style, WIDE, sample};
use crate::run::Run;

/// Maximum number of row values with learning curves.
const MAX_CURVES: usize = 24;
/// Maximum number of labels on the axis.
const MAX_LABELS: usize = 12;

impl Summary<'_> {
    /// The accuracy plots as an SVG file, light or dark like the reader's browser. Viewers must support CSS variables,
    /// as all browsers do.
    pub fn to_svg(&self) -> String {
        let plots: Vec<Plot> = self.tops().iter().map(|top| self.accuracy(top)).collect();
        let title = format!("Accuracy by {}", self.sweep.axes.row);
        drawing(&title, &self.lines(&self.tops()[0]), &plots, 2)
    }

    /// The learning curves as an SVG file, as [`to_svg`](Self::to_svg): validation accuracy, and dashed the training
    /// accuracy during each epoch. `None` before the first epoch has finished.
    pub fn curves_to_svg(&self) -> Option<String> {
        let tops = self.tops();
        let top = tops.first()?;
        let plots = self.learning_curves(top);
        let title = format!(
            "{} accuracy after each epoch, by {}",
            top.title(),
            self.sweep.axes.row
        );
        (!plots.is_empty()).then(|| drawing(&title, &plots[0].lines, &plots, 3))
    }

    /// One kind of accuracy against the row setting.
    pub(super) fn accuracy(&self, top: &Top) -> Plot {
        let lines = self.lines(top);
        let extents = lines.iter().flat_map(|line| {
            let errors = line.errors.iter().copied().chain(std::iter::repeat(None));
            line.points.iter().zip(errors).flat_map(|(point, error)| {
                let error = error.unwrap_or(0.0);
                [point.1 - error, point.1 + error]
            })
        });
        let y = Axis::percent(extents);
        let names = self.column_names();
        let texts = self.cells.iter().map(|cells| {
            let cells = cells.iter().zip(&names);
            let cells = cells.map(|(cell, name)| format!("{name} {} %", cell_text(cell, top)));
            cells.collect::<Vec<_>>()
        });
        let texts: Vec<Vec<String>> = texts.collect();
        let labels = texts.iter().enumerate();
        let labels =
            labels.map(|(row, texts)| format!("{}: {}", self.row_name(row), texts.join(", ")));
        let labels: Vec<String> = labels.collect();
        let title = format!("{} test accuracy", top.title());
        let description = labels.join("; ");
        let (title, x_label, x, hits) = match self.has_one_row() {
            true => (
                format!("{title}, {}", self.row_name(0)),
                String::new(),
                Axis::unlabelled(names.len()),
                (0..).map(f64::from).zip(texts[0].clone()).collect(),
            ),
            false => (
                title,
                self.sweep.axes.row.clone(),
                self.row_axis(),
                (0..labels.len())
                    .map(|row| self.row_x(row))
                    .zip(labels)
                    .collect(),
            ),
        };
        Plot {
            id: format!("by-row-{}", top.name),
            title,
            description,
            size: WIDE,
            x_label,
            x,
            y,
            hits,
            lines,
            marks: Vec::new(),
        }
    }

    /// Whether there are only variants to compare, which are side by side then.
    fn has_one_row(&self) -> bool {
        self.rows.len() == 1
    }

    /// One line per variant, and one for its reference accuracies.
    pub(super) fn lines(&self, top: &Top) -> Vec<Line> {
        let (names, rows) = (self.column_names(), 0..self.rows.len());
        let line = |column: usize| {
            let spread = |row: usize| self.cells[row][column].spread(top);
            let mean = |row| spread(row).map_or(f64::NAN, |spread| spread.mean);
            Line {
                errors: rows.clone().map(|row| spread(row)?.std).collect(),
                ..Line::new(
                    &names[column],
                    column,
                    rows.clone()
                        .map(|row| (self.x(row, column), mean(row)))
                        .collect(),
                )
            }
        };
        let mut lines: Vec<Line> = (0..names.len()).map(line).collect();
        for (column, name) in names.iter().enumerate() {
            let points = rows
                .clone()
                .filter_map(|row| Some((self.x(row, column), self.published(row, column, top)?)));
            let points: Vec<(f64, f64)> = points.collect();
            if let Some(reference) = self.reference.filter(|_| !points.is_empty()) {
                lines.push(Line {
                    style: Style::Dashed,
                    ..Line::new(&format!("{}: {name}", reference.name), column, points)
                });
            }
        }
        lines
    }

    /// Position of a value on the x axis.
    fn x(&self, row: usize, column: usize) -> f64 {
        match self.has_one_row() {
            true => column as f64,
            false => self.row_x(row),
        }
    }

    /// Position of a row on the x axis: its value if all are numbers, otherwise its index.
    fn row_x(&self, row: usize) -> f64 {
        let are_numbers = self
            .rows
            .iter()
            .all(|row| matches!(row, AxisValue::Number(_)));
        match &self.rows[row] {
            AxisValue::Number(value) if are_numbers => *value,
            _ => row as f64,
        }
    }

    fn row_axis(&self) -> Axis {
        let rows = self.rows.len();
        let ticks = (0..rows).map(|row| (self.row_x(row), self.rows[row].text()));
        let mut axis = Axis::exactly(ticks.collect());
        let step = rows.div_ceil(MAX_LABELS);
        let mut at = 0;
        axis.ticks.retain(|_| {
            at += 1;
            (at - 1) % step == 0
        });
        axis
    }

    /// Learning curves for each of the first row values, all with the same axes.
    pub(super) fn learning_curves(&self, top: &Top) -> Vec<Plot> {
        let names = self.column_names();
        let lines: Vec<Vec<Line>> = self
            .cells
            .iter()
            .take(MAX_CURVES)
            .map(|cells| {
                let mut lines = Vec::new();
                for (column, cell) in cells.iter().enumerate() {
                    let runs = self.averaged_runs(&cell.runs);
                    let mean = |part: &dyn Fn(&Run, usize) -> Option<f64>| {
                        let epochs = runs.iter().map(|run| run.epochs.len()).min().unwrap_or(0);
                        // Epochs without validation have no point.
                        let points = (0..epochs).filter_map(|at| {
                            let parts: Option<Vec<f64>> =
                                runs.iter().map(|run| part(run, at)).collect();
                            let parts = parts?;
                            Some((
                                (at + 1) as f64,
                                parts.iter().sum::<f64>() / parts.len() as f64,
                            ))
                        });
                        points.collect::<Vec<_>>()
                    };
                    let val = mean(&|run, at| top.part(&run.epochs[at].val));
                    let train = mean(&|run, at| top.part(&run.epochs[at].train));
                    let name = format!("{}, validation", names[column]);
                    lines.push(Line::new(&name, column, val));
                    lines.push(Line {
                        style: Style::Dashed,
                        ..Line::new(&format!("{}, training", names[column]), column, train)
                    });
                }
                lines
            })
            .collect();
        let points = || lines.iter().flatten().flat_map(|line| &line.points);
        let y = Axis::percent(points().map(|point| point.1));
        let last = |lines: &[Line]| {
            let points = lines.iter().flat_map(|line| &line.points);
            points.fold(0.0, |last, point| f64::max(last, point.0)) as usize
        };
        let epochs = lines.iter().map(|lines| last(lines)).max().unwrap_or(0);
        if epochs == 0 {
            return Vec::new();
        }
        let plots = lines.into_iter().enumerate().map(|(row, lines)| {
            let label = |at: usize| {
                let values = lines.iter().filter_map(|line| {
                    let epoch = (at + 1) as f64;
                    let value = line.points.iter().find(|point| point.0 == epoch)?.1;
                    value
                        .is_finite()
                        .then(|| format!("{} {} %", line.name, percent(value)))
                });
                values.collect::<Vec<_>>().join(", ")
            };
            let own = last(&lines);
            let hits =
                (0..own).map(|at| ((at + 1) as f64, format!("epoch {}: {}", at + 1, label(at))));
            Plot {
                id: format!("learning-{row}"),
                title: self.row_name(row),
                description: format!("after epoch {own} {}", label(own.saturating_sub(1))),
                size: SMALL,
                x_label: "epoch".to_owned(),
                x: Axis::count(1, epochs),
                y: y.clone(),
                hits: hits.collect(),
                lines,
                marks: Vec::new(),
            }
        });
        plots.collect()
    }

    /// The runs whose curves are averaged: the finished ones, or if there are none, the started ones.
    fn averaged_runs(&self, runs: &[usize]) -> Vec<&Run> {
        let runs = || runs.iter().map(|&run| &self.sweep.runs[run].state);
        let finished: Vec<&Run> = runs()
            .filter(|state| matches!(state, RunState::Finished(_)))
            .filter_map(RunState::run)
            .collect();
        if !finished.is_empty() {
            return finished;
        }
        runs()
            .filter_map(RunState::run)
            .filter(|run| !run.epochs.is_empty())
            .collect()
    }
}

/// An SVG file with plots of the same size in rows, below a common legend.
fn drawing(title: &str, lines: &[Line], plots: &[Plot], in_a_row: usize) -> String {
    let (plot_width, plot_height) = plots[0].size;
    let needed = |line: &Line| 26.0 + 8.0 + 6.6 * line.name.width() as f64 + 24.0;
    let longest = lines.iter().map(needed).fold(0.0, f64::max);
    let width = (plot_width * plots.len().min(in_a_row) as f64).max(18.0 + longest);
    let (mut body, mut left, mut top) = (String::new(), 18.0, 26.0);
    for line in lines {
        let needed = needed(line);
        if left > 18.0 && left + needed > width {
            (left, top) = (18.0, top + 20.0);
        }
        body += &format!(
            r#"<g class="s{}" transform="translate(0 {top})">"#,
            line.number % COLORS
        );
        body += &sample(line, left);
        text(&mut body, "start", (left + 34.0, 4.0), &line.name);
        body += "</g>";
        left += needed;
    }
    top += 20.0;
    for plots in plots.chunks(in_a_row) {
        for (at, plot) in plots.iter().enumerate() {
            let left = plot_width * at as f64;
            body += r#"<g class="title">"#;
            text(&mut body, "start", (left + 18.0, top + 10.0), &plot.title);
            body += "</g>";
            body += &format!(
                r#"<g transform="translate({left} {})">{}</g>"#,
                top + 18.0,
                plot.contents()
            );
        }
        top += 18.0 + plot_height;
    }
    let descriptions: Vec<&str> = plots.iter().map(|plot| plot.description.as_str()).collect();
    file((width, top), title, &descriptions.join("; "), &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_is_as_wide_as_its_longest_name() {
        let plot = Plot {
            id: "plot".to_owned(),
            title: "title".to_owned(),
            description: String::new(),
            size: SMALL,
            x_label: String::new(),
            x: Axis::unlabelled(1),
            y: Axis::percent([0.5].into_iter()),
            hits: Vec::new(),
            lines: Vec::new(),
            marks: Vec::new(),
        };
        let width = |name: &str| -> f64 {
            let line = Line::new(name, 0, vec![(0.0, 0.5)]);
            let svg = drawing("title", &[line], std::slice::from_ref(&plot), 3);
            let (_, rest) = svg.split_once("viewBox=\"0 0 ").unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        assert_eq!(width("ce"), SMALL.0);
        assert!(width(&"x".repeat(80)) > 6.0 * 80.0);
    }
}
