//! The data that a result file holds: plain structs.

mod columns;
mod image;
mod metrics;
mod model;
mod outcome;
mod results;
mod run;
mod shard;
mod subset;

pub use image::{Failure, Image};
pub use metrics::{
    CALIBRATION_BINS, COVERAGES, CalibrationBin, ClassAverage, CoverageAccuracy, GroupAccuracy,
    HierarchicalDistance, Metrics, MultilabelMetrics, RecallAtK, Severity, TopkAccuracy,
};
pub use model::{ModelInfo, ModelResults, QuantizationInfo, Timing};
pub use outcome::{CropAveraging, Outcome, OutputKind, Prediction};
pub use results::{FORMAT, Results};
pub use run::{DataInfo, Environment, FailurePolicy, GpuInfo, LossSettings, PluginInfo, Settings};
pub use shard::Shard;
pub use subset::Subset;
