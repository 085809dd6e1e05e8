use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{self, ExecutionProviderDispatch};
use thiserror::Error;
use topk_native::{Runtime, driver_version, onnxruntime};

use crate::model::Execution;
use crate::plugin::{PluginDevice, PluginName};
use crate::tensorrt::{self, EngineCache};

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Provider {
    /// CUDA on a GPU, by default the first, if a session can be created there; else the CPU.
    #[default]
    Auto,
    /// ONNX Runtime's CPU provider.
    Cpu,
    /// CUDA on the GPU with this index.
    Cuda(usize),
    /// TensorRT on the GPU with this index, and CUDA for nodes that it cannot run.
    TensorRt(usize),
    /// OpenVINO, on its default device: as part of ONNX Runtime, or if it was built without, as a plugin.
    OpenVino,
    /// A device of an execution provider that ONNX Runtime loads as a plugin.
    Plugin(PluginDevice),
}

/// A text that is not an execution provider.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "unknown provider `{0}`: expected auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N, openvino, or the name of a plugin \
     such as webgpu or webgpu:N; `topk-eval devices` lists them"
)]
pub struct ParseProviderError(String);

impl FromStr for Provider {
    type Err = ParseProviderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, index.parse().ok()),
            None => (text, Some(0)),
        };
        match (name, index) {
            ("cuda", Some(index)) => Ok(Self::Cuda(index)),
            ("tensorrt", Some(index)) => Ok(Self::TensorRt(index)),
            ("auto", _) if name == text => Ok(Self::Auto),
            ("cpu", _) if name == text => Ok(Self::Cpu),
            ("openvino", _) if name == text => Ok(Self::OpenVino),
            ("auto" | "cpu", _) => Err(ParseProviderError(text.to_owned())),
            _ => {
                let plugin = PluginName::parse(name).zip(index);
                let plugin = plugin.map(|(name, index)| PluginDevice { name, index });
                let plugin = plugin.map(Self::Plugin);
                plugin.ok_or_else(|| ParseProviderError(text.to_owned()))
            }
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::TensorRt(index) => write!(f, "tensorrt:{index}"),
            Self::OpenVino => f.write_str("openvino"),
            Self::Plugin(PluginDevice { name, index }) => write!(f, "{name}:{index}"),
        }
    }
}

impl Provider {
    /// Index of the GPU that images are copied to, if any.
    pub(crate) fn gpu(self) -> Option<i32> {
        match self {
            Self::Cuda(index) | Self::TensorRt(index) => i32::try_from(index).ok(),
            Self::Auto | Self::Cpu | Self::OpenVino | Self::Plugin(_) => None,
        }
    }
}

/// How CUDA finds the algorithm of a convolution. Each is as precise as the others, but the last bits may differ.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum ConvSearch {
    /// Time all of them in the first run, and take the fastest
    #[default]
    Exhaustive,
    /// Take the one that cuDNN recommends: a faster start
    Heuristic,
    /// Take cuDNN's default: the least memory
    Default,
}

impl From<ConvSearch> for ConvAlgorithmSearch {
    fn from(search: ConvSearch) -> Self {
        match search {
            ConvSearch::Exhaustive => Self::Exhaustive,
            ConvSearch::Heuristic => Self::Heuristic,
            ConvSearch::Default => Self::Default,
        }
    }
}

/// The settings of a GPU's providers by ONNX Runtime's names, for results; none for others.
pub(crate) fn settings(execution: &Execution, caches_engines: bool) -> BTreeMap<String, String> {
    let switch = |on: bool| u8::from(on).to_string();
    let search = ConvAlgorithmSearch::from(execution.conv_search).to_string();
    let cuda = [
        ("cudnn_conv_algo_search", search),
        ("prefer_nhwc", switch(execution.channels_last)),
        ("use_tf32", switch(execution.tf32)),
    ];
    let tensorrt = [
        ("trt_engine_cache_enable", switch(caches_engines)),
        ("trt_fp16_enable", switch(execution.fp16)),
    ];
    let settings: Vec<_> = match execution.provider {
        Provider::Auto | Provider::Cpu | Provider::OpenVino | Provider::Plugin(_) => Vec::new(),
        Provider::Cuda(_) => cuda.into(),
        Provider::TensorRt(_) => cuda.into_iter().chain(tensorrt).collect(),
    };
    let settings = settings.into_iter();
    settings
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The providers to register with a session; none for the CPU provider and for plugins.
///
/// # Errors
/// A message, if the provider cannot be loaded.
pub(crate) fn dispatch(
    runtime: &Runtime,
    execution: &Execution,
    cache: Option<&EngineCache>,
) -> Result<Vec<ExecutionProviderDispatch>, String> {
    // By default, ONNX Runtime enables TF32 and falls back to the CPU silently.
    let cuda = |index: usize| -> Result<_, String> {
        gpu_libraries(runtime)?;
        let index = i32::try_from(index).map_err(|_| "the GPU does not exist".to_owned())?;
        let cuda = ep::CUDA::default()
            .with_device_id(index)
            .with_conv_algorithm_search(execution.conv_search.into())
            .with_prefer_nhwc(execution.channels_last)
            .with_tf32(execution.tf32);
        Ok((index, cuda.build().error_on_failure()))
    };
    match execution.provider {
        Provider::Auto | Provider::Cpu | Provider::Plugin(_) => Ok(Vec::new()),
        Provider::Cuda(index) => Ok(vec![cuda(index)?.1]),
        Provider::TensorRt(index) => {
            let (device, cuda) = cuda(index)?;
            let tensorrt = tensorrt::provider(runtime, execution, index, device, cache)?;
            Ok(vec![tensorrt.build().error_on_failure(), cuda])
        }
        Provider::OpenVino => Ok(vec![ep::OpenVINO::default().build().error_on_failure()]),
    }
}

/// Opens something with a provider. With [`Provider::Auto`], tries CUDA on `gpu` and then the CPU. Returns the
/// provider, and why it is not CUDA in that case.
///
/// # Errors
/// If it cannot be opened with the requested provider, or on the CPU.
pub(crate) fn open_with<T, E>(
    requested: Provider,
    gpu: usize,
    mut open: impl FnMut(Provider) -> Result<T, E>,
) -> Result<(T, Provider, Option<E>), E> {
    if requested != Provider::Auto {
        return Ok((open(requested)?, requested, None));
    }
    let cuda = Provider::Cuda(gpu);
    match open(cuda) {
        Ok(opened) => Ok((opened, cuda, None)),
        Err(reason) => Ok((open(Provider::Cpu)?, Provider::Cpu, Some(reason))),
    }
}

pub(crate) fn gpu_libraries(runtime: &Runtime) -> Result<(), String> {
    driver_version().map_err(|error| format!("no NVIDIA driver ({error})"))?;
    onnxruntime::cuda_provider(runtime.path()).ok_or_else(|| {
        format!(
            "{} has no CUDA provider beside it (run `cargo xtask setup --cuda`, or install the package \
             onnxruntime-gpu in place of onnxruntime)",
            runtime.path().display()
        )
    })?;
    onnxruntime::load_cuda_libraries(runtime.path()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_falls_back_to_the_cpu_and_says_why() {
        let on = |works: &'static [Provider]| {
            move |provider| match works.contains(&provider) {
                true => Ok(()),
                false => Err(format!("no {provider}")),
            }
        };
        let cuda = Provider::Cuda(0);
        let both = on(&[Provider::Cuda(0), Provider::Cpu]);
        assert_eq!(open_with(Provider::Auto, 0, both), Ok(((), cuda, None)));
        let second = on(&[Provider::Cuda(1)]);
        let found = open_with(Provider::Auto, 1, second);
        assert_eq!(found, Ok(((), Provider::Cuda(1), None)));
        let reason = Some("no cuda:0".to_owned());
        let cpu = on(&[Provider::Cpu]);
        assert_eq!(
            open_with(Provider::Auto, 0, cpu),
            Ok(((), Provider::Cpu, reason))
        );
        // A broken model fails on the CPU too.
        let neither = open_with(Provider::Auto, 0, on(&[]));
        assert_eq!(neither, Err("no cpu".to_owned()));
        // What is requested is not replaced.
        assert_eq!(open_with(cuda, 0, cpu), Err("no cuda:0".to_owned()));
        let gpu = on(&[Provider::Cuda(1)]);
        let requested = Provider::Cuda(1);
        assert_eq!(open_with(requested, 0, gpu), Ok(((), requested, None)));
    }

    #[test]
    fn the_settings_of_a_gpu_are_recorded() {
        let of = |provider: Provider, cached| {
            let execution = Execution {
                provider,
                fp16: true,
                conv_search: ConvSearch::Heuristic,
                ..Execution::default()
            };
            let settings = settings(&execution, cached).into_iter();
            let settings: Vec<_> = settings.map(|(name, value)| name + "=" + &value).collect();
            settings.join(" ")
        };
        assert_eq!(of(Provider::Cpu, true), "");
        let cuda = "cudnn_conv_algo_search=HEURISTIC prefer_nhwc=0";
        assert_eq!(of(Provider::Cuda(1), false), format!("{cuda} use_tf32=0"));
        assert_eq!(
            of(Provider::TensorRt(0), true),
            format!("{cuda} trt_engine_cache_enable=1 trt_fp16_enable=1 use_tf32=0")
        );
    }

    #[test]
    fn names_are_parsed_and_displayed() {
        for name in [
            "auto",
            "cpu",
            "cuda:0",
            "cuda:3",
            "tensorrt:1",
            "openvino",
            "openvino:1",
            "webgpu:0",
        ] {
            assert_eq!(name.parse::<Provider>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(Provider::Cuda(0)));
        assert_eq!(
            "nv_tensorrt_rtx".parse::<Provider>().unwrap().to_string(),
            "nvtensorrtrtx:0"
        );
        for name in [
            "", "cuda:", "cuda:x", "cpu:0", "auto:1", "web gpu", "webgpu:x", "0",
        ] {
            assert!(name.parse::<Provider>().is_err(), "{name}");
        }
    }
}
