//! What the command lines of all programs share: man pages, completions, Ctrl-C, closed pipes, and the launch of
//! several processes that form one run.

mod generate;
mod interrupt;
pub mod launch;
mod stdout;

pub use generate::generate;
pub use interrupt::{INTERRUPTED, stop_on_interrupt};
pub use stdout::{Stdout, stdout};
