//! How models are executed.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use topk_cli::launch::Launch;
use topk_native::{Device, Devices, Gpu};
use topk_results::Shard;

use super::acceleration::{AccelerationArgs, check_libraries};
use crate::model::{Execution, processors};
use crate::provider::{ParseProviderError, Provider};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Execution")]
pub(super) struct ExecutionArgs {
    /// Execution provider: auto (CUDA if available, else CPU), cpu, cuda, cuda:N, tensorrt, tensorrt:N, openvino, or a
    /// plugin such as webgpu or webgpu:N; `topk-eval devices` lists them. Without N, the first GPU, or of several ranks
    /// the one with the index LOCAL_RANK
    #[arg(long, visible_alias = "device", default_value_t)]
    provider: RequestedProvider,

    /// Library of an execution provider that ONNX Runtime loads as a plugin, for --provider with its name; can be repeated
    /// [default: those of installed packages onnxruntime-ep-…]
    #[arg(long, value_name = "FILE")]
    pub(super) provider_library: Vec<PathBuf>,

    /// Run sessions on several GPUs at the same time: all, or their indices such as 0,1
    #[arg(long, value_name = "LIST", conflicts_with = "provider")]
    devices: Option<Devices>,

    /// Index of the GPU of a provider without one.
    #[arg(skip)]
    gpu: usize,

    /// Of ranks that share this machine, their number.
    #[arg(skip)]
    local_ranks: Option<usize>,

    #[command(flatten)]
    pub(super) acceleration: AccelerationArgs,

    /// Batch size [default: 8 on the CPU, 64 on a GPU]
    #[arg(long, value_name = "N")]
    pub(super) batch_size: Option<NonZeroUsize>,

    /// Number of threads for decoding and CPU inference [default: number of CPUs]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<NonZeroUsize>,

    /// Concurrent inference sessions per model; they share the threads [default: 1 on a GPU; on the CPU one
    /// per thread, within 1 GiB of weights]
    #[arg(long, value_name = "N")]
    pub(super) sessions: Option<NonZeroUsize>,

    /// Batches in flight per session: one is computed while the next is copied to the device and the scores of the
    /// last are read [default: 2 on a GPU, 1 on the CPU]
    #[arg(long, value_name = "N")]
    in_flight: Option<NonZeroUsize>,

    /// Evaluate only part I of N, e.g. 2/8; merge the results with `topk-eval merge`
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub(super) shard: Option<Shard>,

    /// Resume from the partial results in the --json file, if it exists
    #[arg(long, requires = "json")]
    pub(super) resume: bool,

    /// Seconds between saves of the partial results in the --json file
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(super) save_interval: Duration,

    /// Seconds between lines on the progress on standard error, where it is not a terminal
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(super) progress_interval: Duration,
}

/// A provider, and whether the user has chosen its GPU.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct RequestedProvider {
    provider: Provider,
    numbered: bool,
}

impl FromStr for RequestedProvider {
    type Err = ParseProviderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let provider = text.parse()?;
        let numbered = text.contains(':');
        Ok(Self { provider, numbered })
    }
}

impl fmt::Display for RequestedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}

/// Parses a shard `I/N`.
fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(index, count)| {
        let (index, count) = (index.parse().ok()?, count.parse().ok()?);
        (index >= 1 && index <= count).then_some(Shard { index, count })
    });
    numbers.ok_or_else(|| "expected a shard and the number of shards, such as 2/8".to_owned())
}

/// Parses a time in seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

impl ExecutionArgs {
    /// The same for a rank of several: on the GPU with the index of the rank on its machine, and with its share of the
    /// machine's CPUs.
    ///
    /// # Errors
    /// If the devices of one process are requested.
    pub(super) fn of_rank(&self, launch: &Launch) -> Result<Self> {
        if let Some(devices) = &self.devices {
            bail!(
                "--devices {devices} is for a single process, but this is rank {} of {}: omit --devices, and each rank \
                 uses the GPU of its LOCAL_RANK; or unset RANK and WORLD_SIZE",
                launch.rank,
                launch.world_size
            );
        }
        let local_ranks = launch.local_world_size.filter(|&ranks| ranks > 1);
        let share = local_ranks.map(|ranks| processors() / ranks);
        let share = share.map(|share| NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN));
        Ok(Self {
            gpu: launch.local_rank,
            local_ranks: local_ranks.filter(|_| self.workers.is_none()),
            workers: self.workers.or(share),
            ..self.clone()
        })
    }

    /// What was decided for a rank of several, one line each.
    pub(super) fn decisions(&self, on_gpu: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if let (Some(ranks), Some(workers)) = (self.local_ranks, self.workers) {
            lines.push(format!(
                "--workers {workers}: {ranks} ranks share the CPUs of this machine"
            ));
        }
        if on_gpu && !self.provider.numbered {
            lines.push("each rank uses the GPU of its LOCAL_RANK (--provider)".to_owned());
        }
        lines
    }

    /// The provider, or that of the first of several devices.
    pub(super) fn provider(&self) -> Provider {
        if let Some(devices) = &self.devices {
            return match devices {
                Devices::List(list) => list.first().map_or(Provider::Cpu, |device| of(*device)),
                Devices::All => Provider::Cuda(0),
            };
        }
        match self.provider {
            RequestedProvider {
                provider,
                numbered: true,
            } => provider,
            RequestedProvider { provider, .. } => match provider {
                Provider::Cuda(_) => Provider::Cuda(self.gpu),
                Provider::TensorRt(_) => Provider::TensorRt(self.gpu),
                other => other,
            },
        }
    }

    /// The providers of `--devices`; none without it.
    ///
    /// # Errors
    /// If they are of different kinds, or `all` finds no GPU.
    pub(super) fn devices(&self) -> Result<Vec<Provider>> {
        let providers: Vec<Provider> = match &self.devices {
            None => Vec::new(),
            Some(Devices::List(list)) => list.iter().map(|device| of(*device)).collect(),
            Some(Devices::All) => {
                let exists = |index: &usize| Gpu::of(*index).name.is_some();
                let gpus: Vec<Provider> = (0..).take_while(exists).map(Provider::Cuda).collect();
                ensure!(
                    !gpus.is_empty(),
                    "--devices all: no NVIDIA GPU was found. Omit --devices to run on the CPU"
                );
                gpus
            }
        };
        let on_gpu = providers
            .iter()
            .filter(|device| device.gpu().is_some())
            .count();
        ensure!(
            on_gpu == 0 || on_gpu == providers.len(),
            "--devices lists GPUs and the CPU, whose sessions would not give the same scores: list either"
        );
        Ok(providers)
    }

    /// Checks that the provider has the settings that are requested.
    pub(super) fn check(&self) -> Result<()> {
        let provider = self.provider();
        check_libraries(&self.provider_library, &[provider])?;
        self.acceleration.check(provider)
    }

    pub(super) fn execution(&self) -> Execution {
        self.acceleration.apply(Execution {
            provider: self.provider(),
            auto_gpu: self.gpu,
            threads: self.workers.map(NonZeroUsize::get),
            sessions: self.sessions.map(NonZeroUsize::get),
            in_flight: self.in_flight.map(NonZeroUsize::get),
            ..Execution::default()
        })
    }

    /// The batch size: by default large for a GPU; small for the CPU, as decoding then waits less for inference.
    pub(super) fn batch_size(&self, provider: Provider) -> usize {
        let usual = match provider {
            Provider::Cuda(_) | Provider::TensorRt(_) => 64,
            Provider::Auto | Provider::Cpu | Provider::OpenVino | Provider::Plugin(_) => 8,
        };
        self.batch_size.map_or(usual, NonZeroUsize::get)
    }

    /// Whether TF32 is to be disabled for TensorRT, in all libraries of NVIDIA.
    pub(super) fn disables_tf32(&self) -> bool {
        self.acceleration.disables_tf32(self.provider())
    }
}

/// The provider of a device.
fn of(device: Device) -> Provider {
    match device {
        Device::Auto => Provider::Auto,
        Device::Cpu => Provider::Cpu,
        Device::Cuda(index) => Provider::Cuda(index),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::outputs::OutputArgs;
    use super::*;
    use crate::ranks::example_launch;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        execution: ExecutionArgs,
        #[command(flatten)]
        _outputs: OutputArgs,
    }

    fn parse(flags: &[&str]) -> ExecutionArgs {
        Flags::parse_from([&["topk-eval"], flags].concat()).execution
    }

    /// Rank 7 of 8, the last of 4 on the second machine.
    fn launch() -> Launch {
        Launch {
            rank: 7,
            world_size: 8,
            local_rank: 3,
            local_world_size: Some(4),
            ..example_launch()
        }
    }

    #[test]
    fn a_rank_uses_the_gpu_with_its_local_rank() {
        for (flags, alone, of_rank) in [
            (
                &["--provider", "cuda"][..],
                Provider::Cuda(0),
                Provider::Cuda(3),
            ),
            (
                &["--provider", "cuda:1"],
                Provider::Cuda(1),
                Provider::Cuda(1),
            ),
            (
                &["--device", "tensorrt"],
                Provider::TensorRt(0),
                Provider::TensorRt(3),
            ),
            (
                &["--device", "tensorrt:0"],
                Provider::TensorRt(0),
                Provider::TensorRt(0),
            ),
            (&["--device", "cpu"], Provider::Cpu, Provider::Cpu),
            (&[], Provider::Auto, Provider::Auto),
        ] {
            let args = parse(flags);
            assert_eq!(args.provider(), alone, "{flags:?}");
            let args = args.of_rank(&launch()).unwrap();
            assert_eq!(args.provider(), of_rank, "{flags:?}");
            assert_eq!(args.execution().auto_gpu, 3);
        }
        let error = parse(&["--devices", "0,1"]).of_rank(&launch()).unwrap_err();
        assert!(error.to_string().contains("rank 7 of 8"), "{error}");
    }

    #[test]
    fn ranks_of_a_machine_share_its_threads() {
        let of_rank = |flags: &[&str], launch: &Launch| parse(flags).of_rank(launch).unwrap();
        let share = of_rank(&[], &launch());
        let expected = (processors() / 4).max(1);
        assert_eq!(share.execution().threads, Some(expected));
        assert_eq!(share.decisions(false).len(), 1);
        assert_eq!(share.decisions(true).len(), 2);
        let requested = of_rank(&["--workers", "5"], &launch());
        assert_eq!(requested.execution().threads, Some(5));
        assert!(requested.decisions(false).is_empty());
        let alone = Launch {
            local_world_size: Some(1),
            ..launch()
        };
        assert_eq!(of_rank(&[], &alone).execution().threads, None);
    }

    #[test]
    fn devices_are_providers() {
        let devices = |flags: &[&str]| parse(flags).devices().unwrap();
        assert_eq!(devices(&[]), []);
        assert_eq!(devices(&["--devices", "1,0"]), [1, 0].map(Provider::Cuda));
        assert_eq!(devices(&["--devices", "cpu,cpu"]), [Provider::Cpu; 2]);
        assert_eq!(parse(&["--devices", "1,0"]).provider(), Provider::Cuda(1));
        assert!(parse(&["--devices", "0,cpu"]).devices().is_err());
    }

    #[test]
    fn shards_are_parsed() {
        assert_eq!(shard("2/8"), Ok(Shard { index: 2, count: 8 }));
        for text in ["", "0/8", "9/8", "2", "a/b", "1/0"] {
            assert!(shard(text).is_err(), "{text}");
        }
    }
}
