use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit status of an interrupted program: that of shells for SIGINT.
pub const INTERRUPTED: u8 = 130;

/// A flag that is set by the first Ctrl-C, SIGTERM or SIGHUP, which also calls `tell`. The second one ends
/// the process with the status [`INTERRUPTED`].
///
/// # Errors
/// If the process has such a handler already, or the system does not allow one.
pub fn stop_on_interrupt(
    tell: impl Fn() + Send + 'static,
) -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the second request ends the program at once")]
            process::exit(INTERRUPTED.into());
        }
        tell();
    })?;
    Ok(stop)
}
