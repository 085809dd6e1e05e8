//! How a process tells why it failed.

use topk_cli::launch::{Launch, write_error_file};
use topk_report::text::error_message;

/// Prints an error on standard error, with the rank in front if this is a rank other than the first, and writes it to
/// the file in which `torchrun` expects it.
pub fn report(error: &anyhow::Error) {
    let message = error_message(error.as_ref());
    // What is wrong with the environment is the error itself then.
    let launch = Launch::from_env().ok().flatten();
    match &launch {
        Some(launch) if launch.rank > 0 => eprintln!("[rank {}] {message}", launch.rank),
        _ => eprintln!("{message}"),
    }
    let file = launch.and_then(|launch| launch.error_file);
    if let Some(path) = file
        && let Err(error) = write_error_file(&path, &message)
    {
        eprintln!("warning: {error}");
    }
}
