//! Judges the implementation of the smooth top-k SVM: the library of the `topk-perf` command.

mod check;
mod double_double;
mod exact;
pub mod reference;

pub use check::{Bars, Case, Errors, ReadError, read_cases};
pub use exact::{BeyondRange, Exact, exact};
