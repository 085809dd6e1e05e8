//! Settings of how a run is computed.

use serde::Serialize;
use tch::{Device, Kind, TchError};
use topk_libtorch::Numerics;

/// How a run is computed on the device.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// Run convolutions and matrix multiplications of training and validation in 16 bits (mixed precision)
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Machine")]
    pub amp: bool,

    /// Type of --amp; float16 scales the loss, as PyTorch's GradScaler, and skips steps whose gradients overflow
    #[arg(
        long,
        value_name = "TYPE",
        value_enum,
        default_value = "bfloat16",
        help_heading = "Machine"
    )]
    pub amp_dtype: AmpDtype,

    /// GPU: what rounds the inputs of f32 products to TF32, which is faster
    #[arg(
        long,
        value_name = "WHERE",
        value_enum,
        default_value = "convolutions",
        help_heading = "Machine"
    )]
    pub tf32: Tf32,

    /// GPU: use deterministic algorithms only, so that the same command gives the same weights bit by bit
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Machine")]
    pub deterministic: bool,

    /// GPU: let cuDNN time its algorithms at the start and use the fastest [default: true, or false with
    /// --deterministic]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Machine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cudnn_benchmark: Option<bool>,

    /// Use the channels-last (NHWC) memory format [default: true on the CPU for networks of which all convolutions have
    /// at least 8 output channels, otherwise false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Machine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels_last: Option<bool>,

    /// Crop and flip training images on the device; needs an --augment of a crop and flips, and images of the network's
    /// input size, such as CIFAR's
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Machine")]
    pub augment_on_device: bool,

    /// GPU: capture a whole step as a CUDA graph, for small networks, whose steps take longer to start than to compute
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Machine")]
    pub cuda_graphs: bool,

    /// Number of steps between two records of loss and accuracy in steps.jsonl; on a GPU, also between two readings of
    /// these and of skipped steps, which wait for the GPU
    #[arg(long, value_name = "N", default_value_t = 50, help_heading = "Machine")]
    pub log_interval: usize,
}

/// Type of mixed precision.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AmpDtype {
    /// The range of f32
    Bfloat16,
    /// More digits, and a small range
    Float16,
}

/// Where TF32 is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Tf32 {
    /// Nowhere: all products are of f32
    None,
    /// Convolutions, as PyTorch's default
    Convolutions,
    /// Convolutions and matrix products
    All,
}

impl Machine {
    /// The type of mixed precision, if it is used.
    pub(crate) fn amp_kind(&self) -> Option<Kind> {
        self.amp.then_some(match self.amp_dtype {
            AmpDtype::Bfloat16 => Kind::BFloat16,
            AmpDtype::Float16 => Kind::Half,
        })
    }

    /// The settings with defaults that depend on others filled in.
    pub(crate) fn resolved(mut self) -> Self {
        self.cudnn_benchmark.get_or_insert(!self.deterministic);
        self
    }

    fn numerics(&self) -> Numerics {
        Numerics {
            tf32_convolutions: self.tf32 != Tf32::None,
            tf32_products: self.tf32 == Tf32::All,
            deterministic: self.deterministic,
            cudnn_benchmark: self.cudnn_benchmark.unwrap_or(!self.deterministic),
        }
    }

    /// Sets libtorch's for the process.
    pub(crate) fn apply(&self) -> Result<(), TchError> {
        self.numerics().apply()
    }

    /// What was decided about computing on a device, as a line.
    pub(crate) fn decision(&self, device: Device) -> Option<String> {
        match (device.is_cuda(), self.cuda_graphs) {
            (true, _) => Some(self.on_gpu()),
            (false, true) => Some("--cuda-graphs has no effect on the CPU".to_owned()),
            (false, false) => None,
        }
    }

    fn on_gpu(&self) -> String {
        let Numerics {
            tf32_convolutions,
            tf32_products,
            deterministic,
            cudnn_benchmark,
        } = self.numerics();
        let products = match (tf32_convolutions, tf32_products) {
            (_, true) => "convolutions and matrix products of f32 in TF32",
            (true, false) => "convolutions of f32 in TF32, matrix products not",
            (false, false) => "no TF32",
        };
        let algorithms = match deterministic {
            true => "deterministic algorithms",
            false => "algorithms that may not be deterministic",
        };
        let search = match cudnn_benchmark {
            true => "chosen by cuDNN's benchmark",
            false => "chosen by cuDNN's heuristics",
        };
        let graphs = if self.cuda_graphs {
            "; steps as CUDA graphs"
        } else {
            ""
        };
        format!("GPU: {products}; {algorithms}, {search}{graphs}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Words {
        #[command(flatten)]
        machine: Machine,
    }

    fn machine(words: &str) -> Machine {
        Words::parse_from(words.split_whitespace())
            .machine
            .resolved()
    }

    #[test]
    fn defaults_are_pytorchs_with_cudnns_benchmark() {
        // Before anything is set, libtorch's are PyTorch's.
        let pytorch = Numerics {
            tf32_convolutions: true,
            tf32_products: false,
            deterministic: false,
            cudnn_benchmark: false,
        };
        let found = machine("").numerics();
        let expected = Numerics {
            cudnn_benchmark: true,
            ..pytorch
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn deterministic_runs_do_not_search_for_algorithms() {
        let found = machine("--deterministic --tf32=all").numerics();
        let expected = Numerics {
            tf32_convolutions: true,
            tf32_products: true,
            deterministic: true,
            cudnn_benchmark: false,
        };
        assert_eq!(found, expected);
        let none = machine("--tf32=none --cudnn-benchmark=false");
        assert_eq!(
            none.decision(Device::Cuda(0)).unwrap(),
            "GPU: no TF32; algorithms that may not be deterministic, chosen by cuDNN's heuristics"
        );
        assert_eq!(none.decision(Device::Cpu), None);
        let graphs = machine("--cuda-graphs").decision(Device::Cpu).unwrap();
        assert_eq!(graphs, "--cuda-graphs has no effect on the CPU");
    }
}
