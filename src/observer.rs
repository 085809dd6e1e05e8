//! What a run tells those who follow it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use topk_history::{Epoch, EpochTime, Event, StepRecord};

use crate::validation::Metric;

/// What happens in a run; see [`Observer`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum TrainingEvent<'a> {
    /// A line for people, such as what was decided about the data, where a run resumes, or what was left out of an epoch.
    Message(&'a str),
    /// What was decided about the weights that the run starts from, or about its teacher.
    Note(&'a str),
    /// A record was added to the log of the run.
    Logged(&'a Event),
    /// The next epoch begins; told once, before the first epoch of this process.
    Begun(Extent),
    /// Batches were trained on.
    Batch(BatchProgress),
    /// The metrics of the steps since the last such event; see `--log-interval`.
    Steps(&'a StepRecord),
    /// How long an epoch took.
    Time(&'a EpochTime),
    /// An epoch has ended, and its state and checkpoints are saved.
    Epoch {
        /// Its results, which are in the log too.
        epoch: &'a Epoch,
        /// How long it took.
        time: &'a EpochTime,
        /// The metrics that are better than after all epochs before.
        best: &'a [Metric],
    },
    /// No epoch follows; the checkpoints are exported and tested next.
    Trained,
}

/// How much a run trains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Extent {
    /// Number of epochs of the whole run.
    pub epochs: usize,
    /// Number of batches of an epoch.
    pub batches: usize,
    /// The k of the top-k accuracy.
    pub k: usize,
    /// Whether epochs have further validation results: other k, or those of the raw weights.
    pub has_further_results: bool,
}

/// How far an epoch is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BatchProgress {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Number of its batches that were trained on.
    pub batch: usize,
    /// Images of all ranks per second since it began.
    pub images_per_second: f64,
    /// Mean loss, and top-1 and top-k accuracy from 0 to 1, on its training images when they were last read, if they
    /// were: reading them waits for the device.
    pub means: Option<[f64; 3]>,
}

/// Follows a run. Of several ranks, only rank 0 has something to tell.
///
/// Any closure that takes an event is an observer.
pub trait Observer {
    /// Called for each event, by the thread that trains. With [`ControlFlow::Break`], the run finishes its current step,
    /// saves its state and ends; it can be resumed.
    fn observe(&mut self, event: &TrainingEvent<'_>) -> ControlFlow<()>;
}

impl<F: FnMut(&TrainingEvent<'_>) -> ControlFlow<()>> Observer for F {
    fn observe(&mut self, event: &TrainingEvent<'_>) -> ControlFlow<()> {
        self(event)
    }
}

/// The observer of a run, and how it is stopped.
pub(crate) struct Followers<'a> {
    /// `None` on ranks that tell nothing.
    observer: Option<&'a mut dyn Observer>,
    stop: &'a AtomicBool,
}

impl<'a> Followers<'a> {
    pub(crate) fn new(observer: Option<&'a mut dyn Observer>, stop: &'a AtomicBool) -> Self {
        Self { observer, stop }
    }

    /// The same followers, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Followers<'_> {
        Followers {
            observer: match &mut self.observer {
                Some(observer) => Some(&mut **observer),
                None => None,
            },
            stop: self.stop,
        }
    }

    pub(crate) fn stop(&self) -> &'a AtomicBool {
        self.stop
    }

    pub(crate) fn tell(&mut self, event: &TrainingEvent<'_>) {
        if let Some(observer) = &mut self.observer
            && observer.observe(event).is_break()
        {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Tells a line for people.
    pub(crate) fn line(&mut self, line: &str) {
        self.tell(&TrainingEvent::Message(line));
    }
}
