//! Several processes that evaluate parts of the data, and leave files for rank 0, which merges them.
//!
//! They meet in a [`Folder`]. Rank 0 draws an identifier of the run and writes a sign of life again and again; the others
//! take the identifier from a sign that changes, so that an earlier run, which is dead, is never mistaken for it. All
//! their files carry it. Rank 0 ends when a rank gives no sign of life or leaves an error, and the others end with it.

mod error;
mod folder;
mod leader;
mod logits;
mod member;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use topk_cli::launch::Launch;
use topk_files::Hasher;
use topk_results::{Results, Shard};

pub use self::error::RanksError;
use self::folder::{End, Folder, Kind};
use self::leader::{check_same, read};
use self::watch::Watch;
pub(crate) use self::watch::names;

/// How long rank 0 waits for the others to have read how the run ended, and an interrupted rank 0 for their results.
const PATIENCE: Duration = Duration::from_secs(10);

/// The age of a sign of life from which on it does not wait that long for a rank.
const SILENCE: Duration = Duration::from_secs(8);

/// What another rank has evaluated.
#[derive(Debug)]
pub(crate) struct Part {
    rank: usize,
    pub(crate) results: Results,
}

/// This process as one of several ranks.
pub(crate) struct Ranks {
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
}

impl Ranks {
    /// Starts to give signs of life, in `rendezvous`, beside `output` or in a temporary folder. A rank that gives none
    /// for `timeout` is taken for dead.
    ///
    /// # Errors
    /// If the ranks do not share a folder, or it cannot be created.
    pub(crate) fn join(
        launch: &Launch,
        rendezvous: Option<&Path>,
        output: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, RanksError> {
        let folder = Folder::of(launch, rendezvous, output)?;
        folder.create().map_err(|error| folder.error(&error))?;
        let watch = Watch::new(folder, launch.rank, launch.world_size, timeout);
        let watch = Arc::new(watch);
        let watching = Arc::clone(&watch);
        Ok(Self {
            watch,
            thread: Some(thread::spawn(move || watching.run())),
        })
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.watch.rank == 0
    }

    /// The part of this rank.
    fn shard(&self) -> Shard {
        Shard {
            index: self.watch.rank + 1,
            count: self.watch.world_size,
        }
    }

    /// The part of this rank of the images to evaluate.
    pub(crate) fn part<'i>(&self, indices: &'i [usize]) -> &'i [usize] {
        &indices[self.shard().indices(indices.len())]
    }

    /// What rank 0 tells the user.
    pub(crate) fn description(&self, indices: &[usize]) -> String {
        format!(
            "{0} ranks, each with 1/{0} of {1} images; rank 0 gathers their results in {2}",
            self.watch.world_size,
            indices.len(),
            self.watch.folder.path.display()
        )
    }

    /// Tells the others what this rank evaluates: its results without images, and the indices of all ranks.
    ///
    /// # Errors
    /// If the run has ended.
    pub(crate) fn announce(&self, identity: Results, indices: &[usize]) -> Result<(), RanksError> {
        let mut plan = Hasher::default();
        for index in indices {
            plan.update((*index as u64).to_le_bytes());
        }
        let plan = plan.finish();
        if !self.is_leader() {
            self.write(Kind::Partial, identity.to_json().as_bytes())?;
        }
        self.watch.update(|state| {
            state.identity = Some(identity);
            state.plan = Some(plan);
        });
        self.check()
    }

    /// Sets this flag when the run ends, to stop the evaluation.
    pub(crate) fn stop_with(&self, stop: &Arc<AtomicBool>) {
        self.watch.update(|state| {
            // It may just have ended.
            if let Some(Err(_)) = &state.ended {
                stop.store(true, Ordering::Relaxed);
            }
            state.stop = Some(Arc::clone(stop));
        });
    }

    /// Fails if the run has ended.
    ///
    /// # Errors
    /// Why it has.
    pub(crate) fn check(&self) -> Result<(), RanksError> {
        match &self.watch.lock().ended {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Tells how many images this rank has evaluated, and returns how many all have.
    pub(crate) fn progress(&self, images: usize) -> usize {
        let mut state = self.watch.lock();
        state.images = images;
        let others = state.peers.iter().filter_map(|peer| peer.sign.as_ref());
        images + others.map(|sign| sign.images).sum::<usize>()
    }

    /// Leaves the results so far for rank 0.
    ///
    /// # Errors
    /// If they cannot be written, or the run has ended.
    pub(crate) fn save(&self, results: &Results) -> Result<(), RanksError> {
        self.write(Kind::Partial, results.to_json().as_bytes())
    }

    /// Leaves the results of this rank for rank 0, and waits until it has merged them.
    ///
    /// # Errors
    /// If they cannot be written, or the run ends with an error.
    pub(crate) fn deliver(&self, results: &Results) -> Result<(), RanksError> {
        self.write(Kind::Results, results.to_json().as_bytes())?;
        let mut state = self.watch.lock();
        loop {
            match &state.ended {
                Some(how) => return how.clone(),
                None => state = self.watch.wait(state),
            }
        }
    }

    /// Writes a file of this rank, once the run is known; nothing if rank 0, which was interrupted, has merged what
    /// there was.
    fn write(&self, kind: Kind, bytes: &[u8]) -> Result<(), RanksError> {
        let mut state = self.watch.lock();
        let run = loop {
            match (&state.ended, &state.run) {
                (Some(how), _) => return how.clone(),
                (None, Some(run)) => break run.clone(),
                (None, None) => state = self.watch.wait(state),
            }
        };
        drop(state);
        let folder = &self.watch.folder;
        let written = folder.write(&run, self.watch.rank, kind, bytes);
        written.map_err(|error| folder.error(&error))
    }

    /// Of rank 0: waits for the results of all other ranks, and returns them. Calls `waiting` with the ranks that it
    /// waits for, again and again. If the run was `interrupted`, others contribute what they have after a while.
    ///
    /// # Errors
    /// If a rank fails or is silent, or does not belong to the run.
    pub(crate) fn gather(
        &self,
        interrupted: impl Fn() -> bool,
        mut waiting: impl FnMut(&[usize], usize),
    ) -> Result<Vec<Part>, RanksError> {
        let mut since = None;
        let mut state = self.watch.lock();
        loop {
            if let Some(Err(error)) = &state.ended {
                return Err(error.clone());
            }
            let ranks = 1..self.watch.world_size;
            let left: Vec<usize> = ranks.filter(|&rank| !state.peers[rank].delivered).collect();
            if left.is_empty() {
                break;
            }
            if interrupted() {
                let alive =
                    |rank: &usize| state.peers[*rank].age().is_some_and(|age| age < SILENCE);
                let waited = since.get_or_insert_with(Instant::now).elapsed();
                if waited > PATIENCE || !left.iter().any(alive) {
                    break;
                }
            }
            let own = state.images;
            drop(state);
            waiting(&left, self.progress(own));
            state = self.watch.wait(self.watch.lock());
        }
        drop(state);
        self.parts()
    }

    /// Of rank 0: what the others have evaluated so far, if all of them belong to the run.
    pub(crate) fn partial(&self) -> Option<Vec<Part>> {
        let state = self.watch.lock();
        let joined = state.peers[1..].iter().all(|peer| peer.checked);
        drop(state);
        joined.then(|| self.parts().ok()).flatten()
    }

    /// The results of the others, or what they have left of them.
    fn parts(&self) -> Result<Vec<Part>, RanksError> {
        let (identity, run) = {
            let state = self.watch.lock();
            (
                state.identity.clone(),
                state.run.clone().unwrap_or_default(),
            )
        };
        let mut parts = Vec::new();
        for rank in 1..self.watch.world_size {
            let paths = [Kind::Results, Kind::Partial];
            let mut paths = paths
                .map(|kind| self.watch.folder.file(&run, rank, kind))
                .into_iter();
            let Some(path) = paths.find(|path| path.exists()) else {
                continue;
            };
            let results = read(&path, rank)?;
            if let Some(identity) = &identity {
                check_same(identity, &results, rank)?;
            }
            parts.push(Part { rank, results });
        }
        Ok(parts)
    }

    /// Ends the part of this rank, with its error if it has one. Rank 0 then waits until the others have read how the
    /// run ended, and removes the files; returns whether it removed those of an earlier run too.
    pub(crate) fn close(mut self, error: Option<&str>) -> bool {
        match self.is_leader() {
            true => self.close_leader(error),
            false => {
                self.close_member(error);
                false
            }
        }
    }

    fn close_leader(&mut self, error: Option<&str>) -> bool {
        let folder = self.watch.folder.clone();
        let (run, ended) = {
            let state = self.watch.lock();
            (state.run.clone().unwrap_or_default(), state.ended.clone())
        };
        if ended.is_none() {
            let end = End {
                error: error.map(str::to_owned),
            };
            let _ = folder.write_end(&run, &end);
            // What happens to the others from now on does not matter.
            self.watch.end(Ok(()));
        }
        // Signs of life continue, so that the others do not give up before.
        let start = Instant::now();
        let patience = PATIENCE.min(self.watch.timeout);
        // A rank that starts late would wait for a rank 0 that has left. These errors already say that others are absent.
        let late = match &ended {
            Some(Err(RanksError::Missing { .. } | RanksError::Occupied { .. })) => false,
            Some(Err(_)) => true,
            Some(Ok(())) | None => error.is_some(),
        };
        while start.elapsed() < patience && self.has_living(&run, late) {
            let state = self.watch.lock();
            drop(self.watch.wait(state));
        }
        self.end_thread();
        let alone = !matches!(ended, Some(Err(RanksError::Occupied { .. })));
        folder.clear(&run, alone)
    }

    /// Whether another rank has signed in, gives signs of life and has not signed out; with `late`, whether one has not
    /// signed in yet.
    fn has_living(&self, run: &str, late: bool) -> bool {
        let state = self.watch.lock();
        (1..self.watch.world_size).any(|rank| {
            let peer = &state.peers[rank];
            if peer.sign.is_none() {
                return late;
            }
            !peer.lost
                && peer.age().is_none_or(|age| age < SILENCE)
                && self.watch.folder.file(run, rank, Kind::Alive).exists()
        })
    }

    fn close_member(&mut self, error: Option<&str>) {
        let rank = self.watch.rank;
        let ended = self.watch.lock().ended.is_some();
        if let Some(error) = error.filter(|_| !ended) {
            // Rank 0 reads it, and removes it.
            let _ = self.write(Kind::Failed, error.as_bytes());
        }
        self.end_thread();
        let state = self.watch.lock();
        // Where rank 0 has ended without a word, nobody else removes the files.
        if let (Some(run), Some(Err(RanksError::Silent { .. }))) = (&state.run, &state.ended) {
            self.watch.folder.remove_rank(run, rank);
        }
    }

    fn end_thread(&mut self) {
        self.watch.update(|state| state.closing = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        self.end_thread();
    }
}

/// Rank 1 of 2, of which each machine has one.
#[cfg(test)]
pub(crate) fn example_launch() -> Launch {
    Launch {
        rank: 1,
        world_size: 2,
        local_rank: 0,
        local_world_size: Some(1),
        master_addr: "node-0".to_owned(),
        master_port: 29500,
        restart_count: 0,
        agent_store: false,
        run_id: None,
        error_file: None,
        spawned: false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn join(rank: usize, folder: &Path, timeout: Duration) -> Ranks {
        let launch = Launch {
            rank,
            local_rank: rank,
            local_world_size: Some(2),
            ..example_launch()
        };
        Ranks::join(&launch, Some(folder), None, timeout).unwrap()
    }

    #[test]
    fn a_rank_that_is_busy_for_long_is_alive() {
        let folder = tempfile::tempdir().unwrap();
        let timeout = Duration::from_secs(2);
        let [leader, member] = [0, 1].map(|rank| join(rank, folder.path(), timeout));
        // Both do something else than to look at the folder.
        thread::sleep(2 * timeout + timeout / 4);
        assert_eq!(leader.check(), Ok(()));
        assert_eq!(member.check(), Ok(()));
        assert!(!leader.close(None));
        let state = member.watch.lock();
        assert_eq!(state.ended, Some(Ok(())));
        drop(state);
        member.close(None);
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_rank_that_starts_after_the_end_hears_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let timeout = Duration::from_secs(8);
        let leader = join(0, folder.path(), timeout);
        let closing = thread::spawn(move || leader.close(Some("no such model")));
        thread::sleep(Duration::from_secs(1));
        let member = join(1, folder.path(), timeout);
        let mut state = member.watch.lock();
        while state.ended.is_none() {
            state = member.watch.wait(state);
        }
        let message = "no such model".to_owned();
        assert_eq!(state.ended, Some(Err(RanksError::Ended { message })));
        drop(state);
        member.close(None);
        assert!(!closing.join().unwrap());
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_rank_that_has_left_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let timeout = Duration::from_secs(1);
        let [leader, member] = [0, 1].map(|rank| join(rank, folder.path(), timeout));
        // Its thread ends without a word once it has signed in.
        let mut state = member.watch.lock();
        while state.run.is_none() {
            state = member.watch.wait(state);
        }
        drop(state);
        drop(member);
        let error = leader
            .gather(|| false, |left, _| assert_eq!(left, [1]))
            .unwrap_err();
        let gone = matches!(
            error,
            RanksError::Silent { rank: 1, .. } | RanksError::Missing { .. }
        );
        assert!(gone, "{error}");
    }
}
