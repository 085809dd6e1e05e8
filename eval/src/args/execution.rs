//! How models are executed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use topk_results::Shard;

use crate::model::Execution;
use crate::provider::{ConvSearch, Provider};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Execution")]
pub(super) struct ExecutionArgs {
    /// Execution provider: auto (CUDA if available, else CPU), cpu, cuda, cuda:N, tensorrt, tensorrt:N or
    /// openvino
    #[arg(long, visible_alias = "device", default_value_t)]
    pub(super) provider: Provider,

    /// Allow TF32 on NVIDIA GPUs: faster, but less precise
    #[arg(long)]
    pub(super) tf32: bool,

    /// How CUDA finds the algorithms of convolutions: times them in the first run, takes the one that cuDNN recommends,
    /// or its default
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    cudnn_search: ConvSearch,

    /// Let CUDA compute convolutions with the channels last
    #[arg(long)]
    channels_last: bool,

    /// Allow TensorRT to compute in float16: faster, but less precise
    #[arg(long)]
    tensorrt_fp16: bool,

    /// Folder in which TensorRT keeps its engines: building them takes minutes
    #[arg(long, value_name = "DIR")]
    pub(super) tensorrt_cache: Option<PathBuf>,

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
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

impl ExecutionArgs {
    /// Checks that the provider has the settings that are requested.
    pub(super) fn check(&self) -> Result<()> {
        let provider = self.provider;
        let tensorrt = [
            ("--tensorrt-fp16", self.tensorrt_fp16),
            ("--tensorrt-cache", self.tensorrt_cache.is_some()),
        ];
        let requested = |flags: &[(&'static str, bool)]| {
            let mut flags = flags.iter().filter(|(_, requested)| *requested);
            flags.next().map(|(flag, _)| *flag)
        };
        if let Some(flag) = requested(&tensorrt)
            && !matches!(provider, Provider::TensorRt(_))
        {
            bail!("{flag} has no effect with --provider {provider}: pass --provider tensorrt");
        }
        let cuda = [
            ("--cudnn-search", self.cudnn_search != ConvSearch::default()),
            ("--channels-last", self.channels_last),
        ];
        if let Some(flag) = requested(&cuda)
            && matches!(provider, Provider::Cpu | Provider::OpenVino)
        {
            bail!("{flag} has no effect with --provider {provider}: pass --provider cuda");
        }
        Ok(())
    }

    pub(super) fn execution(&self) -> Execution {
        Execution {
            provider: self.provider,
            threads: self.workers.map(NonZeroUsize::get),
            sessions: self.sessions.map(NonZeroUsize::get),
            in_flight: self.in_flight.map(NonZeroUsize::get),
            tf32: self.tf32,
            conv_search: self.cudnn_search,
            channels_last: self.channels_last,
            fp16: self.tensorrt_fp16,
        }
    }

    /// The batch size: by default large for a GPU; small for the CPU, as decoding then waits less for inference.
    pub(super) fn batch_size(&self, provider: Provider) -> usize {
        let usual = match provider {
            Provider::Cuda(_) | Provider::TensorRt(_) => 64,
            Provider::Auto | Provider::Cpu | Provider::OpenVino => 8,
        };
        self.batch_size.map_or(usual, NonZeroUsize::get)
    }

    /// Whether TF32 is to be disabled for TensorRT, in all libraries of NVIDIA.
    pub(super) fn disables_tf32(&self) -> bool {
        matches!(self.provider, Provider::TensorRt(_)) && !self.tf32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_parsed() {
        assert_eq!(shard("2/8"), Ok(Shard { index: 2, count: 8 }));
        for text in ["", "0/8", "9/8", "2", "a/b", "1/0"] {
            assert!(shard(text).is_err(), "{text}");
        }
    }
}
