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
            exit_now();
        }
        tell();
    })?;
    Ok(stop)
}

/// Ends the process without destroying the global objects of libtorch and ONNX Runtime, which other threads still
/// use: that would crash them, or make them report errors.
fn exit_now() -> ! {
    // SAFETY: `_exit` may be called at any time.
    unsafe { libc::_exit(INTERRUPTED.into()) }
}
