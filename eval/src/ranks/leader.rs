//! Rank 0 while it evaluates: it watches the others.

use std::io;
use std::path::Path;
use std::time::Instant;

use topk_results::{MergeError, Results};

use super::error::RanksError;
use super::folder::{End, Kind, Sign};
use super::watch::{FirstSigns, Watch, leaders};

/// The thread of rank 0.
pub(super) struct Leader<'a> {
    watch: &'a Watch,
    run: String,
    start: Instant,
    /// When the folder could be used last.
    reached: Instant,
    /// Signs of a rank 0 that were there before this process.
    earlier: FirstSigns,
}

impl<'a> Leader<'a> {
    pub(super) fn new(watch: &'a Watch) -> Self {
        Self {
            watch,
            run: watch.process.clone(),
            start: Instant::now(),
            reached: Instant::now(),
            earlier: leaders(&watch.folder).unwrap_or_default(),
        }
    }

    pub(super) fn run(mut self) {
        let mut beat = 0;
        loop {
            beat += 1;
            // After the run has ended with an error, the others still have to read it.
            if let Err(error) = self.step(beat)
                && self.watch.lock().ended.is_none()
            {
                let end = End {
                    error: Some(error.to_string()),
                };
                self.watch.end(Err(error));
                // Without it the others end after the time-out.
                let _ = self.watch.folder.write_end(&self.run, &end);
            }
            self.watch.changed.notify_all();
            if !self.watch.pause() {
                return;
            }
        }
    }

    /// Gives a sign of life.
    fn sign(&self, beat: u64) -> io::Result<()> {
        let Watch { folder, .. } = self.watch;
        let sign = self.watch.sign(beat);
        folder.sign(&self.run, 0, &sign).or_else(|_| {
            // The rank 0 of an earlier run may have removed the folder.
            folder.create()?;
            folder.sign(&self.run, 0, &sign)
        })
    }

    fn step(&mut self, beat: u64) -> Result<(), RanksError> {
        let Watch { folder, .. } = self.watch;
        let now = Instant::now();
        let signs = match self.sign(beat).and_then(|()| folder.signs()) {
            Ok(signs) => signs,
            // A file system of the network may be away for a moment.
            Err(_) if now - self.reached <= self.watch.timeout => return Ok(()),
            Err(error) => return Err(folder.error(&error)),
        };
        self.reached = now;
        for (rank, run, sign) in signs {
            if run == self.run && rank > 0 {
                self.see(rank, sign, now)?;
            } else if rank == 0 && self.earlier.get(&run).is_some_and(|first| *first != sign) {
                return Err(self.watch.occupied());
            }
        }
        for rank in 1..self.watch.world_size {
            self.check(rank)?;
        }
        self.check_time(now)
    }

    /// Takes note of a sign of life.
    fn see(&self, rank: usize, sign: Sign, now: Instant) -> Result<(), RanksError> {
        let expected = self.watch.world_size;
        if sign.world_size != expected || rank >= expected {
            return Err(RanksError::WorldSize {
                rank,
                found: sign.world_size,
                expected,
            });
        }
        let mut state = self.watch.lock();
        let peer = &mut state.peers[rank];
        if peer
            .sign
            .as_ref()
            .is_some_and(|before| before.process != sign.process)
        {
            return Err(RanksError::TwoProcesses { rank });
        }
        if peer.sign.as_ref() != Some(&sign) {
            peer.sign = Some(sign);
            peer.changed = Some(now);
        }
        Ok(())
    }

    /// Looks for the error and the results of a rank.
    fn check(&self, rank: usize) -> Result<(), RanksError> {
        let Watch { folder, .. } = self.watch;
        if let Some(message) = folder.failure(&self.run, rank) {
            self.watch.update(|state| state.peers[rank].lost = true);
            return Err(RanksError::Failed { rank, message });
        }
        let identity = {
            let state = self.watch.lock();
            let unchecked = !state.peers[rank].checked;
            state.identity.clone().filter(|_| unchecked)
        };
        let first = folder.file(&self.run, rank, Kind::Partial);
        if let Some(identity) = identity
            && first.exists()
        {
            check_same(&identity, &read(&first, rank)?, rank)?;
            self.watch.update(|state| state.peers[rank].checked = true);
        }
        self.check_plan(rank)?;
        if folder.file(&self.run, rank, Kind::Results).exists() {
            self.watch
                .update(|state| state.peers[rank].delivered = true);
        }
        Ok(())
    }

    /// Compares the images that are left to evaluate, once the data are known to be the same.
    fn check_plan(&self, rank: usize) -> Result<(), RanksError> {
        let state = self.watch.lock();
        let peer = &state.peers[rank];
        let plan = peer.sign.as_ref().and_then(|sign| sign.plan.as_ref());
        match plan.is_some_and(|plan| peer.checked && state.plan.as_ref() != Some(plan)) {
            true => Err(RanksError::Resumed { rank }),
            false => Ok(()),
        }
    }

    fn check_time(&self, now: Instant) -> Result<(), RanksError> {
        let mut state = self.watch.lock();
        let late = |since: Instant| now.saturating_duration_since(since) > self.watch.timeout;
        let ranks = 1..self.watch.world_size;
        let missing = ranks
            .clone()
            .filter(|&rank| state.peers[rank].sign.is_none());
        let missing: Vec<usize> = missing.collect();
        if !missing.is_empty() && late(self.start) {
            return Err(self.watch.missing(&missing));
        }
        for rank in ranks {
            let peer = &mut state.peers[rank];
            // The results of a rank that has ended since are as good.
            let needed = !peer.lost && !peer.delivered;
            if peer.changed.is_some_and(late) && needed {
                peer.lost = true;
                return Err(self.watch.silent(rank));
            }
        }
        Ok(())
    }
}

/// Reads the results of a rank.
pub(super) fn read(path: &Path, rank: usize) -> Result<Results, RanksError> {
    Results::read(path).map_err(|error| RanksError::Part {
        rank,
        reason: error.to_string(),
    })
}

/// Checks that the results of a rank belong to the run.
pub(super) fn check_same(own: &Results, part: &Results, rank: usize) -> Result<(), RanksError> {
    let different = |what: String, expected: String, found: String| RanksError::Different {
        rank,
        what,
        expected,
        found,
    };
    if own.topk_eval != part.topk_eval {
        let what = "topk_eval".to_owned();
        return Err(different(
            what,
            own.topk_eval.clone(),
            part.topk_eval.clone(),
        ));
    }
    match own.check_same_run(part) {
        Ok(_) => Ok(()),
        Err(MergeError::Different {
            what,
            expected,
            found,
            ..
        }) => Err(different(what, expected, found)),
        Err(error) => Err(RanksError::Part {
            rank,
            reason: error.to_string(),
        }),
    }
}
