//! What a rank does beside its evaluation: it gives signs of life, and watches those of the others.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use topk_results::Results;

use super::error::RanksError;
use super::folder::{Folder, Sign};
use super::leader::Leader;
use super::member::Member;

/// The longest and the shortest time between two signs of life.
const INTERVAL: Duration = Duration::from_millis(250);
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// What a rank knows about the run, shared by the evaluation and the thread that watches.
#[derive(Default)]
pub(super) struct State {
    /// The identifier of the run: of rank 0 from the start, of others once they have found it.
    pub(super) run: Option<String>,
    /// Number of images that this rank has evaluated.
    pub(super) images: usize,
    /// Hash of the indices that all ranks together evaluate.
    pub(super) plan: Option<String>,
    /// Of rank 0, its results without images, which those of the others have to fit.
    pub(super) identity: Option<Results>,
    /// Ends the evaluation.
    pub(super) stop: Option<Arc<AtomicBool>>,
    /// Of rank 0, what it has seen of each rank.
    pub(super) peers: Vec<Peer>,
    /// How the run ended. Rank 0 sets it on an error only.
    pub(super) ended: Option<Result<(), RanksError>>,
    /// The thread has to end.
    pub(super) closing: bool,
}

/// What rank 0 has seen of a rank.
#[derive(Clone, Default)]
pub(super) struct Peer {
    pub(super) sign: Option<Sign>,
    /// When it changed.
    pub(super) changed: Option<Instant>,
    /// Whether it belongs to the run.
    pub(super) checked: bool,
    /// Whether its results are there.
    pub(super) delivered: bool,
    /// Whether it has reported an error, or is silent.
    pub(super) lost: bool,
}

impl Peer {
    /// The time since its last sign of life, if rank 0 has seen one.
    pub(super) fn age(&self) -> Option<Duration> {
        self.changed.map(|changed| changed.elapsed())
    }
}

/// One rank, as its evaluation and the thread that watches see it.
pub(super) struct Watch {
    pub(super) folder: Folder,
    pub(super) rank: usize,
    pub(super) world_size: usize,
    pub(super) timeout: Duration,
    /// Distinguishes this process from another with its rank.
    pub(super) process: String,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

impl Watch {
    pub(super) fn new(folder: Folder, rank: usize, world_size: usize, timeout: Duration) -> Self {
        // The keys of this hash are random.
        let process = format!("{:016x}", RandomState::new().build_hasher().finish());
        let state = State {
            run: (rank == 0).then(|| process.clone()),
            peers: vec![Peer::default(); world_size],
            ..State::default()
        };
        Self {
            folder,
            rank,
            world_size,
            timeout,
            process,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the state, or for a time between two signs of life.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, self.interval());
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn interval(&self) -> Duration {
        (self.timeout / 8).clamp(MIN_INTERVAL, INTERVAL)
    }

    /// Changes the state, and wakes those who wait for it.
    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Ends the run for this rank, unless it has ended.
    pub(super) fn end(&self, how: Result<(), RanksError>) {
        self.update(|state| {
            if how.is_err()
                && let Some(stop) = &state.stop
            {
                stop.store(true, Ordering::Relaxed);
            }
            state.ended.get_or_insert(how);
        });
    }

    /// The time-out in seconds, for messages.
    fn seconds(&self) -> String {
        self.timeout.as_secs_f64().to_string()
    }

    pub(super) fn silent(&self, rank: usize) -> RanksError {
        RanksError::Silent {
            rank,
            folder: self.folder.path.clone(),
            seconds: self.seconds(),
        }
    }

    pub(super) fn missing(&self, ranks: &[usize]) -> RanksError {
        RanksError::Missing {
            ranks: names(ranks),
            folder: self.folder.path.clone(),
            seconds: self.seconds(),
        }
    }

    pub(super) fn occupied(&self) -> RanksError {
        RanksError::Occupied {
            folder: self.folder.path.clone(),
        }
    }

    /// The next sign of life of this rank.
    pub(super) fn sign(&self, beat: u64) -> Sign {
        let state = self.lock();
        Sign {
            beat,
            process: self.process.clone(),
            world_size: self.world_size,
            images: state.images,
            plan: state.plan.clone(),
        }
    }

    /// Runs until [`State::closing`], for rank 0, or until the run ends, for the others.
    pub(super) fn run(&self) {
        match self.rank {
            0 => Leader::new(self).run(),
            _ => Member::new(self).run(),
        }
    }

    /// Waits for the next sign; false if the thread has to end.
    pub(super) fn pause(&self) -> bool {
        let state = self.lock();
        let waiting = |state: &mut State| !state.closing;
        let waited = self
            .changed
            .wait_timeout_while(state, self.interval(), waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }
}

/// `rank 1`, or `ranks 1, 2 and 3`.
pub(crate) fn names(ranks: &[usize]) -> String {
    let texts: Vec<String> = ranks.iter().map(usize::to_string).collect();
    match &texts[..] {
        [] => "no rank".to_owned(),
        [rank] => format!("rank {rank}"),
        [others @ .., last] => format!("ranks {} and {last}", others.join(", ")),
    }
}

/// Signs of life when they were first seen, by run.
pub(super) type FirstSigns = HashMap<String, Sign>;

/// The signs of life of every rank 0 in a folder, by run.
pub(super) fn leaders(folder: &Folder) -> io::Result<FirstSigns> {
    let signs = folder.signs()?.into_iter();
    let leaders = signs.filter(|(rank, ..)| *rank == 0);
    Ok(leaders.map(|(_, run, sign)| (run, sign)).collect())
}
