//! Summaries as tables: for terminals, Markdown, CSV and JSON.

use serde_json::{Value, json};
use topk_report::text::{one_line, or_dash, percent, wrap};
use unicode_width::UnicodeWidthStr;

use super::summary::test;
use super::{AxisValue, Cell, Spread, Summary};
use crate::page::Top;

/// One kind of accuracy: one row per value of the row setting, one column per variant.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<TableCell>>,
}

/// A text, and whether it is the best value of its row.
pub(super) struct TableCell {
    pub(super) text: String,
    pub(super) is_best: bool,
}

impl Table {
    /// Width of a column on a terminal.
    fn width(&self, column: usize) -> usize {
        let header = one_line(&self.header[column]).width();
        let cells = self.rows.iter().map(|row| row[column].text.width());
        cells.chain([header]).max().unwrap_or(0)
    }

    /// Indices of the columns of blocks that fit a width, each with the first column and at least one other.
    fn blocks(&self, width: usize) -> Vec<Vec<usize>> {
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        let mut used = usize::MAX;
        for column in 1..self.header.len() {
            let needed = 2 + self.width(column);
            match blocks.last_mut() {
                Some(block) if used.saturating_add(needed) <= width => block.push(column),
                _ => {
                    blocks.push(vec![0, column]);
                    used = self.width(0);
                }
            }
            used += needed;
        }
        blocks
    }
}

impl TableCell {
    fn plain(text: String) -> Self {
        Self {
            text,
            is_best: false,
        }
    }
}

/// `71.95 ± 0.30`; followed by `(2 of 3)` if not all runs are finished.
pub(super) fn cell_text(cell: &Cell, top: &Top) -> String {
    let mut text = or_dash(cell.spread(top).map(|spread| spread.mean), percent);
    if let Some(std) = cell.spread(top).and_then(|spread| spread.std) {
        text += &format!(" ± {}", percent(std));
    }
    let counted = cell.spread(top).map_or(0, |spread| spread.runs);
    if counted < cell.expected || cell.expected == 0 {
        text += &format!(" ({counted} of {})", cell.expected);
    }
    text
}

impl Summary<'_> {
    /// One table per kind of accuracy.
    pub(super) fn tables(&self) -> Vec<Table> {
        self.tops().iter().map(|top| self.table_of(top)).collect()
    }

    fn table_of(&self, top: &Top) -> Table {
        let columns = 0..self.columns.len();
        let mut header = vec![self.sweep.axes.row.clone()];
        header.extend(self.column_names());
        let published: Vec<usize> = columns
            .filter(|&column| {
                (0..self.rows.len()).any(|row| self.published(row, column, top).is_some())
            })
            .collect();
        if let Some(reference) = self.reference {
            let names = self.column_names();
            header.extend(
                published
                    .iter()
                    .map(|&column| format!("{}: {}", reference.name, names[column])),
            );
        }
        let rows = self.cells.iter().enumerate().map(|(row, cells)| {
            let mean = |cell: &Cell| cell.spread(top).map(|spread| spread.mean);
            let means = || cells.iter().filter_map(mean);
            let best = means().reduce(f64::max).filter(|_| means().count() > 1);
            let mut line = vec![TableCell::plain(self.rows[row].text())];
            line.extend(cells.iter().map(|cell| TableCell {
                text: cell_text(cell, top),
                is_best: best.is_some() && mean(cell) == best,
            }));
            let published = published
                .iter()
                .map(|&column| self.published(row, column, top));
            line.extend(published.map(|part| TableCell::plain(or_dash(part, percent))));
            line
        });
        Table {
            title: format!("{} test accuracy, %", top.title()),
            rows: rows.collect(),
            header,
        }
    }

    /// Explanation of the numbers.
    pub(super) fn legend(&self) -> String {
        let axes = &self.sweep.axes;
        let mut legend = format!(
            "Mean ± standard deviation over {}, at the epoch with the best validation accuracy of the same kind.",
            axes.seed
        );
        if self
            .cells
            .iter()
            .flatten()
            .any(|cell| cell.finished < cell.expected)
        {
            legend += " (2 of 3): number of finished runs, if not all are finished.";
        }
        legend
    }

    /// The tables and notes for a terminal of this many columns. A table that is wider is broken into several, each
    /// with the column of the row setting.
    pub fn table(&self, width: usize) -> String {
        let mut text = String::new();
        for table in self.tables() {
            text += &format!("{}\n\n", table.title);
            for columns in table.blocks(width) {
                let mut line = |cell: &dyn Fn(usize) -> String| {
                    let cells = columns.iter().map(|&column| {
                        let cell = one_line(&cell(column));
                        let missing = table.width(column).saturating_sub(cell.width());
                        format!("{cell}{}", " ".repeat(missing))
                    });
                    let cells: Vec<String> = cells.collect();
                    text += cells.join("  ").trim_end();
                    text.push('\n');
                };
                line(&|column| table.header[column].clone());
                for row in &table.rows {
                    line(&|column| row[column].text.clone());
                }
                text.push('\n');
            }
        }
        text += &format!("{}\n", wrap(&self.legend(), width, 0));
        for note in &self.notes {
            text += &format!("{}\n", wrap(&one_line(&format!("- {note}")), width, 2));
        }
        text
    }

    /// The tables and notes as Markdown, with the best value of each row in bold.
    pub fn to_markdown(&self) -> String {
        let escaped = |text: &str| one_line(text).replace('|', "\\|").replace('<', "&lt;");
        let mut text = String::new();
        for table in self.tables() {
            text += &format!("{}:\n\n", table.title);
            let header = table.header.iter().map(|title| escaped(title));
            text += &format!("| {} |\n", header.collect::<Vec<_>>().join(" | "));
            text += &format!("| --- |{}\n", " ---: |".repeat(table.header.len() - 1));
            for row in &table.rows {
                let cells = row.iter().map(|cell| match cell.is_best {
                    true => format!("**{}**", escaped(&cell.text)),
                    false => escaped(&cell.text),
                });
                text += &format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
            }
            text.push('\n');
        }
        text += &format!("{}\n", escaped(&self.legend()));
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            text += &format!("- {}\n", escaped(note));
        }
        text
    }

    /// CSV (RFC 4180) with a header and one row per cell. Accuracies are from 0 to 1; unknown fields are empty.
    pub fn to_csv(&self) -> String {
        let axes = &self.sweep.axes;
        let mut header = vec![axes.row.clone()];
        header.extend(axes.columns.clone());
        let rest = [
            "expected",
            "finished",
            "top1_mean",
            "top1_std",
            "top1_runs",
            "topk_mean",
            "topk_std",
            "topk_runs",
            "top1_published",
            "topk_published",
        ];
        header.extend(rest.map(str::to_owned));
        let mut writer = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .from_writer(Vec::new());
        let mut write = |row: Vec<String>| {
            writer
                .write_record(row)
                .expect("writing to memory cannot fail")
        };
        write(header);
        let text = |value: &AxisValue| match value {
            AxisValue::None => String::new(),
            value => value.text(),
        };
        for (row, cells) in self.cells.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                let mut fields = vec![text(&self.rows[row])];
                fields.extend(self.columns[column].iter().map(text));
                fields.extend([cell.expected, cell.finished].map(|count| count.to_string()));
                for spread in [cell.top1, cell.topk] {
                    fields.extend(spread_fields(spread));
                }
                let published = crate::page::tops(None);
                let published = published.iter().map(|top| self.published(row, column, top));
                fields.extend(published.map(field));
                write(fields);
            }
        }
        let bytes = writer.into_inner().expect("writing to memory cannot fail");
        String::from_utf8(bytes).expect("fields are UTF-8")
    }

    /// Everything as JSON.
    pub fn to_json(&self) -> String {
        let axes = &self.sweep.axes;
        let published = |row, column, top: &Top| self.published(row, column, top);
        let tops = crate::page::tops(None);
        let mut cells = Vec::new();
        for (row, line) in self.cells.iter().enumerate() {
            for (column, cell) in line.iter().enumerate() {
                let mut entry = json!(cell);
                entry["row"] = json!(self.rows[row]);
                entry["column"] = json!(self.columns[column]);
                entry["published"] = json!({
                    "top1": published(row, column, &tops[0]),
                    "topk": published(row, column, &tops[1]),
                });
                cells.push(entry);
            }
        }
        let runs = self.sweep.runs.iter().map(|run| {
            let value = |top: &Top| run.state.run().and_then(|read| test(read, top));
            json!({
                "name": run.name,
                "row": run.axis_value(&axes.row),
                "column": run.column(axes),
                "seed": run.axis_value(&axes.seed),
                "state": run.progress(),
                "epochs": run.state.run().map(|run| run.epochs.len()),
                "top1": value(&tops[0]),
                "topk": value(&tops[1]),
            })
        });
        let summary = json!({
            "row": axes.row,
            "columns": axes.columns,
            "seed": axes.seed,
            "k": self.k,
            "published": self.reference.map(|reference| &reference.name),
            "cells": cells,
            "runs": runs.collect::<Vec<Value>>(),
            "notes": self.notes,
        });
        let mut json = serde_json::to_string_pretty(&summary).expect("the summary is serialisable");
        json.push('\n');
        json
    }
}

fn field(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn spread_fields(spread: Option<Spread>) -> [String; 3] {
    [
        field(spread.map(|spread| spread.mean)),
        field(spread.and_then(|spread| spread.std)),
        spread.map_or(0, |spread| spread.runs).to_string(),
    ]
}
