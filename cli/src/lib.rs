//! What the command lines of all programs share: man pages, completions, and Ctrl-C.

mod generate;
mod interrupt;

pub use generate::generate;
pub use interrupt::{INTERRUPTED, stop_on_interrupt};
