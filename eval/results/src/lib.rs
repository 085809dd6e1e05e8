//! What follows an evaluation of image classifiers: everything after the scores.
//!
//! [`Judge`] makes an [`Outcome`] of the scores that a model gives an image: the rank of the right class, the
//! prediction with its probability, the losses. [`Results`] holds the outcomes of one or several models on a
//! data set with what they were measured with, and is what a result file holds. Outcomes are the truth:
//! every number is computed from them in the order of the images, so that a run which was shared out or cut
//! off, and is put together again, gives the numbers of one run to the last bit.
//!
//! | what | how |
//! | --- | --- |
//! | metrics | [`Results::finish`] computes [`Metrics`]; [`Results::class_rows`] and [`Results::confusions`] look closer |
//! | result files | [`Results::save`] and [`Results::read`], which refuses what contradicts itself |
//! | shards and resuming | [`Shard::places`], [`Results::remaining`], [`Results::check_same_run`], [`Results::merge`] |
//! | comparing two models | [`Comparison`] |
//! | for people | [`Results::table`], [`Results::to_html`], and the same of [`Comparison`] |
//! | for programs | [`Results::to_csv`], [`Results::save_predictions`], [`Results::append_text`], [`Comparison::to_json`] |
//!
//! # The result file
//!
//! JSON with the members of [`Results`], each in a line of its own. Lists of images and outcomes stand as
//! parallel arrays, one entry an image:
//!
//! ```json
//! {
//!   "format": 1,
//!   "images": {
//!     "places": [0, 1, 2],
//!     "names": ["a.jpg", "b.jpg", "c.jpg"],
//!     "labels": [7, [3, 5], 0]
//!   },
//!   "models": [{
//!       "outcomes": {
//!         "rank": [0, 4, null],
//!         "predicted": [7, 2, null],
//!         "confidence": [0.91, 0.4, null],
//!         "cross_entropy": [0.094, 2.1, null],
//!         "topk_loss": null,
//!         "tied": [1],
//!         "best": null
//!       }
//!   }]
//! }
//! ```
//!
//! An image with several right classes has a list of labels. Null stands for images that could not be read, or
//! have no right class; `tied` names the outcomes with a tie; `best`, if it is there, has for each outcome
//! that is not null `count` `classes` and `probabilities`, one after the other. Numbers are read back to the
//! last bit. A change that older readers would misunderstand gets the next number of `format`.

mod check;
mod columns;
mod compare;
mod csv;
mod file;
mod html;
mod judge;
mod merge;
mod metrics;
mod names;
mod outcome;
mod predictions;
mod results;
mod scores;
mod statistics;
mod table;

pub use check::InvalidResults;
pub use compare::{Answer, ChangedImage, CompareError, ComparedModel, Comparison, PairedAccuracy};
pub use file::FileError;
pub use html::ReportError;
pub use judge::{Judge, JudgeError};
pub use merge::MergeError;
pub use metrics::{CALIBRATION_BINS, CalibrationBin, ClassRow, Confusion, Metrics, TopkAccuracy};
pub use outcome::{CropAveraging, Guess, Outcome};
pub use predictions::PredictionsError;
pub use results::{
    DataInfo, Environment, FORMAT, Failure, FailurePolicy, Image, LossSettings, ModelInfo,
    ModelResults, Results, Settings, Shard, Timing,
};
