//! How training runs are seen: the files that a run leaves, and what is made of them.
//!
//! | what | how |
//! | --- | --- |
//! | the log of a run, `log.jsonl`, and its times, `times.jsonl` | [`Event`] and [`EpochTime`] are a line each, to write and to read; [`Run::read`] reads a folder |
//! | TensorBoard | [`EventWriter`] writes event files while a run goes on |
//!
//! The log has no times, so that the same run gives the same file.

mod record;
mod run;
mod tensorboard;

pub use record::{BEST1, BESTK, Checkpoint, End, Epoch, EpochTime, Event, LOG, Start, TIMES};
pub use run::{LineFault, Run, RunError};
pub use tensorboard::{EventWriter, EventsError};
