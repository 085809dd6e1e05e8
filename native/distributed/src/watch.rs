//! Which rank is at fault when an operation fails: all ranks answer through the store, from a thread of their own, so that
//! they answer even while the main thread waits in an operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tch::TchError;

use crate::error::{DistributedError, message};
use crate::store::Store;

/// What went wrong first: who noticed it, in which operation, and libtorch's message; or a rank's own report.
const FAILURE: &str = "failure";
/// What all ranks report about it.
const DIAGNOSIS: &str = "diagnosis";
/// The number of ranks that have read the diagnosis.
const HEARD: &str = "heard";
/// How often to look for a failure.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often to look for answers once there is one.
const ANSWER_INTERVAL: Duration = Duration::from_millis(50);

/// What one rank knows when its operation fails, or why it stops.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// An operation failed, perhaps because of another rank.
    Operation { operation: String, reason: String },
    /// This rank fails for a reason of its own.
    Own { reason: String },
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    ended: bool,
    report: Option<Report>,
    diagnosis: Option<DistributedError>,
    /// All ranks that answered have the diagnosis too.
    heard: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// What the thread knows about its group.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    /// Whether this process hosts the store.
    pub(crate) is_server: bool,
    /// `host:port` of the store.
    pub(crate) address: String,
    /// Who hosts it.
    pub(crate) store_host: &'static str,
    /// How long a diagnosis may take; other ranks have half of it to answer.
    pub(crate) grace: Duration,
}

/// The thread that watches for failures.
#[derive(Debug)]
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    setting: Setting,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.update(|state| state.stop = true);
        // Otherwise the process might end while the thread is in libtorch. A thread that waits for a store that does
        // not answer is left behind.
        let state = self.shared.lock();
        let limit = Duration::from_secs(1);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, limit, |state| !state.ended);
        drop(waited);
    }
}

impl Watcher {
    /// Starts it. `operations` is the number of operations that this rank has started.
    pub(crate) fn start(store: Store, setting: Setting, operations: Arc<AtomicU64>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut duty = Duty {
            shared: Arc::clone(&shared),
            store,
            setting: setting.clone(),
            operations,
        };
        thread::spawn(move || duty.run());
        Self { shared, setting }
    }

    /// What is known about a failure, without waiting.
    pub(crate) fn diagnosis(&self) -> Option<DistributedError> {
        self.shared.lock().diagnosis.clone()
    }

    /// Tells all ranks what went wrong here, and waits until they have answered.
    pub(crate) fn diagnose(&self, report: &Report) -> DistributedError {
        self.shared.update(|state| {
            state.report.get_or_insert_with(|| report.clone());
        });
        let state = self.shared.lock();
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, self.setting.grace, |state| state.diagnosis.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let lost = || self.setting.store_lost(report, "no answer");
        let diagnosis = state.diagnosis.get_or_insert_with(lost).clone();
        // The store must outlive the diagnosis.
        if self.setting.is_server {
            let waited =
                self.shared
                    .changed
                    .wait_timeout_while(state, self.setting.grace, |state| {
                        !state.heard && !state.ended
                    });
            drop(waited);
        }
        diagnosis
    }
}

impl Setting {
    fn store_lost(&self, report: &Report, reason: &str) -> DistributedError {
        let (operation, reason) = match report {
            Report::Operation { operation, reason } => (operation.clone(), reason.clone()),
            Report::Own { .. } => ("a report".to_owned(), reason.to_owned()),
        };
        DistributedError::StoreLost {
            address: self.address.clone(),
            host: self.store_host,
            operation,
            rank: self.rank,
            reason,
        }
    }
}

/// The work of the thread.
struct Duty {
    shared: Arc<Shared>,
    store: Store,
    setting: Setting,
    operations: Arc<AtomicU64>,
}

impl Duty {
    fn run(&mut self) {
        if let Err(error) = self.watch() {
            let mut state = self.shared.lock();
            if state.diagnosis.is_none() && !state.stop {
                let report = state.report.take().unwrap_or(Report::Operation {
                    operation: "watching".to_owned(),
                    reason: message(&error),
                });
                state.diagnosis = Some(self.setting.store_lost(&report, &message(&error)));
            }
        }
        self.shared.update(|state| state.ended = true);
    }

    /// Until a failure is diagnosed, or the group ends.
    fn watch(&self) -> Result<(), TchError> {
        // Many ranks look less often, so that the store has time for other things.
        let interval = INTERVAL.max(Duration::from_millis(self.setting.world_size as u64));
        loop {
            let report = {
                let state = self.shared.lock();
                let (state, _) = self
                    .shared
                    .changed
                    .wait_timeout_while(state, interval, |state| {
                        !state.stop && state.report.is_none()
                    })
                    .unwrap_or_else(PoisonError::into_inner);
                if state.stop {
                    return Ok(());
                }
                state.report.clone()
            };
            if let Some(report) = &report {
                self.store
                    .set_first(FAILURE, self.encode(report).as_bytes())?;
            }
            if let Some(failure) = self.store.text(FAILURE)? {
                return self.settle(&failure);
            }
        }
    }

    fn encode(&self, report: &Report) -> String {
        let rank = self.setting.rank;
        match report {
            Report::Operation { operation, reason } => {
                let started = self.operations.load(Ordering::Relaxed);
                format!("operation\n{rank}\n{started}\n{operation}\n{reason}")
            }
            Report::Own { reason } => format!("own\n{rank}\n{reason}"),
        }
    }

    /// Answers, and waits for the diagnosis; ranks whose operation failed make it from the answers.
    fn settle(&self, failure: &str) -> Result<(), TchError> {
        let started = self.operations.load(Ordering::Relaxed);
        self.store.set(
            &answer_key(self.setting.rank),
            started.to_string().as_bytes(),
        )?;
        let begin = Instant::now();
        let mut answers = vec![None; self.setting.world_size];
        let text = loop {
            if let Some(text) = self.store.text(DIAGNOSIS)? {
                break text;
            }
            for (rank, answer) in answers.iter_mut().enumerate() {
                if answer.is_none() {
                    *answer = self.store.text(&answer_key(rank))?;
                }
            }
            let complete = answers.iter().all(Option::is_some);
            if complete || failure.starts_with("own\n") || begin.elapsed() > self.setting.grace / 2
            {
                let finding = self.find(&answers);
                self.store.set_first(DIAGNOSIS, finding.as_bytes())?;
            } else {
                thread::sleep(ANSWER_INTERVAL);
            }
        };
        let diagnosis = decode(failure, &text);
        self.shared
            .update(|state| state.diagnosis = Some(diagnosis));
        self.store.add(HEARD, 1)?;
        if self.setting.is_server {
            self.wait_until_heard(begin)?;
        }
        Ok(())
    }

    /// `silent`, or `behind`, and the ranks.
    fn find(&self, answers: &[Option<String>]) -> String {
        let silent: Vec<usize> = (0..answers.len())
            .filter(|&rank| answers[rank].is_none())
            .collect();
        if !silent.is_empty() {
            return format!("silent\n{}", list(&silent));
        }
        let started: Vec<u64> = answers
            .iter()
            .map(|answer| {
                answer
                    .as_deref()
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(0)
            })
            .collect();
        let most = started.iter().copied().max().unwrap_or(0);
        let behind: Vec<usize> = (0..started.len())
            .filter(|&rank| started[rank] < most)
            .collect();
        format!("behind\n{}\n{most}", list(&behind))
    }

    fn wait_until_heard(&self, begin: Instant) -> Result<(), TchError> {
        loop {
            let answered = (0..self.setting.world_size)
                .map(|rank| self.store.has(&answer_key(rank)))
                .collect::<Result<Vec<_>, _>>()?;
            let answered = answered.into_iter().filter(|&answered| answered).count();
            if self.store.add(HEARD, 0)? >= answered as i64 {
                self.shared.update(|state| state.heard = true);
                return Ok(());
            }
            if begin.elapsed() > self.setting.grace {
                return Ok(());
            }
            thread::sleep(ANSWER_INTERVAL);
        }
    }
}

fn answer_key(rank: usize) -> String {
    format!("answer/{rank}")
}

fn list(ranks: &[usize]) -> String {
    let names: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// The error that all ranks report.
fn decode(failure: &str, diagnosis: &str) -> DistributedError {
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
    if let Some(own) = failure.strip_prefix("own\n") {
        let (rank, reason) = own.split_once('\n').unwrap_or((own, ""));
        return DistributedError::Failed {
            rank: number(Some(rank)),
            reason: reason.to_owned(),
        };
    }
    let mut fields = failure.splitn(5, '\n').skip(1);
    let rank = number(fields.next());
    let _started = fields.next();
    let operation = fields.next().unwrap_or_default();
    let reason = fields.next().unwrap_or_default().to_owned();
    let mut finding = diagnosis.split('\n');
    let kind = finding.next();
    let ranks: Vec<usize> = finding
        .next()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|rank| rank.parse().ok())
        .collect();
    if kind == Some("silent") {
        return DistributedError::Silent {
            silent: ranks,
            operation: operation.to_owned(),
            rank,
            reason,
        };
    }
    if ranks.is_empty() {
        return DistributedError::Failed {
            rank,
            reason: format!("{operation}: {reason}"),
        };
    }
    DistributedError::Behind {
        behind: ranks,
        expected: finding
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        rank,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_decoded() {
        let failure = "operation\n2\n17\nall-reduce\nConnection reset\nby peer";
        assert_eq!(
            decode(failure, "silent\n1 3"),
            DistributedError::Silent {
                silent: vec![1, 3],
                operation: "all-reduce".to_owned(),
                rank: 2,
                reason: "Connection reset\nby peer".to_owned(),
            }
        );
        assert_eq!(
            decode(failure, "behind\n0\n18"),
            DistributedError::Behind {
                behind: vec![0],
                expected: 18,
                rank: 2,
                reason: "Connection reset\nby peer".to_owned(),
            }
        );
        assert_eq!(
            decode("own\n1\ndisk full", "silent\n"),
            DistributedError::Failed {
                rank: 1,
                reason: "disk full".to_owned(),
            }
        );
    }
}
