use std::io::Write;
use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use topk_history::{CorrectAt, Epoch, EpochTime, Event, RawValidation};
use topk_report::text::{TERMINAL_WIDTH, or_dash, percent, wrap};

use crate::logging::LogFormat;
use crate::observer::{BatchProgress, Extent, Observer, TrainingEvent};
use crate::validation::Metric;

/// Prints the progress of a run: one line per epoch on standard output, and a progress bar on a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Known once the run begins.
    extent: Option<Extent>,
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
    pub(crate) fn new(format: LogFormat) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            extent: None,
            format,
        }
    }

    /// Starts the bar, and prints the header of the table whose rows [`epoch`](Self::epoch) prints.
    fn begin(&mut self, extent: Extent) {
        // indicatif hides the bar if standard error is not a terminal.
        self.bar = ProgressBar::new((extent.epochs * extent.batches) as u64);
        let style = ProgressStyle::with_template(
            "{wide_bar:.cyan/black.bright} {percent:>3} %  {msg}  {eta} left",
        );
        self.bar.set_style(style.expect("the template is valid"));
        self.extent = Some(extent);
        if self.format == LogFormat::Text {
            for line in header(extent.epochs, extent.k) {
                self.line(&line);
            }
        }
    }

    /// Prints a line above the bar, wrapped to the terminal's width.
    fn line(&self, line: &str) {
        match self.format {
            LogFormat::Text => self.print(&wrap(line, TERMINAL_WIDTH, 2)),
            LogFormat::Json => self.tagged("message", &Message { text: line.trim() }),
        }
    }

    /// Prints an event of the log, as one line of JSON, if that is the format.
    fn record(&self, event: &Event) {
        if self.format == LogFormat::Json {
            self.print(event.to_line().trim_end());
        }
    }

    /// Prints another record in the same way, with its kind as `event`.
    fn tagged(&self, event: &'static str, record: &impl Serialize) {
        if self.format == LogFormat::Json {
            let tagged = Tagged { event, record };
            self.print(&serde_json::to_string(&tagged).expect("records are serialisable"));
        }
    }

    fn print(&self, line: &str) {
        // Standard output on a full disk must not end the run: the log has everything.
        self.bar.suspend(|| {
            let _ = writeln!(topk_cli::stdout(), "{line}");
        });
    }

    /// Updates the bar.
    fn step(&self, progress: &BatchProgress) {
        let Some(extent) = self.extent else { return };
        let BatchProgress {
            epoch,
            batch,
            images_per_second,
            means,
        } = *progress;
        let means = means.map_or_else(String::new, |[loss, top1, topk]| {
            let (top1, topk) = (100.0 * top1, 100.0 * topk);
            format!(
                "  loss {loss:.3}  top-1 {top1:.1}  top-{} {topk:.1}",
                extent.k
            )
        });
        self.bar.set_message(format!(
            "epoch {epoch}/{}{means}  {images_per_second:.0} img/s",
            extent.epochs
        ));
        let done = (epoch - 1) * extent.batches + batch;
        if self.bar.position() == 0 && done > 1 {
            // Batches of an earlier process would distort the estimate of the remaining time.
            self.bar.set_position(done as u64);
            self.bar.reset_eta();
        } else {
            self.bar.set_position(done as u64);
        }
    }

    /// Prints the row of an epoch; `best` are the metrics that are the best so far. Further results are below it.
    fn epoch(&self, epoch: &Epoch, time: &EpochTime, best: &[Metric]) {
        let (LogFormat::Text, Some(extent)) = (self.format, self.extent) else {
            return;
        };
        self.line(&row(epoch, time, best, extent.epochs));
        if extent.has_further_results
            && let Some(line) = further(epoch, extent.k)
        {
            self.line(&line);
        }
    }
}

impl Observer for Progress {
    fn observe(&mut self, event: &TrainingEvent<'_>) -> ControlFlow<()> {
        match event {
            TrainingEvent::Message(line) => self.line(line),
            TrainingEvent::Note(note) => eprintln!("note: {note}"),
            TrainingEvent::Logged(event) => self.record(event),
            TrainingEvent::Begun(extent) => self.begin(*extent),
            TrainingEvent::Batch(progress) => self.step(progress),
            TrainingEvent::Steps(record) => self.tagged("step", record),
            TrainingEvent::Time(time) => self.tagged("time", time),
            TrainingEvent::Epoch { epoch, time, best } => self.epoch(epoch, time, best),
            TrainingEvent::Trained => self.bar.finish_and_clear(),
        }
        ControlFlow::Continue(())
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
