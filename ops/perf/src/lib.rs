//! Judges the implementation of the smooth top-k SVM: the library of the `topk-perf` command.

mod check;

pub use check::{Bars, Case, Errors, ReadError, read_cases};
