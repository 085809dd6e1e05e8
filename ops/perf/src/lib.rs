//! Benchmarks algorithms for the smooth top-k SVM: the library of the `topk-perf` command.
//!
//! | item | purpose |
//! | --- | --- |
//! | [`measure()`] | time, memory and errors of the algorithms |
//! | [`Report`] | the results as files |
//! | [`plot_time_by_classes`], [`plot_time_by_k`], [`plot_errors_by_tau`] | the results as plots |

mod algorithm;
mod measure;
mod plot;
mod report;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use measure::{Measurement, PeakMemory, Problem, Protocol, Type, UnknownType, measure};
pub use plot::{PlotError, plot_errors_by_tau, plot_time_by_classes, plot_time_by_k};
pub use report::{Machine, Report, table};
