//! What the command lines of all programs share: man pages, completions, Ctrl-C, and closed pipes.

mod generate;
mod interrupt;
mod stdout;

pub use generate::generate;
pub use interrupt::{INTERRUPTED, stop_on_interrupt};
pub use stdout::{Stdout, stdout};
