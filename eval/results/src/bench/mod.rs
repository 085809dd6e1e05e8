//! How fast models are: the file of `topk-eval bench`, its table, CSV and HTML page.

mod csv;
mod html;
mod schema;
mod statistics;
mod table;

pub use schema::{
    BENCH_FORMAT, Bench, BenchAccuracy, BenchImages, BenchModel, BenchSettings, LatencyStatistics,
    Measurement, MemoryGrowth, NodeTime, OperatorTime, Preparation, Profile, TimedRuns,
};
