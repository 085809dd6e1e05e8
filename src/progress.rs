use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};
use topk_history::{Epoch, EpochTime};

/// What the user sees of a run: a line an epoch on standard output, and on a terminal a bar below.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    epochs: usize,
    batches: usize,
    k: usize,
}

impl Progress {
    pub(crate) fn new(epochs: usize, batches: usize, k: usize) -> Self {
        // Hidden by indicatif when standard error is not a terminal.
        let bar = ProgressBar::new((epochs * batches) as u64);
        let style = ProgressStyle::with_template(
            "{wide_bar:.cyan/black.bright} {percent:>3} %  {msg}  {eta} left",
        );
        bar.set_style(style.expect("the template is well-formed"));
        Self {
            bar,
            epochs,
            batches,
            k,
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn line(&self, line: &str) {
        // A reader that goes away, such as `head`, must not end the run: the log has it all.
        self.bar.suspend(|| {
            let _ = writeln!(io::stdout(), "{line}");
        });
    }

    /// Shows how far a run is: batches done of the epoch, and loss and accuracies so far in it.
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
                "  loss {loss:.4}  top-1 {top1:.1}  top-{} {topk:.1}",
                self.k
            )
        });
        self.bar.set_message(format!(
            "epoch {epoch}/{}{means}  {images_per_second:.0} images/s",
            self.epochs
        ));
        let done = (epoch - 1) * self.batches + batch;
        if self.bar.position() == 0 && done > 1 {
            // What was done before is no measure of the time that is left.
            self.bar.set_position(done as u64);
            self.bar.reset_eta();
        } else {
            self.bar.set_position(done as u64);
        }
    }

    /// Prints the titles of the columns of [`epoch`](Self::epoch).
    pub(crate) fn titles(&self) {
        let topk = format!("top-{}", self.k);
        self.line(&format!(
            "{:>9}  {:>7}  {:>8}  train top-1 {topk:>6}  val top-1 {topk:>6}  images/s  best",
            "epoch", "lr", "loss"
        ));
    }

    /// Prints the line of an epoch; `best` names the checkpoints that it improved.
    pub(crate) fn epoch(&self, epoch: &Epoch, time: &EpochTime, best: &str) {
        let Epoch {
            lr,
            loss,
            train,
            val,
            ..
        } = epoch;
        let images_per_second = time.images_per_second;
        let number = format!("{}/{}", epoch.epoch, self.epochs);
        let percent = |accuracy: f64| format!("{:.2}", 100.0 * accuracy);
        // Divisions by ten leave digits far behind the point.
        let lr: f64 = format!("{lr:.3e}").parse().unwrap_or(*lr);
        let line = format!(
            "{number:>9}  {lr:>7}  {loss:>8.4}  {:>11} {:>6}  {:>9} {:>6}  {images_per_second:>8.0}  {best}",
            percent(train.top1()),
            percent(train.topk()),
            percent(val.top1()),
            percent(val.topk()),
        );
        self.line(line.trim_end());
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
