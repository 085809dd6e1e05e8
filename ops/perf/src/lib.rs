//! Judges the implementation of the smooth top-k SVM: the library of the `topk-perf` command.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Errors`] | comparison with exact values from a file |
//! | [`exact()`] | exact values of any sample |
//! | [`mod@reference`] | other algorithms for the loss |
//! | [`measure()`] | time, memory and errors of the algorithms |
//! | [`Report`] | the results as files |
//! | [`plot_time_by_classes`], [`plot_time_by_k`], [`plot_errors_by_tau`] | the results as pictures |

mod algorithm;
mod check;
mod double_double;
mod exact;
mod measure;
mod plot;
mod random;
pub mod reference;
mod report;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use check::{Bars, Case, Errors, ReadError, read_cases};
pub use exact::{BeyondRange, Exact, exact};
pub use measure::{Measurement, PeakMemory, Problem, Protocol, Type, UnknownType, measure};
pub use plot::{PlotError, plot_errors_by_tau, plot_time_by_classes, plot_time_by_k};
pub use random::random_batch;
pub use report::{Machine, Report, table_header, table_rows};
