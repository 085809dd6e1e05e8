use std::path::PathBuf;

use thiserror::Error;

/// Why the ranks of a run cannot evaluate together.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RanksError {
    /// The ranks have no folder in common.
    #[error(
        "the ranks may run on several machines, so their results need a folder that all of them see: pass \
         --rendezvous-dir DIR, or an output file in such a folder, such as --json"
    )]
    NoFolder,
    /// The folder cannot be used.
    #[error("cannot gather the results of the ranks in {folder}: {reason}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        reason: String,
    },
    /// Another run is using the folder.
    #[error(
        "another run gathers its results in {folder}, or two processes have RANK=0: give each run its own outputs or \
         --rendezvous-dir, and start each rank once"
    )]
    Occupied {
        /// The folder.
        folder: PathBuf,
    },
    /// Two processes have the same rank.
    #[error("two processes have RANK={rank}: start each rank once")]
    TwoProcesses {
        /// The rank.
        rank: usize,
    },
    /// Ranks have not appeared.
    #[error(
        "{ranks} did not sign in at {folder} within {seconds} s: check that each rank is running and sees this folder \
         (--rendezvous-dir), or wait longer with --dist-timeout"
    )]
    Missing {
        /// The ranks, such as `ranks 1 and 3`.
        ranks: String,
        /// The folder.
        folder: PathBuf,
        /// The time-out.
        seconds: String,
    },
    /// A rank has ended without a word, or does not run.
    #[error(
        "rank {rank} has given no sign of life in {folder} for {seconds} s: it was killed or stopped, or no longer \
         sees the folder. Start all ranks again, or wait longer with --dist-timeout"
    )]
    Silent {
        /// The rank.
        rank: usize,
        /// The folder.
        folder: PathBuf,
        /// The time-out.
        seconds: String,
    },
    /// The ranks do not agree on their number.
    #[error(
        "rank {rank} has WORLD_SIZE={found}, but rank 0 has {expected}: start all ranks with the same"
    )]
    WorldSize {
        /// The rank.
        rank: usize,
        /// Its number of ranks.
        found: usize,
        /// That of rank 0.
        expected: usize,
    },
    /// A rank has resumed from other results.
    #[error(
        "rank {rank} has other images left to evaluate than rank 0: with --resume, all ranks must read the same --json \
         file, and without it none"
    )]
    Resumed {
        /// The rank.
        rank: usize,
    },
    /// A rank evaluates something else.
    #[error(
        "rank {rank} does not belong to the run of rank 0: `{what}` is {found}, expected {expected}. Start all ranks \
         with the same program, models, data and settings"
    )]
    Different {
        /// The rank.
        rank: usize,
        /// What differs.
        what: String,
        /// Value of rank 0.
        expected: String,
        /// Value of the rank.
        found: String,
    },
    /// The results of a rank cannot be read.
    #[error("cannot take the results of rank {rank}: {reason}")]
    Part {
        /// The rank.
        rank: usize,
        /// The cause.
        reason: String,
    },
    /// A rank has reported an error.
    #[error("rank {rank} failed: {message}")]
    Failed {
        /// The rank.
        rank: usize,
        /// Its error.
        message: String,
    },
    /// Rank 0 has ended the run.
    #[error("rank 0 ended the run: {message}")]
    Ended {
        /// Its error.
        message: String,
    },
    /// The folder disappeared.
    #[error(
        "{folder} was removed while rank {rank} was using it: rank 0 has ended, or another program removed it. Start \
         all ranks again"
    )]
    Removed {
        /// The folder.
        folder: PathBuf,
        /// This rank.
        rank: usize,
    },
}
