//! Ranks: the processes of one run, which a launcher starts and tells apart by environment variables.
//!
//! The variables are those of `torchrun`, which Slurm scripts, Kubeflow's `PyTorchJob` and plain shells set too.

mod error_file;
#[cfg(unix)]
mod spawn;

use std::env::{self, VarError};
use std::ffi::OsString;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

pub use error_file::{ErrorFileError, write_error_file};
#[cfg(unix)]
pub use spawn::{LocalRanks, RankFailure, SpawnError, this_program};

/// The variable that [`LocalRanks`] sets for the ranks that it starts.
const SPAWNED: &str = "TOPK_SPAWNED";

/// One process of a run with several, as its launcher describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Index of this process, below [`Self::world_size`].
    pub rank: usize,
    /// Number of processes, at least 1.
    pub world_size: usize,
    /// Index of this process among those of its machine, which chooses its GPU.
    pub local_rank: usize,
    /// Number of processes of this machine; `None` if the launcher does not say it and it does not follow.
    pub local_world_size: Option<usize>,
    /// Host of rank 0, where the processes meet. `127.0.0.1` for a single process without `MASTER_ADDR`.
    pub master_addr: String,
    /// Port there. 0, which is any free port, for a single process without `MASTER_PORT`.
    pub master_port: u16,
    /// How many times `torchrun` has restarted the processes.
    pub restart_count: u32,
    /// Whether `torchrun` listens at the port itself, so that rank 0 must not.
    pub agent_store: bool,
    /// The identifier of the run that the user gave `torchrun`.
    pub run_id: Option<String>,
    /// Where `torchrun` expects the error of this process, for [`write_error_file`].
    pub error_file: Option<PathBuf>,
    /// Whether [`LocalRanks`] started this process.
    pub spawned: bool,
}

/// Environment variables that do not describe a process of a run.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaunchError {
    /// A variable is missing.
    #[error(
        "{present} is set, but {missing} is not: the processes of a run need RANK, WORLD_SIZE, MASTER_ADDR and \
         MASTER_PORT. Start them with torchrun --no-python, or set {missing}; unset {present} for a single process"
    )]
    Missing {
        /// The variable that is set.
        present: &'static str,
        /// The variable that is missing.
        missing: &'static str,
    },
    /// A variable is not a whole number, or too large.
    #[error("{name} is `{value}`: expected a whole number from {min} to {max}")]
    Number {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// The smallest possible value.
        min: usize,
        /// The largest possible value.
        max: usize,
    },
    /// A rank is not below the number of ranks.
    #[error(
        "{name} is {rank}, but {size_name} is {size}: ranks are counted from 0, so the last one is {}",
        size - 1
    )]
    Rank {
        /// The variable of the rank.
        name: &'static str,
        /// Its value.
        rank: usize,
        /// The variable of the number of ranks.
        size_name: &'static str,
        /// Its value.
        size: usize,
    },
    /// More processes on this machine than in all.
    #[error("LOCAL_WORLD_SIZE is {local}, more than WORLD_SIZE, {world}")]
    LocalWorldSize {
        /// Processes of this machine.
        local: usize,
        /// All processes.
        world: usize,
    },
    /// Which process of this machine it is does not follow from the other variables.
    #[error(
        "LOCAL_RANK is not set, and MASTER_ADDR, {master_addr}, is another machine: set LOCAL_RANK to the index of \
         this process among those of its machine (0 if it is the only one, $SLURM_LOCALID under Slurm)"
    )]
    LocalRank {
        /// The host of rank 0.
        master_addr: String,
    },
    /// A variable is empty or not UTF-8.
    #[error("{name} is empty or not valid UTF-8")]
    Text {
        /// The variable.
        name: &'static str,
    },
}

impl Launch {
    /// The process that the environment describes; `None` for a process on its own, where neither `RANK` nor
    /// `WORLD_SIZE` is set.
    ///
    /// # Errors
    /// If a variable is missing, is not a number, or contradicts another.
    pub fn from_env() -> Result<Option<Self>, LaunchError> {
        Self::from_variables(&|name| env::var_os(name), &is_this_machine)
    }

    /// Whether all processes run on this machine.
    pub fn is_on_one_machine(&self) -> bool {
        self.local_world_size == Some(self.world_size)
    }

    fn from_variables(
        variable: &dyn Fn(&str) -> Option<OsString>,
        is_this_machine: &dyn Fn(&str) -> bool,
    ) -> Result<Option<Self>, LaunchError> {
        let variables = Variables(variable);
        let largest = u32::MAX as usize;
        let rank = variables.number("RANK", 0, largest)?;
        let world_size = variables.number("WORLD_SIZE", 1, largest)?;
        let missing = |present, missing| LaunchError::Missing { present, missing };
        let (rank, world_size) = match (rank, world_size) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(missing("RANK", "WORLD_SIZE")),
            (None, Some(_)) => return Err(missing("WORLD_SIZE", "RANK")),
            (Some(rank), Some(world_size)) => (rank, world_size),
        };
        below("RANK", rank, "WORLD_SIZE", world_size)?;
        let master_addr = variables.text("MASTER_ADDR")?;
        let master_port = variables.number("MASTER_PORT", 1, u16::MAX.into())?;
        let (master_addr, master_port) = match world_size {
            1 => (
                master_addr.unwrap_or_else(|| "127.0.0.1".to_owned()),
                master_port.unwrap_or(0),
            ),
            _ => (
                master_addr.ok_or(missing("WORLD_SIZE", "MASTER_ADDR"))?,
                master_port.ok_or(missing("WORLD_SIZE", "MASTER_PORT"))?,
            ),
        };
        let local_rank = variables.number("LOCAL_RANK", 0, largest)?;
        let local_world_size = variables.number("LOCAL_WORLD_SIZE", 1, largest)?;
        let (local_rank, local_world_size) = match (local_rank, local_world_size) {
            (Some(rank), Some(size)) => (rank, Some(size)),
            // One process per machine.
            (None, Some(1)) => (0, Some(1)),
            (None, Some(_)) => return Err(missing("LOCAL_WORLD_SIZE", "LOCAL_RANK")),
            (Some(rank), None) => {
                let all = world_size == 1 || is_loopback(&master_addr);
                (rank, all.then_some(world_size))
            }
            (None, None) if world_size == 1 || is_this_machine(&master_addr) => {
                (rank, Some(world_size))
            }
            (None, None) => return Err(LaunchError::LocalRank { master_addr }),
        };
        match local_world_size {
            Some(local) if local > world_size => {
                return Err(LaunchError::LocalWorldSize {
                    local,
                    world: world_size,
                });
            }
            Some(local) => below("LOCAL_RANK", local_rank, "LOCAL_WORLD_SIZE", local)?,
            None => below("LOCAL_RANK", local_rank, "WORLD_SIZE", world_size)?,
        }
        Ok(Some(Self {
            rank,
            world_size,
            local_rank,
            local_world_size,
            master_addr,
            // The limits of the variables are those of the types.
            master_port: u16::try_from(master_port).unwrap_or(0),
            restart_count: variables
                .number("TORCHELASTIC_RESTART_COUNT", 0, largest)?
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0),
            agent_store: variables
                .optional_text("TORCHELASTIC_USE_AGENT_STORE")
                .is_some_and(|value| value == "True"),
            // torchrun's default is the text "none".
            run_id: variables
                .optional_text("TORCHELASTIC_RUN_ID")
                .filter(|id| id != "none"),
            error_file: variable("TORCHELASTIC_ERROR_FILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            spawned: variable(SPAWNED).is_some(),
        }))
    }
}

fn below(
    name: &'static str,
    rank: usize,
    size_name: &'static str,
    size: usize,
) -> Result<(), LaunchError> {
    match rank < size {
        true => Ok(()),
        false => Err(LaunchError::Rank {
            name,
            rank,
            size_name,
            size,
        }),
    }
}

struct Variables<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    /// A variable that must not be empty if it is set.
    fn text(&self, name: &'static str) -> Result<Option<String>, LaunchError> {
        let Some(value) = (self.0)(name) else {
            return Ok(None);
        };
        let text = value.into_string().map_err(VarError::NotUnicode);
        match text {
            Ok(text) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
            _ => Err(LaunchError::Text { name }),
        }
    }

    /// A variable whose absence has a meaning.
    fn optional_text(&self, name: &'static str) -> Option<String> {
        let text = (self.0)(name)?.into_string().ok()?;
        (!text.is_empty()).then_some(text)
    }

    fn number(
        &self,
        name: &'static str,
        min: usize,
        max: usize,
    ) -> Result<Option<usize>, LaunchError> {
        let Some(value) = self.text(name)? else {
            return Ok(None);
        };
        let number = usize::from_str(&value).ok();
        let number = number.filter(|number| (min..=max).contains(number));
        number.map(Some).ok_or(LaunchError::Number {
            name,
            value,
            min,
            max,
        })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether a host name or address is this machine: only its own addresses can be bound.
fn is_this_machine(host: &str) -> bool {
    is_loopback(host)
        || (host, 0)
            .to_socket_addrs()
            .is_ok_and(|mut addresses| addresses.any(|address| UdpSocket::bind(address).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "own-machine";

    fn launch(variables: &[(&str, &str)]) -> Result<Option<Launch>, LaunchError> {
        Launch::from_variables(
            &|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            },
            &|host| is_loopback(host) || host == OWN,
        )
    }

    fn error(variables: &[(&str, &str)]) -> String {
        launch(variables).unwrap_err().to_string()
    }

    const ADDRESS: [(&str, &str); 2] = [("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500")];

    #[test]
    fn a_process_on_its_own_has_no_variables() {
        assert_eq!(launch(&[]), Ok(None));
        // Schedulers set the address for all processes of a container.
        assert_eq!(launch(&ADDRESS), Ok(None));
        assert_eq!(launch(&[("LOCAL_RANK", "0")]), Ok(None));
    }

    #[test]
    fn torchrun_describes_a_process() {
        let variables = [
            ("RANK", "5"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "4"),
            ("MASTER_ADDR", "node-0.cluster"),
            ("MASTER_PORT", "29500"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RUN_ID", "night"),
            ("TORCHELASTIC_ERROR_FILE", "/tmp/error.json"),
        ];
        let expected = Launch {
            rank: 5,
            world_size: 8,
            local_rank: 1,
            local_world_size: Some(4),
            master_addr: "node-0.cluster".to_owned(),
            master_port: 29500,
            restart_count: 2,
            agent_store: true,
            run_id: Some("night".to_owned()),
            error_file: Some("/tmp/error.json".into()),
            spawned: false,
        };
        assert_eq!(launch(&variables), Ok(Some(expected.clone())));
        assert!(!expected.is_on_one_machine());
        let without = |left_out: &str| -> Launch {
            let kept = variables.iter().filter(|(name, _)| *name != left_out);
            launch(&kept.copied().collect::<Vec<_>>()).unwrap().unwrap()
        };
        assert!(!without("TORCHELASTIC_USE_AGENT_STORE").agent_store);
        assert_eq!(without("TORCHELASTIC_RESTART_COUNT").restart_count, 0);
        assert_eq!(without("LOCAL_WORLD_SIZE").local_world_size, None);
        let unnamed = launch(&[
            ("RANK", "0"),
            ("WORLD_SIZE", "1"),
            ("TORCHELASTIC_RUN_ID", "none"),
        ]);
        assert_eq!(unnamed.unwrap().unwrap().run_id, None);
    }

    #[test]
    fn a_single_rank_needs_no_address() {
        let launch = launch(&[("RANK", "0"), ("WORLD_SIZE", "1")])
            .unwrap()
            .unwrap();
        assert_eq!((&*launch.master_addr, launch.master_port), ("127.0.0.1", 0));
        assert_eq!((launch.local_rank, launch.local_world_size), (0, Some(1)));
    }

    #[test]
    fn the_local_rank_follows_on_one_machine_only() {
        let with = |address: &str, more: &[(&str, &str)]| {
            let ranks = [
                ("RANK", "2"),
                ("WORLD_SIZE", "3"),
                ("MASTER_ADDR", address),
                ADDRESS[1],
            ];
            launch(&[&ranks[..], more].concat())
        };
        let local = |address: &str, more: &[(&str, &str)]| {
            let launch = with(address, more).unwrap().unwrap();
            (launch.local_rank, launch.local_world_size)
        };
        for address in ["127.0.0.1", "localhost", "::1", OWN] {
            assert_eq!(local(address, &[]), (2, Some(3)), "{address}");
        }
        assert_eq!(local("node-0", &[("LOCAL_RANK", "0")]), (0, None));
        assert_eq!(local(OWN, &[("LOCAL_RANK", "0")]), (0, None));
        assert_eq!(local("127.0.0.1", &[("LOCAL_RANK", "2")]), (2, Some(3)));
        assert_eq!(local("node-0", &[("LOCAL_WORLD_SIZE", "1")]), (0, Some(1)));
        let message = with("node-0", &[]).unwrap_err().to_string();
        assert!(message.contains("LOCAL_RANK is not set"), "{message}");
        assert!(message.contains("node-0"), "{message}");
        let message = with("node-0", &[("LOCAL_WORLD_SIZE", "2")])
            .unwrap_err()
            .to_string();
        assert!(message.contains("but LOCAL_RANK is not"), "{message}");
    }

    #[test]
    fn errors_name_the_variable() {
        let pair = [("RANK", "0"), ("WORLD_SIZE", "2")];
        for (variables, expected) in [
            (&[("RANK", "0")][..], "RANK is set, but WORLD_SIZE is not"),
            (&[("WORLD_SIZE", "2")], "WORLD_SIZE is set, but RANK is not"),
            (&pair, "WORLD_SIZE is set, but MASTER_ADDR is not"),
            (
                &[pair[0], pair[1], ADDRESS[0]],
                "WORLD_SIZE is set, but MASTER_PORT is not",
            ),
            (
                &[("RANK", "2"), pair[1], ADDRESS[0], ADDRESS[1]],
                "RANK is 2, but WORLD_SIZE is 2: ranks are counted from 0, so the last one is 1",
            ),
            (
                &[("RANK", "-1"), pair[1]],
                "RANK is `-1`: expected a whole number from 0 to",
            ),
            (&[("RANK", "first"), pair[1]], "RANK is `first`: "),
            (&[("RANK", ""), pair[1]], "RANK is empty"),
            (
                &[pair[0], ("WORLD_SIZE", "0")],
                "WORLD_SIZE is `0`: expected a whole number from 1 to",
            ),
            (
                &[pair[0], pair[1], ADDRESS[0], ("MASTER_PORT", "65536")],
                "MASTER_PORT is `65536`: expected a whole number from 1 to 65535",
            ),
            (
                &[
                    pair[0],
                    pair[1],
                    ADDRESS[0],
                    ADDRESS[1],
                    ("LOCAL_RANK", "2"),
                    ("LOCAL_WORLD_SIZE", "2"),
                ],
                "LOCAL_RANK is 2, but LOCAL_WORLD_SIZE is 2",
            ),
            (
                &[
                    pair[0],
                    pair[1],
                    ADDRESS[0],
                    ADDRESS[1],
                    ("LOCAL_RANK", "0"),
                    ("LOCAL_WORLD_SIZE", "3"),
                ],
                "LOCAL_WORLD_SIZE is 3, more than WORLD_SIZE, 2",
            ),
        ] {
            let message = error(variables);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn addresses_of_other_machines_are_recognised() {
        for own in ["127.0.0.1", "127.0.0.2", "localhost", "0:0:0:0:0:0:0:1"] {
            assert!(is_this_machine(own), "{own}");
        }
        // An address for documentation, which no machine has.
        assert!(!is_this_machine("192.0.2.1"));
    }
}
