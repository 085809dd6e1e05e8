//! The page of one run.

mod curves;

use crate::accuracy::Accuracy;
use serde_json::Value;
use topk_report::cells::{facts, header, number, sortable};
use topk_report::text::{grouped, images, or_dash, percent};
use topk_report::{Escaped, page};

use crate::plot;
use crate::record::{BEST1, BESTK, Change, ChangedSetting, Checkpoint, Epoch};
use crate::run::Run;

/// Maximum number of rows in the table of epochs.
const MAX_ROWS: usize = 1000;

/// A run as one self-contained HTML file: curves, best epochs, accuracies and configuration.
///
/// The run may be unfinished.
pub fn run_page(run: &Run) -> String {
    let title = title(run);
    let mut body = format!("<header><h1>{}</h1>", Escaped(&title));
    body += &about(run);
    body += "</header>";
    body += &cards(run);
    body += &curves::section(run);
    body += &checkpoints(run);
    body += &epochs(run);
    body += &configuration(run);
    page(&title, &body)
}

/// Title of a run, such as `basic-32, svm, noise 0.6, seed 1`.
fn title(run: &Run) -> String {
    let config = &run.start.config;
    let mut title = match config.get("model").and_then(Value::as_str) {
        Some(model) => model.to_owned(),
        None => "Training run".to_owned(),
    };
    if let Some(loss) = config.get("loss") {
        title += &format!(", {}", plain(loss));
    }
    for key in ["noise", "seed"] {
        if let Some(value) = config.get(key).filter(|value| !value.is_null()) {
            title += &format!(", {key} {}", plain(value));
        }
    }
    title
}

/// A value of a configuration as text.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(value) => value
            .as_f64()
            .map_or_else(|| value.to_string(), plot::number),
        value => value.to_string(),
    }
}

/// `top-5`, or `top-k` if k is unknown.
pub(crate) fn top(k: Option<usize>) -> String {
    k.map_or_else(|| "top-k".to_owned(), |k| format!("top-{k}"))
}

/// The kinds of accuracy, top-1 and top-k; only the first for k = 1.
pub(crate) fn tops(k: Option<usize>) -> Vec<Top> {
    let mut tops = vec![Top {
        name: top(Some(1)),
        of: Accuracy::top1,
        checkpoint: BEST1,
    }];
    if k != Some(1) {
        tops.push(Top {
            name: top(k),
            of: Accuracy::topk,
            checkpoint: BESTK,
        });
    }
    tops
}

/// A kind of accuracy.
pub(crate) struct Top {
    pub(crate) name: String,
    /// 0 to 1.
    pub(crate) of: fn(&Accuracy) -> f64,
    /// The checkpoint with the best validation accuracy of this kind.
    pub(crate) checkpoint: &'static str,
}

impl Top {
    /// The name at the start of a sentence.
    pub(crate) fn title(&self) -> String {
        self.name.replacen('t', "T", 1)
    }

    /// The accuracy in percent, without the sign; a dash if there are no images.
    pub(crate) fn percent(&self, accuracy: &Accuracy) -> String {
        or_dash(self.part(accuracy), percent)
    }

    /// The accuracy from 0 to 1; `None` if there are no images.
    pub(crate) fn part(&self, accuracy: &Accuracy) -> Option<f64> {
        (accuracy.images > 0).then(|| (self.of)(accuracy))
    }

    /// The epoch with the best validation accuracy of this kind.
    pub(crate) fn best<'a>(&self, run: &'a Run) -> Option<&'a Epoch> {
        match self.checkpoint {
            BEST1 => run.best1(),
            _ => run.bestk(),
        }
    }
}

/// Progress of a run, such as `epoch 12 of 300`.
pub(crate) fn progress(run: &Run) -> String {
    let done = run.epochs.len();
    match run.start.epochs() {
        Some(epochs) => format!("epoch {} of {}", grouped(done), grouped(epochs)),
        None => format!("epoch {}", grouped(done)),
    }
}

fn about(run: &Run) -> String {
    let start = &run.start;
    let mut html = format!(
        "<p>{}, {} of {} classes for training, {} for validation. {} parameters, device {}.",
        counted(run.epochs.len()),
        images(start.train_images),
        grouped(start.classes),
        grouped(start.val_images),
        grouped(start.parameters),
        Escaped(&start.device),
    );
    let seconds: f64 = run.times.iter().flatten().map(|time| time.seconds).sum();
    if run.times.iter().any(Option::is_some) && seconds.is_finite() {
        let so_far = if run.end.is_some() { "" } else { " so far" };
        html += &format!(" Time{so_far}: {}.", duration(seconds));
    }
    if let Some(reason) = run.end.as_ref().and_then(|end| end.stopped.as_ref()) {
        html += &format!(" Stopped early: {}.", Escaped(reason));
    }
    html += "</p>";
    let warnings = warnings(run);
    if !warnings.is_empty() {
        html += &format!("<p class=\"warn\">{}</p>", warnings.join("<br>"));
    }
    html
}

/// Caveats about the curves.
fn warnings(run: &Run) -> Vec<String> {
    let mut warnings = Vec::new();
    if run.end.is_none() {
        let progress = progress(run);
        warnings.push(format!(
            "The run is unfinished ({progress}); there is no test accuracy yet."
        ));
    }
    let not_finite = |epoch: &&Epoch| !epoch.loss.is_finite();
    if let Some(first) = run.epochs.iter().find(not_finite) {
        let epochs = run.epochs.iter().filter(not_finite).count();
        warnings.push(format!(
            "The loss is not finite in {}, first in epoch {}.",
            counted(epochs),
            grouped(first.epoch)
        ));
    }
    let skipped: usize = run.epochs.iter().map(|epoch| epoch.skipped_steps).sum();
    if skipped > 0 {
        let (s, were) = if skipped == 1 {
            ("", "was")
        } else {
            ("s", "were")
        };
        warnings.push(format!(
            "{} step{s} {were} skipped because the loss or the gradient was not finite.",
            grouped(skipped)
        ));
    }
    type Count = fn(&Epoch) -> usize;
    let counts: [(&str, Count); 2] = [
        ("training", |epoch| epoch.skipped_images),
        ("validation", |epoch| epoch.skipped_val_images),
    ];
    for (kind, count) in counts {
        // The same images in each epoch, usually.
        match run.epochs.iter().map(count).max() {
            None | Some(0) => {}
            Some(1) => warnings.push(format!("1 {kind} image was left out as unreadable.")),
            Some(most) => warnings.push(format!(
                "{} {kind} images were left out as unreadable.",
                grouped(most)
            )),
        }
    }
    warnings
}

/// `1 epoch`, `2 epochs`.
fn counted(epochs: usize) -> String {
    let s = if epochs == 1 { "" } else { "s" };
    format!("{} epoch{s}", grouped(epochs))
}

/// A duration in the two largest units, such as `2 h 5 min`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds:.1} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", whole % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The headline numbers: the best epoch for each kind of accuracy.
fn cards(run: &Run) -> String {
    let mut html = String::from("<div class=\"cards\">");
    for top in tops(run.start.k()) {
        let Some(best) = top.best(run) else {
            continue;
        };
        let val = best.val;
        let mut figures = vec![("validation", val)];
        let checkpoint = run.checkpoint(top.checkpoint);
        if let Some(test) = checkpoint.and_then(|checkpoint| checkpoint.test) {
            figures.insert(0, ("test", test));
        }
        html += &format!(
            "<article class=\"card s0\"><h2>Best {}</h2><div class=\"pair\">",
            top.name
        );
        for (name, accuracy) in figures {
            html += &format!(
                "<div><div class=\"label\">{name}</div><div class=\"big\">{}<small> %</small></div></div>",
                top.percent(&accuracy)
            );
        }
        let so_far = if run.end.is_some() { "" } else { " so far" };
        html += &format!(
            "</div><div class=\"label\">epoch {}, the best {} validation accuracy{so_far}</div></article>",
            grouped(best.epoch),
            top.name
        );
    }
    html + "</div>"
}

/// The best checkpoints.
fn checkpoints(run: &Run) -> String {
    let Some(end) = run.end.as_ref().filter(|end| !end.checkpoints.is_empty()) else {
        return String::new();
    };
    let mut html = String::from(
        "<section><h2>Checkpoints</h2><div class=\"scroll panel\"><table class=\"checkpoints\"><thead><tr>",
    );
    html += &header("checkpoint", false);
    html += &header("epoch", true);
    for (images, top) in accuracies(run) {
        html += &header(&format!("{images} {} %", top.name), true);
    }
    html += &header("files", false);
    html += "</tr></thead><tbody>";
    for checkpoint in &end.checkpoints {
        html += &format!(
            "<tr><th scope=\"row\">{}</th>{}",
            Escaped(&checkpoint.name),
            number(&grouped(checkpoint.epoch))
        );
        for (images, top) in accuracies(run) {
            let accuracy = match images {
                "test" => checkpoint.test,
                _ => Some(checkpoint.val),
            };
            html += &number(&or_dash(
                accuracy.and_then(|accuracy| top.part(&accuracy)),
                percent,
            ));
        }
        html += &format!(
            "<td class=\"path\">{}</td></tr>",
            Escaped(&files(checkpoint))
        );
    }
    html + "</tbody></table></div><p class=\"faint\">The test images are evaluated only once, at the end of the run.</p></section>"
}

fn files(checkpoint: &Checkpoint) -> String {
    match &checkpoint.onnx {
        Some(onnx) => format!("{}, {onnx}", checkpoint.checkpoint),
        None => checkpoint.checkpoint.clone(),
    }
}

/// The columns of [`checkpoints`].
fn accuracies(run: &Run) -> Vec<(&'static str, Top)> {
    let columns = ["validation", "test"].into_iter();
    columns
        .flat_map(|images| {
            tops(run.start.k())
                .into_iter()
                .map(move |top| (images, top))
        })
        .collect()
}

/// The curves as a table of numbers.
fn epochs(run: &Run) -> String {
    if run.epochs.is_empty() {
        return String::new();
    }
    let (tops, has_times) = (tops(run.start.k()), run.times.iter().any(Option::is_some));
    let shown = run.epochs.len().min(MAX_ROWS);
    let mut html = String::from("<section><h2>Epochs</h2><details><summary>");
    html += &match run.epochs.len() - shown {
        0 => format!("All {} as numbers, latest first", counted(shown)),
        _ => format!(
            "The last {} epochs as numbers, latest first",
            grouped(shown)
        ),
    };
    html += "</summary><div><div class=\"tall\"><table class=\"epochs\"><thead><tr>";
    html += &sortable("epoch", true);
    html += &sortable("learning rate", true);
    html += &sortable("loss", true);
    let has_val_loss = run.epochs.iter().any(|epoch| epoch.val_loss.is_some());
    if has_val_loss {
        html += &sortable("validation loss", true);
    }
    for images in ["training", "validation"] {
        for top in &tops {
            html += &sortable(&format!("{images} {} %", top.name), true);
        }
    }
    if has_times {
        html += &sortable("seconds", true);
        html += &sortable("images/s", true);
    }
    html += "</tr></thead><tbody>";
    let cell = |value: Option<f64>, format: &dyn Fn(f64) -> String| {
        let value = value.filter(|value| value.is_finite());
        // Missing numbers sort as the smallest.
        let text = or_dash(value, format);
        format!(
            "<td class=\"n\" data-value=\"{}\">{text}</td>",
            value.unwrap_or(-1.0)
        )
    };
    for (epoch, time) in run.epochs.iter().zip(&run.times).rev().take(shown) {
        html += "<tr>";
        html += &cell(Some(epoch.epoch as f64), &|_| grouped(epoch.epoch));
        html += &cell(Some(epoch.lr), &plot::number);
        html += &cell(Some(epoch.loss), &|loss| format!("{loss:.4}"));
        if has_val_loss {
            html += &cell(epoch.val_loss, &|loss| format!("{loss:.4}"));
        }
        for accuracy in [epoch.train, epoch.val] {
            for top in &tops {
                html += &cell(top.part(&accuracy), &percent);
            }
        }
        if has_times {
            html += &cell(time.map(|time| time.seconds), &|seconds| {
                format!("{seconds:.1}")
            });
            let speed = time.map(|time| time.images_per_second);
            html += &cell(speed, &|speed| grouped(speed.round() as usize));
        }
        html += "</tr>";
    }
    html + "</tbody></table></div></div></details></section>"
}

/// The settings.
fn configuration(run: &Run) -> String {
    let rows = run
        .start
        .config
        .iter()
        .filter(|(_, value)| !value.is_null());
    let rows = rows.map(|(key, value)| (key.clone(), Escaped(&plain(value)).to_string()));
    let changes: Vec<String> = run.changes.iter().map(changed).collect();
    format!(
        "<section><h2>Configuration</h2>{}<div class=\"panel\">{}</div></section>",
        changes.concat(),
        facts(rows)
    )
}

/// The settings that a run was resumed with, if they were others than before.
fn changed(change: &Change) -> String {
    let from = change.resume_from.iter();
    let from = from.map(|run| format!("continues the run {run}"));
    let settings = change.settings.iter().map(ChangedSetting::to_string);
    let parts: Vec<String> = from
        .chain(settings)
        .chain(change.decisions.iter().cloned())
        .collect();
    let at = match change.batch {
        0 => format!("At the start of epoch {}", grouped(change.epoch)),
        batch => format!(
            "In epoch {}, after batch {}",
            grouped(change.epoch),
            grouped(batch)
        ),
    };
    format!("<p>{at}: {}.</p>", Escaped(&parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let durations = [3.21, 61.0, 7_500.0, 100_000.0].map(duration);
        assert_eq!(durations, ["3.2 s", "1 min 1 s", "2 h 5 min", "1 d 3 h"]);
    }
}
