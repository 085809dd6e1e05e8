//! Another rank than the first while it evaluates: it watches rank 0.

use std::collections::HashSet;
use std::io;
use std::time::Instant;

use super::error::RanksError;
use super::folder::{End, Kind, Sign};
use super::watch::{FirstSigns, Watch, leaders};

/// The thread of another rank.
pub(super) struct Member<'a> {
    watch: &'a Watch,
    /// Signs of a rank 0 when they were first seen.
    first: FirstSigns,
    /// The last sign of rank 0, and when it changed.
    leader: Option<Sign>,
    changed: Instant,
}

impl<'a> Member<'a> {
    pub(super) fn new(watch: &'a Watch) -> Self {
        Self {
            watch,
            first: FirstSigns::new(),
            leader: None,
            changed: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        let mut beat = 0;
        loop {
            beat += 1;
            let run = self.watch.lock().run.clone();
            let ended = match &run {
                None => self.find().map(|()| None),
                Some(run) => self.step(run, beat),
            };
            let ended = match ended {
                Ok(ended) => ended,
                Err(error) => Some(Err(error)),
            };
            if let Some(how) = ended {
                if let Some(run) = &run {
                    self.watch.folder.sign_out(run, self.watch.rank);
                }
                self.watch.end(how);
                return;
            }
            if !self.watch.pause() {
                if let Some(run) = &run {
                    self.watch.folder.sign_out(run, self.watch.rank);
                }
                return;
            }
        }
    }

    /// Looks for a rank 0 that lives: its sign changes.
    fn find(&mut self) -> Result<(), RanksError> {
        let Watch { folder, rank, .. } = self.watch;
        let leaders = match leaders(folder) {
            Ok(leaders) => leaders,
            // Rank 0 creates it, and a file system of the network may be away for a moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => FirstSigns::new(),
            Err(_) if self.changed.elapsed() <= self.watch.timeout => return Ok(()),
            Err(error) => return Err(folder.error(&error)),
        };
        let mut living = HashSet::new();
        for (run, sign) in leaders {
            let first = self
                .first
                .entry(run.clone())
                .or_insert_with(|| sign.clone());
            if *first != sign {
                living.insert(run);
            }
        }
        if living.len() > 1 {
            return Err(self.watch.occupied());
        }
        let Some(run) = living.into_iter().next() else {
            return match self.changed.elapsed() > self.watch.timeout {
                true => Err(self.watch.missing(&[0])),
                false => Ok(()),
            };
        };
        if folder.file(&run, *rank, Kind::Alive).exists() {
            return Err(RanksError::TwoProcesses { rank: *rank });
        }
        // Before any other file, so that rank 0 knows that somebody has to read how the run ends.
        let first = self.watch.sign(0);
        let signed = folder.sign(&run, *rank, &first);
        signed.map_err(|error| folder.error(&error))?;
        self.changed = Instant::now();
        self.watch.update(|state| state.run = Some(run));
        Ok(())
    }

    /// Gives a sign of life, and returns how the run ended, if it has.
    fn step(&mut self, run: &str, beat: u64) -> Result<Option<Result<(), RanksError>>, RanksError> {
        let Watch { folder, rank, .. } = self.watch;
        if let Some(End { error }) = folder.read_end(run) {
            return Ok(Some(match error {
                None => Ok(()),
                Some(message) => Err(RanksError::Ended { message }),
            }));
        }
        match folder.sign(run, *rank, &self.watch.sign(beat)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RanksError::Removed {
                    folder: folder.path.clone(),
                    rank: *rank,
                });
            }
            // A file system of the network may be away for a moment.
            Err(_) if self.changed.elapsed() <= self.watch.timeout => return Ok(None),
            Err(error) => return Err(folder.error(&error)),
        }
        let found = leaders(folder)
            .ok()
            .and_then(|mut leaders| leaders.remove(run));
        if found.is_some() && found != self.leader {
            self.leader = found;
            self.changed = Instant::now();
        }
        match self.changed.elapsed() > self.watch.timeout {
            true => Err(self.watch.silent(0)),
            false => Ok(None),
        }
    }
}
