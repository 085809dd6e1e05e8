//! The files that training runs write, and the reports made from them.
//!
//! | topic | items |
//! | --- | --- |
//! | the log of a run, `log.jsonl`, and its times, `times.jsonl` | [`Event`] and [`EpochTime`] are one line each; [`Run::read`] reads a folder |
//! | TensorBoard | [`EventWriter`] writes event files during a run |
//! | page of a run | [`run_page`] |
//! | epochs of a run as a table | [`run_csv`] |
//! | sweeps | [`Sweep`] reads several runs; [`Summary`] has means and standard deviations over seeds as tables, plots and a page |
//!
//! The log contains no times, so that the same run always gives the same file.

mod accuracy;
mod confusion;
mod page;
mod plot;
mod record;
mod run;
mod summary_csv;
mod sweep;
mod tensorboard;

pub use accuracy::Accuracy;
pub use confusion::Confusion;
pub use page::run_page;
pub use record::{
    BEST1, BESTK, Change, ChangedSetting, Checkpoint, CorrectAt, End, Epoch, EpochTime, Event, LOG,
    RawValidation, STEPS, Start, StepRecord, TIMES,
};
pub use run::{InvalidLine, Run, RunError};
pub use summary_csv::{SUMMARY, run_csv};
pub use sweep::{
    Axes, AxisValue, Cell, Reference, ReferenceError, ReferenceValue, RunState, Spread, Summary,
    Sweep, SweepError, SweepRun,
};
pub use tensorboard::{EventWriter, EventsError, LabeledImage, Picture, StepEvents};
