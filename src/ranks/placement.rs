//! Where the ranks of a run compute: on which device, and with how many threads.

use std::env;
use std::process::ExitCode;
use std::thread::available_parallelism;
#[cfg(unix)]
use std::time::Duration;

#[cfg(unix)]
use anyhow::Context;
use anyhow::{Result, bail};
use thiserror::Error;
use topk_cli::launch::Launch;
#[cfg(unix)]
use topk_cli::launch::{LocalRanks, this_program};
use topk_libtorch::{DeviceError, select_device};
use topk_native::{Device, Devices};

/// How long ranks may take to end after another one failed.
#[cfg(unix)]
const GRACE: Duration = Duration::from_secs(30);

/// The device of a rank cannot be chosen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum PlacementError {
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// --devices names more or fewer devices than there are ranks.
    #[error(
        "--devices {devices} names {count} devices, but the launcher started {ranks} ranks on this machine: name one \
         for each, or leave out --devices"
    )]
    Count {
        /// The devices.
        devices: Devices,
        /// Their number.
        count: usize,
        /// Number of ranks.
        ranks: usize,
    },
    /// All ranks would compute on the same GPU.
    #[error(
        "--device {device} would be the GPU of all {ranks} ranks of this machine: leave it out, so that each rank takes \
         the GPU of its LOCAL_RANK, or list their GPUs with --devices"
    )]
    Same {
        /// The device.
        device: Device,
        /// Number of ranks.
        ranks: usize,
    },
    /// No GPU was found.
    #[error("--devices all: {0}")]
    All(DeviceError),
}

/// Where a process computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Placement {
    pub(crate) device: Device,
    /// Threads of a rank that shares its machine, unless --workers gives their number.
    pub(crate) threads: Option<Threads>,
}

/// Numbers of threads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Threads {
    /// For computing on the CPU; `None` if OMP_NUM_THREADS gives it.
    pub(crate) computing: Option<usize>,
    pub(crate) loading: usize,
}

impl Placement {
    /// The placement of this process, given --device and --devices.
    ///
    /// # Errors
    /// If they do not fit the launch, or a GPU that they name is missing.
    pub(crate) fn new(
        device: Device,
        devices: Option<&Devices>,
        launch: Option<&Launch>,
    ) -> Result<Self, PlacementError> {
        let Some(launch) = launch else {
            let device = match devices {
                None => device,
                Some(devices) => listed(devices)?[0],
            };
            return Ok(Self {
                device,
                threads: None,
            });
        };
        let local_ranks = launch.local_world_size.unwrap_or(1);
        Ok(Self {
            device: of_rank(device, devices, launch.local_rank, local_ranks)?,
            threads: (local_ranks > 1).then(|| Threads::shared(local_ranks)),
        })
    }
}

/// The device of a rank of this machine.
fn of_rank(
    device: Device,
    devices: Option<&Devices>,
    rank: usize,
    ranks: usize,
) -> Result<Device, PlacementError> {
    match (devices, device) {
        (Some(Devices::All), _) => Ok(Device::Cuda(rank)),
        (Some(Devices::List(list)), _) => match list.get(rank) {
            Some(&device) if list.len() == ranks => Ok(device),
            _ => Err(PlacementError::Count {
                devices: Devices::List(list.clone()),
                count: list.len(),
                ranks,
            }),
        },
        (None, Device::Cpu) => Ok(Device::Cpu),
        (None, Device::Auto) => Ok(match select_device(Device::Auto)?.is_cuda() {
            true => Device::Cuda(rank),
            false => Device::Cpu,
        }),
        // As in `--device cuda`.
        (None, Device::Cuda(0)) => Ok(Device::Cuda(rank)),
        (None, Device::Cuda(_)) if ranks == 1 => Ok(device),
        (None, Device::Cuda(_)) => Err(PlacementError::Same { device, ranks }),
    }
}

/// The devices of --devices, at least one.
fn listed(devices: &Devices) -> Result<Vec<Device>, PlacementError> {
    match devices {
        Devices::List(list) => Ok(list.clone()),
        Devices::All => {
            select_device(Device::Cuda(0)).map_err(PlacementError::All)?;
            let count = tch::Cuda::device_count().max(1) as usize;
            Ok((0..count).map(Device::Cuda).collect())
        }
    }
}

impl Threads {
    /// Those of a rank on a machine with so many.
    fn shared(ranks: usize) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let share = (cores / ranks).max(1);
        // torchrun sets it to 1, unless the user did.
        let given = env::var_os("OMP_NUM_THREADS").is_some_and(|value| !value.is_empty());
        Self {
            computing: (!given).then_some(share),
            loading: share,
        }
    }

    /// What was decided, as a line.
    pub(crate) fn decision(self) -> String {
        let Self { computing, loading } = self;
        let share = "the cores of this machine divided by its ranks";
        match computing {
            Some(threads) => {
                format!("threads of each rank: {threads}, {share} (--workers sets another number)")
            }
            None => format!(
                "threads of each rank: {} for computing, as in OMP_NUM_THREADS, and {loading} for loading images, {share} \
                 (--workers sets both)",
                tch::get_num_threads()
            ),
        }
    }
}

/// Starts this program once for each of several devices, as the ranks of a run, and waits for them. `None` if there is
/// only one device.
///
/// # Errors
/// If the ranks cannot be started, or one fails.
pub(crate) fn start_on_devices(devices: &Devices) -> Result<Option<ExitCode>> {
    let count = listed(devices)?.len();
    if count == 1 {
        return Ok(None);
    }
    start_local(count).map(Some)
}

#[cfg(unix)]
fn start_local(count: usize) -> Result<ExitCode> {
    let program = this_program().context("cannot find this program's file")?;
    let command = |_| {
        let mut command = std::process::Command::new(program.get_program());
        command.args(program.get_args());
        command
    };
    let failure = LocalRanks::start(count, GRACE, command)?.wait()?;
    match failure {
        None => Ok(ExitCode::SUCCESS),
        // It has told why.
        Some(failure) if failure.interrupted || failure.status.code().is_some() => {
            Ok(ExitCode::from(failure.exit_code()))
        }
        Some(failure) => bail!("{failure}"),
    }
}

#[cfg(not(unix))]
fn start_local(count: usize) -> Result<ExitCode> {
    bail!("--devices starts {count} processes on Unix systems only: start them with torchrun")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_rank_chooses_the_device() {
        let chosen = |device: &str, devices: Option<&str>, rank, ranks| {
            let devices = devices.map(|list| list.parse().unwrap());
            let found = of_rank(device.parse().unwrap(), devices.as_ref(), rank, ranks);
            match found {
                Ok(device) => device.to_string(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(chosen("auto", Some("3,1"), 1, 2), "cuda:1");
        assert_eq!(chosen("auto", Some("all"), 1, 2), "cuda:1");
        assert_eq!(chosen("auto", Some("cpu,cpu"), 0, 2), "cpu");
        assert_eq!(chosen("cpu", None, 1, 2), "cpu");
        assert_eq!(chosen("cuda", None, 1, 2), "cuda:1");
        assert_eq!(chosen("cuda:3", None, 0, 1), "cuda:3");
        assert_eq!(
            chosen("auto", Some("0,1"), 2, 3),
            "--devices cuda:0,cuda:1 names 2 devices, but the launcher started 3 ranks on this machine: name one for \
             each, or leave out --devices"
        );
        assert_eq!(
            chosen("cuda:1", None, 0, 2),
            "--device cuda:1 would be the GPU of all 2 ranks of this machine: leave it out, so that each rank takes the \
             GPU of its LOCAL_RANK, or list their GPUs with --devices"
        );
    }
}
