//! The TensorRT provider: its engines are kept for the models and settings that they were built for.

use std::env;
use std::path::PathBuf;

use ort::ep::TensorRT;
use topk_files::Hasher;
use topk_native::{Gpu, Runtime, onnxruntime};

use crate::model::Execution;

/// NVIDIA's switch for TF32 in all libraries; TensorRT's provider has none of its own.
pub(crate) const TF32_VARIABLE: &str = "NVIDIA_TF32_OVERRIDE";

/// Where the engines of a model are kept.
#[derive(Clone, Debug)]
pub(crate) struct EngineCache {
    /// The folder for all models.
    pub(crate) folder: PathBuf,
    /// SHA-256 of the model's files.
    pub(crate) model: String,
    /// Batch size, if known.
    pub(crate) batch_size: Option<usize>,
}

impl EngineCache {
    /// The folder for engines of this model that are built by these versions with these settings.
    ///
    /// ONNX Runtime names an engine by the structure of the graph, so that a model with other weights would get the
    /// same engine; and it does not know the version of TensorRT. An engine is for the sizes of batches that were run
    /// before it was built.
    fn of(&self, built_with: &[String]) -> PathBuf {
        let mut hash = Hasher::default();
        let batch_size = self
            .batch_size
            .map_or_else(String::new, |size| size.to_string());
        for part in [&self.model, &batch_size].into_iter().chain(built_with) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        self.folder.join(&hash.finish()[..16])
    }
}

/// The provider for the GPU with this index.
///
/// # Errors
/// A message, if TensorRT is not available, TF32 cannot be disabled, or the folder for engines cannot be created.
pub(crate) fn provider(
    runtime: &Runtime,
    execution: &Execution,
    index: usize,
    device: i32,
    cache: Option<&EngineCache>,
) -> Result<TensorRT, String> {
    let version = onnxruntime::load_tensorrt(runtime.path()).map_err(|error| error.to_string())?;
    check_tf32(execution.tf32, env::var(TF32_VARIABLE).ok().as_deref())?;
    let provider = TensorRT::default()
        .with_device_id(device)
        .with_fp16(execution.fp16);
    let Some(cache) = cache else {
        return Ok(provider);
    };
    let built_with = [
        format!("TensorRT {version}"),
        format!("ONNX Runtime {}", runtime.version()),
        Gpu::of(index).name.unwrap_or_default(),
        format!("fp16 {}, TF32 {}", execution.fp16, execution.tf32),
    ];
    let folder = cache.of(&built_with);
    std::fs::create_dir_all(&folder).map_err(|error| {
        format!(
            "cannot create {} for its engines: {error}; pass another folder as --tensorrt-cache",
            folder.display()
        )
    })?;
    let folder = folder.display().to_string();
    Ok(provider
        .with_engine_cache(true)
        .with_engine_cache_path(&folder)
        .with_timing_cache(true)
        .with_timing_cache_path(&folder))
}

/// TensorRT uses TF32 unless this variable is 0.
fn check_tf32(allowed: bool, variable: Option<&str>) -> Result<(), String> {
    match allowed || variable == Some("0") {
        true => Ok(()),
        false => Err(format!(
            "it computes in TF32 unless the environment variable {TF32_VARIABLE} is 0: set it before the program \
             starts, or allow TF32 with --tf32"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_kept_apart() {
        let cache = |model: &str| EngineCache {
            folder: "engines".into(),
            model: model.to_owned(),
            batch_size: Some(64),
        };
        let smaller = EngineCache {
            batch_size: Some(32),
            ..cache("a")
        };
        let with = |parts: &[&str]| {
            parts
                .iter()
                .map(|part| (*part).to_owned())
                .collect::<Vec<_>>()
        };
        let one = cache("a").of(&with(&["10.13", "fp16"]));
        assert_eq!(one, cache("a").of(&with(&["10.13", "fp16"])));
        assert_eq!(one.parent().unwrap(), "engines");
        for other in [
            cache("b").of(&with(&["10.13", "fp16"])),
            smaller.of(&with(&["10.13", "fp16"])),
            cache("a").of(&with(&["10.14", "fp16"])),
            cache("a").of(&with(&["10.13", ""])),
            cache("a").of(&with(&["10.1", "3fp16"])),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn tf32_is_never_used_by_accident() {
        assert_eq!(check_tf32(true, None), Ok(()));
        assert_eq!(check_tf32(false, Some("0")), Ok(()));
        for variable in [None, Some(""), Some("1")] {
            let error = check_tf32(false, variable).unwrap_err();
            assert!(error.contains("NVIDIA_TF32_OVERRIDE is 0"), "{error}");
        }
    }
}
