//! Tables for a terminal of 80 columns.

use topk_report::text::{TERMINAL_WIDTH, fit, grouped, images, or_dash, p_value, percent, wrap};
use unicode_width::UnicodeWidthStr;

use crate::calibration::calibration_table;
use crate::compare::{Comparison, ImagePrediction};
use crate::group_changes::by_change;
use crate::schema::{FailurePolicy, Metrics, Results, Timing};

/// Narrower names are not recognisable.
const MIN_NAME: usize = 18;
/// Titles of the cells of a [`GroupChange`](crate::GroupChange).
const GROUP_TITLES: [&str; 5] = ["images", "before %", "after %", "difference (95 %)", "p"];
/// Number of classes listed that lost, and that gained.
const LISTED_CLASSES: usize = 5;
const GAP: &str = "  ";

/// A column of numbers.
pub(crate) struct Column {
    title: String,
    cells: Vec<String>,
}

impl Column {
    pub(crate) fn new(title: &str, cells: impl Iterator<Item = String>) -> Self {
        Self {
            title: title.to_owned(),
            cells: cells.collect(),
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.width());
        cells.max().unwrap_or(0).max(self.title.width())
    }
}

/// A value and half of its interval.
pub(crate) fn plus_minus(
    value: f64,
    [low, high]: [f64; 2],
    text: impl Fn(f64) -> String,
) -> String {
    format!("{} ±{}", text(value), text((high - low) / 2.0))
}

/// Width of columns with the gaps before them.
pub(crate) fn width(columns: &[Column]) -> usize {
    columns
        .iter()
        .map(|column| GAP.len() + column.width())
        .sum()
}

/// Tables of at most 80 columns with a row for each name: one, or several if it would be too wide.
pub(crate) fn tables(names: &Column, columns: Vec<Column>) -> String {
    let blocks = blocks(columns);
    let tables: Vec<String> = blocks.iter().map(|columns| block(names, columns)).collect();
    tables.join("\n")
}

/// Divides columns into blocks that leave enough width for the names.
pub(crate) fn blocks(columns: Vec<Column>) -> Vec<Vec<Column>> {
    let mut blocks: Vec<Vec<Column>> = vec![Vec::new()];
    for column in columns {
        let block = blocks.last().expect("there is always a block");
        let next = GAP.len() + column.width();
        if !block.is_empty() && MIN_NAME + width(block) + next > TERMINAL_WIDTH {
            blocks.push(Vec::new());
        }
        let block = blocks.last_mut().expect("there is always a block");
        block.push(column);
    }
    blocks
}

/// A row for each name.
pub(crate) fn block(names: &Column, columns: &[Column]) -> String {
    let available = TERMINAL_WIDTH.saturating_sub(width(columns)).max(MIN_NAME);
    let name_width = names.width().min(available);
    let mut table = String::new();
    let mut line = |name: &str, cells: &dyn Fn(&Column) -> String| {
        table += &fit(name, name_width);
        for column in columns {
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
    table
}

impl Results {
    /// The metrics of all models as a table of at most 80 columns, and what they were measured on.
    ///
    /// If one table would be too wide, the accuracies come first and the other metrics in a table below.
    pub fn table(&self) -> String {
        let metrics = || self.models.iter().map(|model| &model.metrics);
        let accuracies = self.settings.topk.iter().enumerate().map(|(at, &k)| {
            let cells = metrics().map(|metrics| accuracy(metrics, at));
            Column::new(&format!("top-{k} %"), cells)
        });
        let mut accuracies: Vec<Column> = accuracies.collect();
        let number = |number: f64| format!("{number:.4}");
        let losses = metrics().map(|metrics| or_dash(metrics.cross_entropy, number));
        let mut others = vec![Column::new("cross-entropy", losses)];
        if let Some(loss) = self.settings.loss {
            let losses = metrics().map(|metrics| or_dash(metrics.topk_loss, number));
            others.push(Column::new(&format!("top-{} loss", loss.k), losses));
        }
        let errors = metrics().map(|metrics| or_dash(metrics.calibration_error, percent));
        others.push(Column::new("ECE %", errors));
        let speeds = self
            .models
            .iter()
            .map(|model| model.timing.images_per_second);
        others.push(Column::new("images/s", speeds.map(speed)));

        let names = Column::new("model", self.model_names().into_iter());
        let name_width = names.width().min(MIN_NAME);
        let fits = name_width + width(&accuracies) + width(&others) <= TERMINAL_WIDTH;
        let table = if fits {
            accuracies.append(&mut others);
            block(&names, &accuracies)
        } else {
            [accuracies, others]
                .map(|columns| tables(&names, columns))
                .join("\n")
        };
        table + &self.notes() + &self.groups_table() + &self.calibrations()
    }

    /// The accuracy of each model on the groups of the data, if there are any.
    fn groups_table(&self) -> String {
        let names = &self.data.group_names;
        if names.is_empty() {
            return String::new();
        }
        let of_first = self
            .models
            .first()
            .map_or(&[][..], |model| &model.metrics.groups);
        let counts = of_first.iter().map(|group| grouped(group.images));
        let mut columns = vec![Column::new("images", counts)];
        for (name, model) in self.model_names().iter().zip(&self.models) {
            let cells = model.metrics.groups.iter().map(|group| {
                let ratio = or_dash(group.error_ratio, |ratio| format!("{ratio:.2}"));
                format!("{} ({ratio})", or_dash(group.accuracy, percent))
            });
            columns.push(Column::new(name, cells));
        }
        let names = Column::new("top-1 % (error ratio)", names.iter().cloned());
        format!(
            "\n{}\nerror ratio: top-1 error relative to that on all images of the groups' file.\n",
            tables(&names, columns)
        )
    }

    /// The calibration of each model, if it was measured.
    fn calibrations(&self) -> String {
        let mut text = String::new();
        for (name, model) in self.model_names().iter().zip(&self.models) {
            if let Some(calibration) = &model.calibration {
                text += &format!("\n{}", calibration_table(name, calibration));
            }
        }
        text
    }

    /// What a reader of the numbers must know.
    fn notes(&self) -> String {
        let mut notes = format!("\n{}", wrap(&self.extent(), TERMINAL_WIDTH, 2));
        for note in self.caveats() {
            notes += &format!("\n{}", wrap(&note, TERMINAL_WIDTH, 2));
        }
        notes +=
            "\n±: half of the 95 % interval (Wilson). ECE: expected calibration error (top-1).\n";
        notes
    }

    /// What was evaluated, in one line.
    pub(crate) fn extent(&self) -> String {
        let evaluated = match &self.subset {
            Some(_) => format!(
                "{} of the {}",
                grouped(self.images.len()),
                images(self.data.images)
            ),
            None => images(self.images.len()),
        };
        let mut extent = format!("{evaluated} of {}", fit_path(&self.data.path));
        if let Some(shard) = self.shard {
            extent += &format!(", shard {} of {}", shard.index, shard.count);
        }
        if let Some(Timing { seconds, .. }) = self.models.first().map(|model| model.timing)
            && seconds > 0.0
        {
            let speed = speed(self.images.len() as f64 / seconds);
            extent += &format!(" in {seconds:.1} s ({speed} images/s)");
        }
        extent
    }

    /// That the numbers are of a random subset, if so.
    pub(crate) fn subset_caveat(&self) -> Option<String> {
        let subset = self.subset.as_ref()?;
        Some(format!(
            "SUBSET: {} of {}, drawn at random from each class (--limit {} --seed {}); the numbers are not those of the \
             whole data set",
            grouped(subset.images),
            images(self.data.images),
            subset.images,
            subset.seed
        ))
    }

    /// What is special about the numbers, one line for each.
    pub(crate) fn caveats(&self) -> Vec<String> {
        let mut caveats: Vec<String> = self.subset_caveat().into_iter().collect();
        if !self.complete {
            let missing = images(self.num_images() - self.images.len());
            caveats.push(format!(
                "PARTIAL: {missing} not evaluated; the numbers cover the others"
            ));
        }
        if !self.failures.is_empty() {
            let how = match self.settings.failures {
                FailurePolicy::CountWrong => "counted as wrong",
                FailurePolicy::Skip => "left out",
            };
            let failed = images(self.failures.len());
            caveats.push(format!("{failed} could not be evaluated ({how})"));
        }
        let excluded = self
            .models
            .first()
            .map_or(0, |model| model.metrics.excluded);
        if excluded > 0 {
            caveats.push(format!(
                "{} without a valid label left out",
                images(excluded)
            ));
        }
        for (name, model) in self.model_names().iter().zip(&self.models) {
            if let Some(quantization) = &model.model.quantization {
                let name = fit(name, 20);
                caveats.push(format!("{}: quantised, {quantization}", name.trim_end()));
            }
        }
        if let Some(valid) = &self.settings.valid_classes {
            let (valid, classes) = (grouped(valid.len()), grouped(self.data.classes));
            caveats.push(format!(
                "predictions are restricted to {valid} of {classes} classes"
            ));
        }
        caveats.extend(self.warnings.iter().cloned());
        for (at, (name, model)) in self.model_names().iter().zip(&self.models).enumerate() {
            let name = fit(name, 20);
            let name = name.trim_end();
            let notes = model.model.notes.iter();
            let warnings = notes.filter_map(|note| note.strip_prefix("warning: "));
            let chance = self.chance_warning(at);
            for warning in warnings.chain(chance.as_deref()) {
                caveats.push(format!("warning: {name}: {warning}"));
            }
            if model.metrics.ties > 0 {
                let ties = images(model.metrics.ties);
                caveats.push(format!(
                    "{name}: {ties} tied with a wrong class (lower class index first)"
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

/// A difference and its interval, in percentage points.
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
    /// The comparison as a text of at most 80 columns, with the `listed` images that changed most.
    pub fn table(&self, listed: usize) -> String {
        let mut table = String::new();
        for (title, model) in [("before", &self.before), ("after", &self.after)] {
            table += &format!("{title:6}  {}\n", fit(&model.path, 72).trim_end());
        }
        let [before, after] = [&self.before, &self.after].map(|model| &*model.number_format);
        if before != after {
            table += &format!("weights {before} → {after}{}\n", self.size_change());
        }
        table += &format!("{} evaluated by both\n", images(self.images));
        if let Some(subset) = &self.subset {
            table += &format!("{}\n", wrap(subset, TERMINAL_WIDTH, 2));
        }
        if self.only_in_before + self.only_in_after > 0 {
            let [before, after] = [self.only_in_before, self.only_in_after].map(grouped);
            table += &format!("left out: {before} only in the first, {after} only in the second\n");
        }
        table += &format!(
            "\n{:6}  {:>8}  {:>7}  {:>24}  {:>6}  {:>6}\n",
            "", "", "", "difference", "only", "only"
        );
        let row = |cells: [&str; 7]| {
            let [k, before, after, difference, only_before, only_after, p] = cells;
            format!(
                "{k:6}  {before:>8}  {after:>7}  {difference:>24}  {only_before:>6}  {only_after:>6}  \
                 {p:>8}\n"
            )
        };
        let titles = [
            "",
            "before %",
            "after %",
            "(95 % interval)",
            "before",
            "after",
            "p",
        ];
        table += &row(titles);
        for paired in &self.topk {
            table += &row([
                &format!("top-{}", paired.k),
                &percent(paired.before),
                &percent(paired.after),
                &difference(paired.difference, paired.low, paired.high),
                &grouped(paired.only_before),
                &grouped(paired.only_after),
                &p_value(paired.p_value),
            ]);
        }
        table += "only before, only after: images that one of the two classifies correctly\n";
        if let Some(agreement) = self.agreement_text() {
            table += &format!("{agreement}\n");
        }
        if let Some(difference) = self.logits_difference() {
            table += &format!("{}\n", wrap(&difference, TERMINAL_WIDTH, 2));
        }
        table += &self.further_metrics_table();
        table += &self.calibration_table();
        table += &self.groups_table();
        for gate in &self.gates {
            let passed = if gate.passed { "passed" } else { "FAILED" };
            table += &format!(
                "{}\n",
                wrap(&format!("{passed}: {gate}"), TERMINAL_WIDTH, 2)
            );
        }
        table += &self.class_table();
        table += &format!("\n{} changed", images(self.changed.len()));
        let listed = listed.min(self.changed.len());
        if listed == 0 {
            table.push('\n');
            return table;
        }
        if listed < self.changed.len() {
            let listed = grouped(listed);
            table += &format!("; the {listed} with the largest change of confidence\n");
        } else {
            table.push(' ');
        }
        table += "(#n: the true class is ranked n-th):\n\n";
        table += &format!(
            "{:20} {:13} {:22} {}\n",
            "image", "class", "before", "after"
        );
        for image in &self.changed[..listed] {
            table += &format!(
                "{} {} {} {}\n",
                fit(&image.name, 20),
                fit(&image.class_name, 13),
                prediction(image.before.as_ref()),
                prediction(image.after.as_ref()).trim_end(),
            );
        }
        table
    }
}

impl Comparison {
    /// How the size of the model's files changes, if it is known: `, 46.8 to 11.9 MB`.
    pub(crate) fn size_change(&self) -> String {
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        match (self.before.bytes, self.after.bytes) {
            (Some(before), Some(after)) => {
                format!(", {} to {} MB", megabytes(before), megabytes(after))
            }
            _ => String::new(),
        }
    }

    /// The calibration of both.
    fn calibration_table(&self) -> String {
        if let Some(note) = &self.calibration_note {
            return format!("{}\n", wrap(note, TERMINAL_WIDTH, 2));
        }
        let Some(change) = &self.calibration else {
            return String::new();
        };
        side_by_side("calibration", &change.rows())
    }

    /// The further metrics of both, if there are any.
    fn further_metrics_table(&self) -> String {
        let rows: Vec<_> = self
            .metrics
            .iter()
            .map(|metric| metric.row.clone())
            .collect();
        match rows.is_empty() {
            true => String::new(),
            false => side_by_side("metric", &rows),
        }
    }

    /// The accuracy on groups of images, if there are any.
    fn groups_table(&self) -> String {
        let mut table = String::new();
        if let Some(note) = &self.groups_note {
            table += &format!("{}\n", wrap(note, TERMINAL_WIDTH, 2));
        }
        if self.groups.is_empty() {
            return table;
        }
        let groups = by_change(&self.groups);
        let names = Column::new("group", groups.iter().map(|group| group.name.clone()));
        let titles = GROUP_TITLES.iter().enumerate();
        let columns: Vec<Column> = titles
            .map(|(at, title)| {
                Column::new(title, groups.iter().map(|group| group.cells()[at].clone()))
            })
            .collect();
        format!(
            "{table}\n{}top-1 accuracy on groups of images; p with Holm's correction\n",
            block(&names, &columns)
        )
    }

    /// The classes that lost and gained most.
    fn class_table(&self) -> String {
        let (lost, gained) = self.class_losses_and_gains();
        let mut table = String::new();
        for (title, classes) in [("lost", lost), ("gained", gained)] {
            if classes.is_empty() {
                continue;
            }
            let listed = classes.len().min(LISTED_CLASSES);
            let of = match classes.len() {
                1 => "1 class".to_owned(),
                count => format!("{} classes", grouped(count)),
            };
            let most = if listed < classes.len() {
                format!("; the {listed} that {title} most")
            } else {
                String::new()
            };
            table += &format!(
                "\n{:36} {:>8} {:>8} {:>8} {:>8}\n",
                format!("{of} {title}{most}"),
                "images",
                "before",
                "after",
                "points"
            );
            for class in &classes[..listed] {
                table += &format!(
                    "{} {:>8} {:>8} {:>8} {:>8}\n",
                    fit(&class.class_name, 36),
                    grouped(class.images),
                    grouped(class.before),
                    grouped(class.after),
                    format!("{:+.2}", 100.0 * class.difference()),
                );
            }
        }
        table
    }
}

/// Values of both models.
fn side_by_side(title: &str, rows: &[[String; 3]]) -> String {
    let column =
        |title: &str, at: usize| Column::new(title, rows.iter().map(|row| row[at].clone()));
    let columns = [column("before", 1), column("after", 2)];
    format!("\n{}", block(&column(title, 0), &columns))
}

fn prediction(prediction: Option<&ImagePrediction>) -> String {
    let Some(prediction) = prediction else {
        return fit("could not be evaluated", 22);
    };
    let rank = format!("#{}", prediction.rank + 1);
    let name = fit(&prediction.predicted_name, 12);
    format!("{name} {:.2} {rank:4}", prediction.confidence)
}
