//! Settings of the providers for GPUs.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::model::Execution;
use crate::provider::{ConvSearch, Provider};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Execution")]
pub(super) struct AccelerationArgs {
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
}

impl AccelerationArgs {
    /// Checks that a provider has the settings that are requested.
    pub(super) fn check(&self, provider: Provider) -> Result<()> {
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
            && matches!(
                provider,
                Provider::Cpu | Provider::OpenVino | Provider::Plugin(_)
            )
        {
            bail!("{flag} has no effect with --provider {provider}: pass --provider cuda");
        }
        Ok(())
    }

    /// These settings, with the others of `execution`.
    pub(super) fn apply(&self, execution: Execution) -> Execution {
        Execution {
            tf32: self.tf32,
            conv_search: self.cudnn_search,
            channels_last: self.channels_last,
            fp16: self.tensorrt_fp16,
            ..execution
        }
    }

    /// Whether TF32 is to be disabled for TensorRT, in all libraries of NVIDIA.
    pub(super) fn disables_tf32(&self, provider: Provider) -> bool {
        matches!(provider, Provider::TensorRt(_)) && !self.tf32
    }
}

/// Checks that a plugin is used if its library is given.
pub(super) fn check_libraries(libraries: &[PathBuf], providers: &[Provider]) -> Result<()> {
    let used = |provider: &Provider| matches!(provider, Provider::Plugin(_) | Provider::OpenVino);
    if let Some(first) = providers.first()
        && !libraries.is_empty()
        && !providers.iter().any(used)
    {
        bail!(
            "--provider-library has no effect with --provider {first}: pass the name of its provider, as `topk-eval \
             devices --provider-library` lists it"
        );
    }
    Ok(())
}
