//! Results of evaluated image classifiers: metrics, result files, comparisons and reports.
//!
//! A [`Scorer`] turns the scores of a model for an image into an [`Outcome`]: the rank of the true class, the
//! prediction with its probability, and the losses. [`Results`] holds the outcomes of one or more models on a
//! data set, and everything needed to reproduce them; it is what a result file contains. All metrics are
//! computed from the outcomes in the order of the images, so that merged shards and resumed runs give the
//! metrics of a single run to the last bit.
//!
//! | task | interface |
//! | --- | --- |
//! | metrics | [`Measurements::finish`] computes [`Metrics`]; [`Results::class_rows`] and [`Results::confusions`] give details |
//! | result files | [`Results::save`] and [`Results::read`], which reject files that contradict themselves |
//! | shards and resuming | [`Shard::indices`], [`Results::remaining`], [`Results::check_same_run`], [`Results::merge`] |
//! | comparing two models | [`Comparison`], [`Comparison::check_drop`] |
//! | many result files side by side | [`Leaderboard`] |
//! | reports for people | [`Results::table`], [`Results::to_html`], and the same for [`Comparison`] |
//! | speed | [`bench::Bench`]: measurements of `topk-eval bench`, their table, CSV and page |
//! | data for programs | [`Results::to_csv`], [`Results::to_class_csv`], [`Results::to_confusion_csv`], [`Results::save_predictions`], [`Results::append_paper_table`], [`Comparison::to_json`] |
//!
//! # The result file
//!
//! JSON with the members of [`Results`], one per line. Lists of images and outcomes are parallel arrays with
//! one entry per image:
//!
//! ```json
//! {
//!   "format": 1,
//!   "images": {
//!     "indices": [0, 1, 2],
//!     "names": ["a.jpg", "b.jpg", "c.jpg"],
//!     "labels": [7, [3, 5], 0]
//!   },
//!   "models": [{
//!       "outcomes": {
//!         "rank": [0, 4, null],
//!         "predicted": [7, 2, null],
//!         "confidence": [0.91, 0.4, null],
//!         "cross_entropy": [0.094, 2.1, null],
//!         "brier": [0.01, 0.8, null],
//!         "topk_loss": null,
//!         "tied": [1],
//!         "best": null
//!       }
//!   }]
//! }
//! ```
//!
//! An image with several true classes has a list of labels, and `label_ranks` of outcomes, which is there only then, has
//! the ranks of all of them. `groups` of images, if present, has the groups of each image. Null stands for images that could not be evaluated or
//! have no valid label. `tied` lists the outcomes with a tie. `best`, if present, has `count` `classes` and
//! `probabilities` for each outcome that is not null, concatenated. Numbers are read back to the last bit.
//! `format` increases with every change that older readers would misunderstand.

mod average_precision;
pub mod bench;
mod by_confidence;
mod calibration;
mod calibration_change;
mod chance;
mod check;
mod class_changes;
mod class_csv;
mod compare;
mod corruption;
mod counted;
mod csv;
mod file;
mod further_metrics;
mod gate;
mod group_changes;
mod groups;
mod html;
mod leaderboard;
mod measurements;
mod merge;
mod metric_changes;
mod metrics;
mod metrics_table;
mod multilabel;
mod names;
mod predictions;
mod recompute;
mod schema;
mod scorer;
mod scores;
mod severity;
mod statistics;
mod table;

pub use calibration::{calibration_json, calibration_table};
pub use calibration_change::CalibrationChange;
pub use check::InvalidResults;
pub use class_changes::ClassChange;
pub use compare::{
    ChangedImage, CompareError, ComparedModel, Comparison, ImagePrediction, PairedAccuracy,
    RankChange, RankError,
};
pub use corruption::{Corruption, CorruptionError, CorruptionErrors, SEVERITIES};
pub use file::{FileError, is_result_file};
pub use gate::{Gate, GateError};
pub use group_changes::GroupChange;
pub use html::ReportError;
pub use leaderboard::{
    Leaderboard, LeaderboardEntry, LeaderboardGroup, PairedTest, ShiftAccuracy, ShiftModel,
    ShiftSet, Shifts,
};
pub use measurements::{Measurements, ModelMeasurements};
pub use merge::{FROM_LOGITS_LEFT_OUT, MergeError};
pub use metric_changes::MetricChange;
pub use metrics::{ClassRow, Confusion};
pub use predictions::{PredictionsError, PredictionsFormat};
pub use schema::{
    CALIBRATION_BINS, COVERAGES, CalibrationBin, ClassAverage, CoverageAccuracy, CropAveraging,
    DataInfo, Environment, FORMAT, Failure, FailurePolicy, GpuInfo, GroupAccuracy,
    HierarchicalDistance, Image, LossSettings, Metrics, ModelInfo, ModelResults, MultilabelMetrics,
    Outcome, OutputKind, PluginInfo, Prediction, QuantizationInfo, RecallAtK, Results, Settings,
    Severity, Shard, Subset, Timing, TopkAccuracy,
};
pub use scorer::{LabelledLogits, ScoreError, Scorer};
pub use scores::ScorePrecision;
