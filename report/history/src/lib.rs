//! How training runs are seen: the files that a run leaves, and what is made of them.
//!
//! | what | how |
//! | --- | --- |
//! | the log of a run, `log.jsonl`, and its times, `times.jsonl` | [`Event`] and [`EpochTime`] are a line each, to write and to read; [`Run::read`] reads a folder |
//! | TensorBoard | [`EventWriter`] writes event files while a run goes on |
//! | a page of a run's curves | [`run_page`] |
//! | several runs | [`Sweep`] reads them; [`Summary`] has means and deviations over seeds as tables, a plot and a page |
//!
//! The log has no times, so that the same run gives the same file.

mod accuracy;
mod page;
mod plot;
mod record;
mod run;
mod sweep;
mod tensorboard;

pub use accuracy::Accuracy;
pub use page::run_page;
pub use record::{BEST1, BESTK, Checkpoint, End, Epoch, EpochTime, Event, LOG, Start, TIMES};
pub use run::{LineFault, Run, RunError};
pub use sweep::{
    Axes, Cell, Level, Reference, ReferenceError, ReferenceValue, RunState, Spread, Summary, Sweep,
    SweepError, SweepRun,
};
pub use tensorboard::{EventWriter, EventsError};
