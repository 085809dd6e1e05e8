//! The progress bar, and Ctrl-C.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

pub(super) fn progress_bar(images: usize) -> ProgressBar {
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
