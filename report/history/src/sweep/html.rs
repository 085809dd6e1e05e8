//! The page of a sweep.

use topk_report::cells::{header, number, sortable};
use topk_report::text::{capitalized, grouped, or_dash, percent};
use topk_report::{Escaped, page};

use super::axis_value::variant;
use super::summary::test;
use super::tables::Table;
use super::{AxisValue, Summary};
use crate::plot::legend;

/// Number of notes shown before the rest is folded away.
const MAX_NOTES: usize = 6;

impl Summary<'_> {
    /// The sweep as one self-contained HTML file: tables, plots, learning curves and all runs.
    pub fn to_html(&self) -> String {
        let axes = &self.sweep.axes;
        let title = format!("{} by {}", axes.columns.join(", "), axes.row);
        let mut title = match self.tops().first() {
            Some(top) => format!("{} accuracy: {title}", top.title()),
            None => title,
        };
        if axes.columns.is_empty() {
            title = format!("Accuracy by {}", axes.row);
        }
        let mut body = format!(
            "<header><h1>{}</h1>{}</header>",
            Escaped(&title),
            self.about()
        );
        body += &self.accuracies();
        body += &self.curves();
        body += &self.all_runs();
        page(&title, &body)
    }

    fn about(&self) -> String {
        let finished: usize = self.cells.iter().flatten().map(|cell| cell.finished).sum();
        let runs = self.sweep.runs.len();
        let s = if runs == 1 { "" } else { "s" };
        let mut html = format!(
            "<p>{} run{s}, {} finished. {}</p>",
            grouped(runs),
            grouped(finished),
            Escaped(&self.legend())
        );
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|note| match note.contains(" is not counted") {
                // Names of runs stay as they are.
                true => format!("{}.", Escaped(note)),
                false => format!("{}.", Escaped(&capitalized(note))),
            })
            .collect();
        let (shown, folded) = notes.split_at(notes.len().min(MAX_NOTES));
        if !shown.is_empty() {
            html += &format!("<p class=\"warn\">{}</p>", shown.join("<br>"));
        }
        if !folded.is_empty() {
            html += &format!(
                "<details><summary>{} more notes</summary><div>{}</div></details>",
                grouped(folded.len()),
                folded.join("<br>")
            );
        }
        html
    }

    fn accuracies(&self) -> String {
        let mut html = String::from("<section><h2>Accuracy</h2><div class=\"charts two\">");
        for top in self.tops() {
            let plot = self.accuracy(&top);
            html += &format!(
                "<figure class=\"panel\"><h3>{}</h3>{}{}</figure>",
                Escaped(&plot.title),
                legend(&plot.lines),
                plot.to_svg()
            );
        }
        html += "</div>";
        for table in self.tables() {
            html += &rendered(&table);
        }
        html + "</section>"
    }

    fn curves(&self) -> String {
        let tops = self.tops();
        let Some(top) = tops.first() else {
            return String::new();
        };
        let plots = self.learning_curves(top);
        if plots.is_empty() {
            return String::new();
        }
        let left_out = match self.rows.len() - plots.len() {
            0 => String::new(),
            _ => format!(" Only the first {} values are shown.", plots.len()),
        };
        let mut html = format!(
            "<section><h2>Learning curves</h2><p>{} accuracy after each epoch, mean over {}. Training accuracy is \
             measured during the epoch, on augmented images with noisy labels.{}</p>",
            top.title(),
            Escaped(&self.sweep.axes.seed),
            left_out,
        );
        html += &legend(&plots[0].lines);
        html += "<div class=\"charts\">";
        for plot in &plots {
            html += &format!(
                "<figure class=\"panel\"><h3>{}</h3>{}</figure>",
                Escaped(&plot.title),
                plot.to_svg()
            );
        }
        html + "</div></section>"
    }

    fn all_runs(&self) -> String {
        let (axes, tops) = (&self.sweep.axes, self.tops());
        let mut html = String::from(
            "<section><h2>Runs</h2><div class=\"tall whole\"><table class=\"runs\"><thead><tr>",
        );
        html += &sortable("run", false);
        html += &sortable(&axes.row, true);
        html += &sortable("variant", false);
        html += &sortable(&axes.seed, true);
        for top in &tops {
            html += &sortable(&format!("test {} %", top.name), true);
        }
        html += &sortable("state", false);
        html += "</tr></thead><tbody>";
        for run in &self.sweep.runs {
            html += &format!(
                "<tr><th scope=\"row\" class=\"path\">{}</th>{}<td>{}</td>{}",
                Escaped(&run.name),
                value_cell(&run.axis_value(&axes.row)),
                Escaped(&variant(&axes.columns, &run.column(axes))),
                value_cell(&run.axis_value(&axes.seed)),
            );
            for top in &tops {
                let value = run.state.run().and_then(|run| test(run, top));
                html += &format!(
                    "<td class=\"n\" data-value=\"{}\">{}</td>",
                    value.unwrap_or(-1.0),
                    or_dash(value, percent)
                );
            }
            html += &format!("<td>{}</td></tr>", Escaped(&run.progress()));
        }
        html + "</tbody></table></div></section>"
    }
}

/// A cell with the value of a setting, which sorts numbers by value.
fn value_cell(value: &AxisValue) -> String {
    match value {
        AxisValue::Number(number) => {
            format!(
                "<td class=\"n\" data-value=\"{number}\">{}</td>",
                Escaped(&value.text())
            )
        }
        value => number(&value.text()),
    }
}

/// A table as HTML.
fn rendered(table: &Table) -> String {
    let mut html = format!(
        "<h3>{}</h3><div class=\"scroll panel\"><table class=\"summary\"><thead><tr>",
        Escaped(&table.title)
    );
    for (at, title) in table.header.iter().enumerate() {
        html += &header(title, at > 0);
    }
    html += "</tr></thead><tbody>";
    for row in &table.rows {
        html += "<tr>";
        for (at, cell) in row.iter().enumerate() {
            let text = Escaped(&cell.text);
            html += &match (at, cell.is_best) {
                (0, _) => format!("<th scope=\"row\">{text}</th>"),
                (_, true) => format!("<td class=\"n best\">{text}</td>"),
                (_, false) => format!("<td class=\"n\">{text}</td>"),
            };
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>"
}
