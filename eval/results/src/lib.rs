//! What follows an evaluation of image classifiers: everything after the scores.

mod check;
mod columns;
mod compare;
mod csv;
mod file;
mod html;
mod merge;
mod metrics;
mod outcome;
mod predictions;
mod results;
mod statistics;
mod table;
mod text;

pub use check::InvalidResults;
pub use compare::{Answer, ChangedImage, CompareError, ComparedModel, Comparison, PairedAccuracy};
pub use file::FileError;
pub use html::ReportError;
pub use merge::MergeError;
pub use metrics::{CALIBRATION_BINS, CalibrationBin, ClassRow, Confusion, Metrics, TopkAccuracy};
pub use outcome::{CropAveraging, Guess, Judge, JudgeError, Outcome};
pub use predictions::PredictionsError;
pub use results::{
    DataInfo, Environment, FORMAT, Failure, FailurePolicy, Image, LossSettings, ModelInfo,
    ModelResults, Normalization, Results, Settings, Shard, Timing,
};
