//! Progress on standard error, as a bar or lines, and Ctrl-C.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use topk_report::text::grouped;

/// How far a run is: a bar on a terminal, and a line now and then elsewhere, such as in a log file.
pub(super) struct ProgressDisplay {
    bar: ProgressBar,
    /// None on a terminal, and in a process that does not print.
    lines: Option<ProgressLines>,
}

/// Lines at an interval.
struct ProgressLines {
    images: usize,
    interval: Duration,
    start: Instant,
    printed: Instant,
}

impl ProgressDisplay {
    /// The display for a run of `images` images: a bar in a terminal, else a line every `interval`.
    pub(super) fn new(images: usize, interval: Duration) -> Self {
        let bar = progress_bar(images);
        let now = Instant::now();
        let lines = bar.is_hidden().then_some(ProgressLines {
            images,
            interval,
            start: now,
            printed: now,
        });
        bar.tick();
        Self { bar, lines }
    }

    /// Of a process that does not print.
    pub(super) fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            lines: None,
        }
    }

    pub(super) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Shows how many images are done, and a message.
    pub(super) fn show(&mut self, images: usize, message: String) {
        if let Some(line) = self
            .lines
            .as_mut()
            .and_then(|lines| lines.line(images, &message, Instant::now()))
        {
            eprintln!("{line}");
        }
        self.bar.set_position(images as u64);
        self.bar.set_message(message);
    }
}

impl ProgressLines {
    /// The next line, if it is time for it.
    fn line(&mut self, images: usize, message: &str, now: Instant) -> Option<String> {
        if now.duration_since(self.printed) < self.interval {
            return None;
        }
        self.printed = now;
        let elapsed = now.duration_since(self.start).as_secs_f64();
        let (done, all) = (images as f64, self.images as f64);
        let mut line = format!(
            "{} of {} images ({:.1} %), {:.0} images/s",
            grouped(images),
            grouped(self.images),
            100.0 * done / all.max(1.0),
            done / elapsed
        );
        if images > 0 {
            let left = Duration::from_secs((elapsed * (all - done).max(0.0) / done).round() as u64);
            line += &format!(", {} left", humantime::format_duration(left));
        }
        Some(format!("{line}, {message}"))
    }
}

fn progress_bar(images: usize) -> ProgressBar {
    // indicatif hides it if standard error is not a terminal.
    let bar = ProgressBar::new(images as u64);
    let style = "{wide_bar:.cyan/black.bright} {pos}/{len}  {speed}  {msg}  {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is well-formed");
    let speed = |state: &ProgressState, text: &mut dyn fmt::Write| {
        // A closed terminal must not stop the run.
        let _ = write!(text, "{:.0} images/s", state.per_sec());
    };
    bar.set_style(style.with_key("speed", speed));
    bar
}

/// A flag that Ctrl-C sets; `quiet` in a process that does not print.
pub(super) fn stop_on_interrupt(bar: &ProgressBar, quiet: bool) -> Result<Arc<AtomicBool>> {
    let bar = bar.clone();
    topk_cli::stop_on_interrupt(move || {
        if quiet {
            return;
        }
        bar.suspend(|| {
            eprintln!("stopping after this batch; press Ctrl-C again to quit now without results");
        });
    })
    .context("cannot handle Ctrl-C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_their_interval() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut lines = ProgressLines {
            images: 50_000,
            interval: Duration::from_secs(30),
            start,
            printed: start,
        };
        assert_eq!(lines.line(100, "top-1 70.00", after(29)), None);
        assert_eq!(
            lines
                .line(12_500, "top-1 76.13 top-5 92.90", after(30))
                .unwrap(),
            "12,500 of 50,000 images (25.0 %), 417 images/s, 1m 30s left, top-1 76.13 top-5 92.90"
        );
        assert_eq!(lines.line(12_600, "", after(59)), None);
        assert_eq!(
            lines
                .line(50_000, "waiting for rank 3", after(300))
                .unwrap(),
            "50,000 of 50,000 images (100.0 %), 167 images/s, 0s left, waiting for rank 3"
        );
        assert_eq!(
            lines.line(0, "waiting", after(400)).unwrap(),
            "0 of 50,000 images (0.0 %), 0 images/s, waiting"
        );
    }
}
