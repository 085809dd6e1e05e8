use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use topk_history::{CorrectAt, Epoch, EpochTime, Event, RawValidation};
use topk_report::text::{TERMINAL_WIDTH, or_dash, percent, wrap};

use crate::logging::LogFormat;
use crate::validation::Metric;

/// Progress of a run: one line per epoch on standard output, and a progress bar on a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    epochs: usize,
    batches: usize,
    k: usize,
    /// Whether anything is printed.
    shown: bool,
    /// Whether validation results that the table does not have are printed below its rows.
    shows_further: bool,
    format: LogFormat,
}

/// A record with the name of its kind.
#[derive(Serialize)]
struct Tagged<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    record: &'a T,
}

/// A line for people.
#[derive(Serialize)]
struct Message<'a> {
    text: &'a str,
}

impl Progress {
    /// Progress of a run of `epochs` epochs of `batches` batches each.
    pub(crate) fn new(epochs: usize, batches: usize, k: usize) -> Self {
        // indicatif hides the bar if standard error is not a terminal.
        let bar = ProgressBar::new((epochs * batches) as u64);
        let style = ProgressStyle::with_template(
            "{wide_bar:.cyan/black.bright} {percent:>3} %  {msg}  {eta} left",
        );
        bar.set_style(style.expect("the template is valid"));
        Self {
            bar,
            epochs,
            batches,
            k,
            shown: true,
            shows_further: false,
            format: LogFormat::Text,
        }
    }

    /// The same progress, which also prints validation results that the table does not have.
    pub(crate) fn with_further_results(self, shows_further: bool) -> Self {
        Self {
            shows_further,
            ..self
        }
    }

    /// The same progress, of which nothing is printed.
    pub(crate) fn silent(self) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            shown: false,
            ..self
        }
    }

    /// The same progress in another form.
    pub(crate) fn with_format(self, format: LogFormat) -> Self {
        Self { format, ..self }
    }

    /// Prints a line above the bar, wrapped to the terminal's width.
    pub(crate) fn line(&self, line: &str) {
        match self.format {
            LogFormat::Text => self.print(&wrap(line, TERMINAL_WIDTH, 2)),
            LogFormat::Json => self.tagged("message", &Message { text: line.trim() }),
        }
    }

    /// Prints an event of the log, as one line of JSON, if that is the format.
    pub(crate) fn record(&self, event: &Event) {
        if self.format == LogFormat::Json {
            self.print(event.to_line().trim_end());
        }
    }

    /// Prints another record in the same way, with its kind as `event`.
    pub(crate) fn tagged(&self, event: &'static str, record: &impl Serialize) {
        if self.format == LogFormat::Json {
            let tagged = Tagged { event, record };
            self.print(&serde_json::to_string(&tagged).expect("records are serialisable"));
        }
    }

    fn print(&self, line: &str) {
        if !self.shown {
            return;
        }
        // Standard output on a full disk must not end the run: the log has everything.
        self.bar.suspend(|| {
            let _ = writeln!(topk_cli::stdout(), "{line}");
        });
    }

    /// Updates the bar: `batch` batches of the epoch are done; `means` are the loss and accuracies of the epoch
    /// so far.
    pub(crate) fn step(
        &self,
        epoch: usize,
        batch: usize,
        images_per_second: f64,
        means: Option<[f64; 3]>,
    ) {
        let means = means.map_or_else(String::new, |[loss, top1, topk]| {
            let (top1, topk) = (100.0 * top1, 100.0 * topk);
            format!(
                "  loss {loss:.3}  top-1 {top1:.1}  top-{} {topk:.1}",
                self.k
            )
        });
        self.bar.set_message(format!(
            "epoch {epoch}/{}{means}  {images_per_second:.0} img/s",
            self.epochs
        ));
        let done = (epoch - 1) * self.batches + batch;
        if self.bar.position() == 0 && done > 1 {
            // Batches of an earlier process would distort the estimate of the remaining time.
            self.bar.set_position(done as u64);
            self.bar.reset_eta();
        } else {
            self.bar.set_position(done as u64);
        }
    }

    /// Prints the header of the table whose rows [`epoch`](Self::epoch) prints.
    pub(crate) fn header(&self) {
        if self.format == LogFormat::Json {
            return;
        }
        for line in header(self.epochs, self.k) {
            self.line(&line);
        }
    }

    /// Prints the row of an epoch; `best` are the metrics that are the best so far. Further results are below it.
    pub(crate) fn epoch(&self, epoch: &Epoch, time: &EpochTime, best: &[Metric]) {
        if self.format == LogFormat::Json {
            return;
        }
        self.line(&row(epoch, time, best, self.epochs));
        if self.shows_further
            && let Some(line) = further(epoch, self.k)
        {
            self.line(&line);
        }
    }

    /// Prints below the row of an epoch what was left out of it, if anything, one image by its name; the epoch had
    /// this many steps.
    pub(crate) fn left_out(&self, epoch: &Epoch, steps: usize, image: Option<String>) {
        if let Some(line) = left_out(epoch, steps, image) {
            self.line(&line);
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Columns of the epoch's number, `300/300`.
fn epoch_width(epochs: usize) -> usize {
    2 * epochs.to_string().len().max(2) + 1
}

/// The two lines above the rows.
fn header(epochs: usize, k: usize) -> [String; 2] {
    let width = epoch_width(epochs);
    let topk = match k {
        ..100 => format!("top-{k}"),
        _ => "top-k".to_owned(),
    };
    [
        format!(
            "{:width$}  {:8}  {:7}  {:>14}  {:>14}  {:8}  new best",
            "", "", "", "training %", "validation %", ""
        ),
        format!(
            "{:>width$}  {:>8}  {:>7}  {:>6}  {topk:>6}  {:>6}  {topk:>6}  {:>8}  top-k",
            "epoch", "lr", "loss", "top-1", "top-1", "images/s"
        ),
    ]
}

fn row(epoch: &Epoch, time: &EpochTime, best: &[Metric], epochs: usize) -> String {
    let Epoch {
        lr,
        loss,
        train,
        val,
        ..
    } = epoch;
    let width = epoch_width(epochs);
    let number = format!("{}/{epochs}", epoch.epoch);
    let percent = |accuracy: f64| or_dash(Some(accuracy).filter(|value| !value.is_nan()), percent);
    // Four digits: divisions by ten leave rounding errors in the last places.
    let rounded: f64 = format!("{lr:.3e}").parse().unwrap_or(*lr);
    let lr = match rounded {
        1e-3.. | 0.0 => rounded.to_string(),
        _ => format!("{rounded:e}"),
    };
    let best = best.iter().map(|metric| match metric {
        Metric::Loss => "loss".to_owned(),
        Metric::Top(k) => k.to_string(),
    });
    let best: Vec<String> = best.collect();
    let line = format!(
        "{number:>width$}  {lr:>8}  {loss:>7.4}  {:>6}  {:>6}  {:>6}  {:>6}  {:>8.0}  {}",
        percent(train.top1()),
        percent(train.topk()),
        percent(val.top1()),
        percent(val.topk()),
        time.images_per_second,
        best.join(", "),
    );
    line.trim_end().to_owned()
}

/// Validation results that the table does not have.
fn further(epoch: &Epoch, k: usize) -> Option<String> {
    if epoch.val.images == 0 {
        return None;
    }
    let loss = |loss: Option<f64>| loss.map(|loss| format!("loss {loss:.4}"));
    let top = |k: usize, part: f64| format!("top-{k} {} %", percent(part));
    let of = |correct: &[CorrectAt], images: usize| -> Vec<String> {
        let correct = correct.iter();
        correct
            .map(|at| top(at.k, at.correct as f64 / images as f64))
            .collect()
    };
    let mut line = "  validation: ".to_owned();
    let parts = loss(epoch.val_loss).into_iter();
    let parts = parts.chain(of(&epoch.val_correct, epoch.val.images));
    line += &parts.collect::<Vec<_>>().join(", ");
    if let Some(RawValidation {
        val,
        val_loss,
        val_correct,
    }) = &epoch.raw
    {
        let mut accuracies = vec![top(1, val.top1())];
        if k != 1 {
            accuracies.push(top(k, val.topk()));
        }
        let parts = loss(*val_loss).into_iter().chain(accuracies);
        let parts = parts.chain(of(val_correct, val.images));
        line += "; of the raw weights: ";
        line += &parts.collect::<Vec<_>>().join(", ");
    }
    Some(line)
}

fn left_out(epoch: &Epoch, steps: usize, image: Option<String>) -> Option<String> {
    let Epoch {
        skipped_steps,
        skipped_images,
        skipped_val_images,
        ..
    } = *epoch;
    let mut parts = Vec::new();
    if skipped_steps > 0 {
        parts.push(format!(
            "{skipped_steps} of {steps} steps skipped because the loss or a gradient was not finite"
        ));
    }
    let counts = [
        (skipped_images, "training"),
        (skipped_val_images, "validation"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|&(count, _)| count > 0)
        .map(|(count, kind)| format!("{count} {kind} image{}", if count == 1 { "" } else { "s" }))
        .collect();
    if !counts.is_empty() {
        let example = image.map_or_else(String::new, |name| format!(", such as {name}"));
        parts.push(format!(
            "{} left out as unreadable{example}",
            counts.join(" and ")
        ));
    }
    (!parts.is_empty()).then(|| format!("  {}", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use topk_history::Accuracy;

    use super::*;

    #[test]
    fn the_table_of_epochs_fits_the_terminal() {
        let accuracy = Accuracy {
            images: 3,
            top1_correct: 3,
            topk_correct: 3,
        };
        let epoch = Epoch {
            epoch: 300,
            lr: 0.1 * 0.000_234_56,
            tau: None,
            alpha: None,
            loss: 12.345_678,
            train: accuracy,
            val: accuracy,
            val_loss: None,
            val_correct: Vec::new(),
            raw: None,
            skipped_steps: 0,
            skipped_images: 0,
            skipped_val_images: 0,
        };
        let time = EpochTime {
            epoch: 300,
            seconds: 1.0,
            images_per_second: 123_456.7,
            waiting_seconds: 0.0,
            retries: 0,
        };
        let row = row(&epoch, &time, &[Metric::Top(1), Metric::Top(5)], 300);
        assert_eq!(
            row,
            "300/300  2.346e-5  12.3457  100.00  100.00  100.00  100.00    123457  1, 5"
        );
        for line in header(300, 5).iter().chain([&row]) {
            assert!(line.len() <= TERMINAL_WIDTH, "{line}");
        }
    }
}
