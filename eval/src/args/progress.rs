//! The progress bar, and Ctrl-C.

use std::fmt;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// The exit status after Ctrl-C: that of shells for SIGINT.
pub(super) const INTERRUPTED: i32 = 130;

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

/// A flag that the first Ctrl-C sets; the second ends the program.
pub(super) fn stop_on_ctrl_c(bar: &ProgressBar) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    let bar = bar.clone();
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the second Ctrl-C ends the program at once")]
            process::exit(INTERRUPTED);
        }
        bar.suspend(|| {
            eprintln!("stopping after this batch; press Ctrl-C again to quit now without results")
        });
    })
    .context("cannot handle Ctrl-C")?;
    Ok(stop)
}
