//! Tables for a terminal of 100 columns.

use topk_report::text::{fit, grouped, images, or_dash, p_value, percent};
use unicode_width::UnicodeWidthStr;

use crate::compare::{Answer, Comparison};
use crate::metrics::Metrics;
use crate::results::{FailurePolicy, Results};

const COLUMNS: usize = 100;
/// Narrower names say nothing.
const MIN_NAME: usize = 18;
const GAP: &str = "  ";

/// A column after the names.
struct Column {
    title: String,
    cells: Vec<String>,
    /// Whether it is left out first where there is no room.
    is_spare: bool,
}

impl Column {
    fn new(title: &str, cells: impl Iterator<Item = String>) -> Self {
        Self {
            title: title.to_owned(),
            cells: cells.collect(),
            is_spare: false,
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.width());
        cells.max().unwrap_or(0).max(self.title.width())
    }
}

impl Results {
    /// The metrics of all models as a table of at most 100 columns, with what they were measured on.
    ///
    /// Where not all k have room, the smallest and the largest are shown.
    pub fn table(&self) -> String {
        let metrics = || self.models.iter().map(|model| &model.metrics);
        let mut columns = Vec::new();
        for (at, &k) in self.settings.topk.iter().enumerate() {
            let cells = metrics().map(|metrics| accuracy(metrics, at));
            columns.push(Column {
                is_spare: at > 0 && at + 1 < self.settings.topk.len(),
                ..Column::new(&format!("top-{k} %"), cells)
            });
        }
        let number = |number: f64| format!("{number:.4}");
        let losses = metrics().map(|metrics| or_dash(metrics.cross_entropy, number));
        columns.push(Column::new("cross-entropy", losses));
        if let Some(loss) = self.settings.loss {
            let losses = metrics().map(|metrics| or_dash(metrics.topk_loss, number));
            columns.push(Column::new(&format!("top-{} loss", loss.k), losses));
        }
        let errors = metrics().map(|metrics| or_dash(metrics.calibration_error, percent));
        columns.push(Column::new("ECE %", errors));
        let speeds = self
            .models
            .iter()
            .map(|model| model.timing.images_per_second);
        columns.push(Column::new("images/s", speeds.map(speed)));

        let width = |columns: &[Column]| -> usize {
            let widths = columns.iter().map(|column| GAP.len() + column.width());
            widths.sum()
        };
        while MIN_NAME + width(&columns) > COLUMNS {
            let Some(spare) = columns.iter().rposition(|column| column.is_spare) else {
                break;
            };
            columns.remove(spare);
        }
        let names = Column::new("model", self.model_names().into_iter());
        let room = COLUMNS.saturating_sub(width(&columns)).max(MIN_NAME);
        let name_width = names.width().min(room);

        let mut table = String::new();
        let mut line = |name: &str, cells: &dyn Fn(&Column) -> String| {
            table += &fit(name, name_width);
            for column in &columns {
                let cell = cells(column);
                let missing = column.width() - cell.width();
                table += &format!("{GAP}{}{cell}", " ".repeat(missing));
            }
            table.push('\n');
        };
        line(&names.title, &|column| column.title.clone());
        for (at, name) in names.cells.iter().enumerate() {
            line(name, &|column| column.cells[at].clone());
        }
        table + &self.notes()
    }

    /// What a reader of the numbers must know.
    fn notes(&self) -> String {
        let mut notes = format!("\n{}", self.extent());
        for note in self.caveats() {
            notes += &format!("\n{note}");
        }
        notes += "\n± is half of the 95 % interval (Wilson); ECE is the calibration error of the best class.\n";
        notes
    }

    /// What was run, in a line.
    pub(crate) fn extent(&self) -> String {
        let mut extent = format!(
            "{} of {}",
            images(self.images.len()),
            fit_path(&self.data.path)
        );
        if let Some(shard) = self.shard {
            extent += &format!(", shard {} of {}", shard.index, shard.count);
        }
        extent
    }

    /// What is special about the numbers, a line each.
    pub(crate) fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        if !self.complete {
            let missing = images(self.places().len() - self.images.len());
            caveats.push(format!(
                "PARTIAL: {missing} not run; the numbers are of the others"
            ));
        }
        if !self.failures.is_empty() {
            let how = match self.settings.failures {
                FailurePolicy::CountWrong => "count as wrong",
                FailurePolicy::Skip => "do not count",
            };
            let failed = images(self.failures.len());
            caveats.push(format!("{failed} could not be read and {how}"));
        }
        let excluded = self
            .models
            .first()
            .map_or(0, |model| model.metrics.excluded);
        if excluded > 0 {
            let excluded = images(excluded);
            caveats.push(format!("{excluded} without a right class do not count"));
        }
        if let Some(valid) = &self.settings.valid_classes {
            let (valid, classes) = (grouped(valid.len()), grouped(self.data.classes));
            caveats.push(format!(
                "the models chose from {valid} of {classes} classes"
            ));
        }
        for (name, model) in self.model_names().iter().zip(&self.models) {
            if model.metrics.ties > 0 {
                let ties = images(model.metrics.ties);
                let name = fit(name, 40);
                caveats.push(format!(
                    "{ties} of {} with a wrong class of the right one's score: the lower class first",
                    name.trim_end()
                ));
            }
        }
        caveats
    }
}

fn fit_path(path: &str) -> String {
    fit(path, 44).trim_end().to_owned()
}

fn accuracy(metrics: &Metrics, at: usize) -> String {
    let accuracy = &metrics.topk[at];
    let half = percent((accuracy.high - accuracy.low) / 2.0);
    or_dash(accuracy.accuracy, |part| {
        format!("{} ±{half}", percent(part))
    })
}

pub(crate) fn speed(images_per_second: f64) -> String {
    match images_per_second {
        0.0 => "–".to_owned(),
        ..100.0 => format!("{images_per_second:.1}"),
        _ => grouped(images_per_second.round() as usize),
    }
}

/// How an interval of a difference is written.
pub(crate) fn difference(difference: f64, low: f64, high: f64) -> String {
    let signed = |part: f64| format!("{:+.2}", 100.0 * part);
    format!(
        "{} ({} to {})",
        signed(difference),
        signed(low),
        signed(high)
    )
}

impl Comparison {
    /// The comparison as a text of at most 100 columns, with the `listed` images that changed most.
    pub fn table(&self, listed: usize) -> String {
        let mut table = String::new();
        for (title, model) in [("before", &self.before), ("after", &self.after)] {
            table += &format!("{title:6}  {}", fit(&model.path, 88).trim_end());
            table.push('\n');
        }
        table += &format!("{} that count for both", images(self.images));
        if self.only_in_before + self.only_in_after > 0 {
            let [before, after] = [self.only_in_before, self.only_in_after].map(grouped);
            table += &format!("; left out: {before} only in the first, {after} only in the second");
        }
        table += &format!(
            "\n\n{:8}{:>8}  {:>8}  {:26}  {:>11}  {:>10}  {:>11}\n",
            "",
            "before %",
            "after %",
            "difference (95 % interval)",
            "only before",
            "only after",
            "p (McNemar)",
        );
        for paired in &self.topk {
            table += &format!(
                "{:8}{:>8}  {:>8}  {:26}  {:>11}  {:>10}  {:>11}\n",
                format!("top-{}", paired.k),
                percent(paired.before),
                percent(paired.after),
                difference(paired.difference, paired.low, paired.high),
                grouped(paired.only_before),
                grouped(paired.only_after),
                p_value(paired.p_value),
            );
        }
        table += &format!("\n{} with another answer", images(self.changed.len()));
        let listed = listed.min(self.changed.len());
        if listed == 0 {
            table.push('\n');
            return table;
        }
        table += &format!(
            ", by change of confidence the first {}\n(#n: the right class is the n-th best):\n\n",
            grouped(listed)
        );
        table += &format!(
            "{:28} {:17} {:25}  {}\n",
            "image", "class", "before", "after"
        );
        for image in &self.changed[..listed] {
            table += &format!(
                "{} {} {}  {}\n",
                fit(&image.name, 28),
                fit(&image.class_name, 17),
                answer(image.before.as_ref()),
                answer(image.after.as_ref()).trim_end(),
            );
        }
        table
    }
}

fn answer(answer: Option<&Answer>) -> String {
    let Some(answer) = answer else {
        return fit("could not be read", 25);
    };
    let place = format!("#{}", answer.rank + 1);
    let name = fit(&answer.predicted_name, 15);
    format!("{name} {:.2} {place:4}", answer.confidence)
}
