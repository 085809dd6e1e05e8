//! Summaries as tables: for the terminal, for documents, and for programs.

use serde_json::{Value, json};
use topk_report::text::{one_line, or_dash, percent};
use unicode_width::UnicodeWidthStr;

use super::summary::test;
use super::{Cell, Level, Spread, Summary};
use crate::page::Top;

/// One kind of accuracy: a row for each value of the row setting, a column for each variant.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<TableCell>>,
}

/// A text, and whether it is the best of its row.
pub(super) struct TableCell {
    pub(super) text: String,
    pub(super) is_best: bool,
}

impl TableCell {
    fn plain(text: String) -> Self {
        Self {
            text,
            is_best: false,
        }
    }
}

/// `71.95 ± 0.30`, and how many of the runs that are of if not of all.
pub(super) fn cell_text(cell: &Cell, top: &Top) -> String {
    let mut text = or_dash(cell.spread(top).map(|spread| spread.mean), percent);
    if let Some(deviation) = cell.spread(top).and_then(|spread| spread.deviation) {
        text += &format!(" ± {}", percent(deviation));
    }
    let counted = cell.spread(top).map_or(0, |spread| spread.runs);
    if counted < cell.expected || cell.expected == 0 {
        text += &format!(" ({counted} of {})", cell.expected);
    }
    text
}

impl Summary<'_> {
    /// A table for each kind of accuracy.
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
            title: format!("{} on the test images, %", top.title()),
            rows: rows.collect(),
            header,
        }
    }

    /// What the numbers are.
    pub(super) fn legend(&self) -> String {
        let axes = &self.sweep.axes;
        let mut legend = format!(
            "Of the epoch with the best validation accuracy of the same kind; mean ± standard deviation over {}.",
            axes.seed
        );
        if self
            .cells
            .iter()
            .flatten()
            .any(|cell| cell.finished < cell.expected)
        {
            legend += " (2 of 3): of so many of the runs, the others have not finished.";
        }
        legend
    }

    /// The tables for a terminal, and the notes.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for table in self.tables() {
            let widths: Vec<usize> = (0..table.header.len())
                .map(|column| {
                    let cells = table.rows.iter().map(|row| row[column].text.width());
                    cells
                        .chain([one_line(&table.header[column]).width()])
                        .max()
                        .unwrap_or(0)
                })
                .collect();
            text += &format!("{}\n\n", table.title);
            let mut line = |cells: &mut dyn Iterator<Item = &str>| {
                let cells = cells.zip(&widths).map(|(cell, width)| {
                    let cell = one_line(cell);
                    let missing = width.saturating_sub(cell.width());
                    format!("{cell}{}", " ".repeat(missing))
                });
                let cells: Vec<String> = cells.collect();
                text += cells.join("  ").trim_end();
                text.push('\n');
            };
            line(&mut table.header.iter().map(String::as_str));
            for row in &table.rows {
                line(&mut row.iter().map(|cell| cell.text.as_str()));
            }
            text.push('\n');
        }
        text += &format!("{}\n", self.legend());
        for note in &self.notes {
            text += &format!("{}\n", one_line(note));
        }
        text
    }

    /// The same for Markdown, with the best of each row in bold.
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

    /// A row a cell, as CSV (RFC 4180) with a header. Accuracies are from 0 to 1; empty fields are not known.
    pub fn to_csv(&self) -> String {
        let axes = &self.sweep.axes;
        let mut header = vec![axes.row.clone()];
        header.extend(axes.columns.clone());
        let rest = [
            "expected",
            "finished",
            "top1_mean",
            "top1_deviation",
            "top1_runs",
            "topk_mean",
            "topk_deviation",
            "topk_runs",
            "top1_published",
            "topk_published",
        ];
        header.extend(rest.map(str::to_owned));
        let mut writer = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .from_writer(Vec::new());
        let mut write =
            |row: Vec<String>| writer.write_record(row).expect("it is written to memory");
        write(header);
        let level = |level: &Level| match level {
            Level::None => String::new(),
            level => level.text(),
        };
        for (row, cells) in self.cells.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                let mut fields = vec![level(&self.rows[row])];
                fields.extend(self.columns[column].iter().map(level));
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
        let bytes = writer.into_inner().expect("it is written to memory");
        String::from_utf8(bytes).expect("fields are texts")
    }

    /// Everything, as JSON.
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
                "row": run.level(&axes.row),
                "column": run.column(axes),
                "seed": run.level(&axes.seed),
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
        let mut json = serde_json::to_string_pretty(&summary).expect("it is plain data");
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
        field(spread.and_then(|spread| spread.deviation)),
        spread.map_or(0, |spread| spread.runs).to_string(),
    ]
}
