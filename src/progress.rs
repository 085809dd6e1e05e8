use indicatif::{ProgressBar, ProgressStyle};

use crate::log::Epoch;

/// What the user sees of a run: a line an epoch on standard output, and on a terminal a bar below.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    epochs: usize,
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
        Self { bar, epochs, k }
    }

    /// Prints a line above the bar.
    pub(crate) fn line(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }

    pub(crate) fn step(&self, epoch: usize, images_per_second: f64) {
        self.bar.set_message(format!(
            "epoch {epoch}/{}  {images_per_second:.0} images/s",
            self.epochs
        ));
        self.bar.inc(1);
    }

    pub(crate) fn epoch(&self, epoch: &Epoch, marks: &str) {
        let Epoch {
            epoch,
            lr,
            loss,
            train,
            val,
            images_per_second,
            ..
        } = epoch;
        let (epochs, k) = (self.epochs, self.k);
        let width = epochs.to_string().len();
        self.line(&format!(
            "epoch {epoch:width$}/{epochs}  lr {lr:<6.4}  loss {loss:7.4}  train top-1 {:5.2} top-{k} \
             {:6.2}  val top-1 {:5.2} top-{k} {:6.2}  {images_per_second:.0} images/s  {marks}",
            100.0 * train.top1(),
            100.0 * train.topk(),
            100.0 * val.top1(),
            100.0 * val.topk(),
        ));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
