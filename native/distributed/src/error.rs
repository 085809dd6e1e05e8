use std::fmt;
use std::time::Duration;

use tch::TchError;
use thiserror::Error;

/// Why ranks cannot join, or cannot continue together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DistributedError {
    /// Another process of this machine listens on the port.
    #[error(
        "port {port} is taken on this machine, so rank 0 cannot listen on it: set MASTER_PORT to another one \
         for all ranks"
    )]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The address does not answer, or what answers is not the store of a group.
    #[error(
        "rank {rank} cannot join the group at {address} within {}: {reason}. Check MASTER_ADDR and MASTER_PORT, \
         and whether the process that listens there has started",
        seconds(*timeout)
    )]
    Unreachable {
        /// This rank.
        rank: usize,
        /// `host:port`.
        address: String,
        /// How long it tried.
        timeout: Duration,
        /// libtorch's message.
        reason: String,
    },
    /// Some ranks did not start in time.
    #[error(
        "{} did not join the group at {address} within {}: {joined} of {world_size} ranks are there",
        ranks(missing),
        seconds(*timeout)
    )]
    Missing {
        /// The ranks that are missing.
        missing: Vec<usize>,
        /// How many joined.
        joined: usize,
        /// How many were expected.
        world_size: usize,
        /// `host:port`.
        address: String,
        /// How long this rank waited.
        timeout: Duration,
    },
    /// A rank does not fit the others. All ranks that wait get the same message.
    #[error("{0}")]
    Refused(String),
    /// No connection to the other ranks.
    #[error(
        "rank {rank} cannot connect to the other ranks: {reason}. If the machine has several network interfaces, \
         name the one to use in GLOO_SOCKET_IFNAME"
    )]
    Connect {
        /// This rank.
        rank: usize,
        /// libtorch's message.
        reason: String,
    },
    /// A collective operation failed. [`Group::diagnose`](crate::Group::diagnose) finds out which rank is at fault.
    #[error("{operation} failed on rank {rank}: {reason}")]
    Collective {
        /// What this rank did, such as `all-reduce`.
        operation: &'static str,
        /// This rank.
        rank: usize,
        /// libtorch's message.
        reason: String,
    },
    /// Ranks were killed, are stopped, or are cut off.
    #[error(
        "{} not respond any more, noticed by {operation} on rank {rank} ({reason})",
        ranks_do(silent)
    )]
    Silent {
        /// The ranks that do not respond.
        silent: Vec<usize>,
        /// What this rank did.
        operation: String,
        /// This rank, or the one that noticed it first.
        rank: usize,
        /// libtorch's message.
        reason: String,
    },
    /// The process that hosts the store is gone, so the other ranks cannot be asked.
    #[error(
        "the store at {address} does not respond any more; {host} hosts it. Noticed by {operation} on rank {rank} \
         ({reason})"
    )]
    StoreLost {
        /// `host:port`.
        address: String,
        /// `rank 0`, or the launcher.
        host: &'static str,
        /// What this rank did.
        operation: String,
        /// This rank.
        rank: usize,
        /// libtorch's message.
        reason: String,
    },
    /// A rank reported that it failed.
    #[error("rank {rank} failed: {reason}")]
    Failed {
        /// The rank.
        rank: usize,
        /// What it reported.
        reason: String,
    },
    /// All ranks respond, but some are behind.
    #[error(
        "{} still busy before operation {expected}, which rank {rank} waited for ({reason}): give ranks the same \
         amount of work, or allow more time",
        ranks_are(behind)
    )]
    Behind {
        /// The ranks that have started fewer operations.
        behind: Vec<usize>,
        /// How many operations the others have started.
        expected: u64,
        /// This rank, or the one that noticed it first.
        rank: usize,
        /// libtorch's message.
        reason: String,
    },
    /// Networks differ.
    #[error(
        "the parameter {parameter} is {here} on {}, but {reference} on rank 0: all ranks must train the same network",
        ranks(differing)
    )]
    Parameter {
        /// Its name.
        parameter: String,
        /// The ranks on which it differs from rank 0's.
        differing: Vec<usize>,
        /// What it is there (on the first of them).
        here: String,
        /// What it is on rank 0.
        reference: String,
    },
    /// Networks have different numbers of parameters.
    #[error(
        "the network has {here} parameters on {}, but {reference} on rank 0: all ranks must train the same network",
        ranks(differing)
    )]
    ParameterCount {
        /// The ranks on which the number differs from rank 0's.
        differing: Vec<usize>,
        /// The number there (on the first of them).
        here: usize,
        /// The number on rank 0.
        reference: usize,
    },
    /// The program was built where libtorch's CUDA part or CUDA's headers were missing.
    #[error(
        "cuda:{index} cannot be used with several ranks: this program was built without NCCL. Run `cargo xtask setup \
         --cuda` in the source folder, and build it again"
    )]
    NoNccl {
        /// The GPU's index.
        index: usize,
    },
    /// NCCL's part of the program cannot be loaded.
    #[error(
        "cuda:{index} cannot be used with several ranks: NCCL cannot be loaded: {reason}. Install libtorch's CUDA \
         part with `cargo xtask setup --cuda` in the source folder"
    )]
    LoadNccl {
        /// The GPU's index.
        index: usize,
        /// The dynamic linker's message.
        reason: String,
    },
    /// NCCL does not start.
    #[error(
        "NCCL does not start for cuda:{index} on rank {rank}: {reason}. `cargo xtask doctor` checks the driver; the \
         device `cpu` needs no NCCL"
    )]
    StartNccl {
        /// The GPU's index.
        index: usize,
        /// This rank.
        rank: usize,
        /// libtorch's message.
        reason: String,
    },
    /// libtorch failed.
    #[error("{0}")]
    Torch(String),
}

impl From<TchError> for DistributedError {
    fn from(error: TchError) -> Self {
        Self::Torch(message(&error))
    }
}

/// libtorch's message in one line, for the middle of a sentence.
pub(crate) fn message(error: &TchError) -> String {
    let text = match error {
        TchError::Torch(text) => text.clone(),
        error => error.to_string(),
    };
    // Later lines are a backtrace, or advice for Python programs.
    let line = text.lines().next().unwrap_or_default().trim();
    line.trim_end_matches(['.', '!']).to_owned()
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// `rank 1`, `ranks 1 and 3`, or `ranks 1, 3 and 4`; at most eight by number.
pub(crate) fn ranks(ranks: &[usize]) -> String {
    /// More would fill the screen.
    const NAMED: usize = 8;
    let mut names: Vec<String> = ranks.iter().take(NAMED).map(ToString::to_string).collect();
    if ranks.len() > NAMED {
        names.push(format!("{} others", ranks.len() - NAMED));
    }
    match &names[..] {
        [one] => format!("rank {one}"),
        [first @ .., last] => format!("ranks {} and {last}", first.join(", ")),
        [] => "no rank".to_owned(),
    }
}

fn ranks_do(silent: &[usize]) -> impl fmt::Display {
    let verb = if silent.len() == 1 { "does" } else { "do" };
    format!("{} {verb}", ranks(silent))
}

fn ranks_are(behind: &[usize]) -> impl fmt::Display {
    let verb = if behind.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", ranks(behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_named_in_words() {
        assert_eq!(ranks(&[1]), "rank 1");
        assert_eq!(ranks(&[1, 3]), "ranks 1 and 3");
        assert_eq!(ranks(&[1, 3, 4]), "ranks 1, 3 and 4");
        let many: Vec<usize> = (0..20).collect();
        assert_eq!(ranks(&many), "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 12 others");
    }

    #[test]
    fn messages_are_one_line() {
        let error = TchError::Torch("first!\nException raised from".to_owned());
        assert_eq!(message(&error), "first");
    }
}
