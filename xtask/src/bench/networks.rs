//! Networks with random weights, for benchmarks whose times do not depend on the values.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use prost::Message;
use topk_models::architecture;
use topk_models::op::Init;
use topk_onnx::proto::{DimensionValue, ModelProto};
use topk_ops::noise::standard_normal;
use topk_weights::{StateDict, Tensor};

use super::process::timed;
use super::setup::Setup;

/// Number of random values, which are repeated.
const RANDOM: usize = 4099;

/// Writes the weights of a network for ImageNet as safetensors.
pub(super) fn write_weights(setup: &Setup, name: &str) -> Result<PathBuf> {
    let network = architecture(name, [3, 224, 224], 1000)?;
    let normal: Vec<f32> = (0..RANDOM)
        .map(|i| standard_normal(0, 0, 0, i as u64) as f32)
        .collect();
    let mut weights = StateDict::default();
    for parameter in network.parameters() {
        let values: Vec<f32> = match parameter.init {
            Init::Constant(value) => vec![value as f32; parameter.numel()],
            // Half of the bound of a uniform distribution is about its standard deviation.
            Init::Normal { std: scale } | Init::Uniform { bound: scale } => normal
                .iter()
                .cycle()
                .take(parameter.numel())
                .map(|value| 0.5 * scale as f32 * value)
                .collect(),
        };
        let tensor = Tensor::from_f32(&parameter.shape, &values)?;
        weights.tensors.insert(parameter.name, tensor);
    }
    let path = setup.folder().join(format!("{name}.safetensors"));
    weights.save(&path)?;
    Ok(path)
}

/// Writes the ONNX model of a network.
pub(super) fn write_model(setup: &Setup, name: &str) -> Result<PathBuf> {
    let weights = write_weights(setup, name)?;
    let path = setup.folder().join(format!("{name}.onnx"));
    timed(
        Command::new(setup.built("topk-export"))
            .args(["model", "--no-verify", "--model", name, "--checkpoint"])
            .arg(&weights)
            .arg("--out")
            .arg(&path),
    )?;
    fs::remove_file(&weights).with_context(|| format!("cannot remove {}", weights.display()))?;
    Ok(path)
}

/// Writes a copy of a model that takes `batch` images at a time, instead of any number.
pub(super) fn write_fixed(setup: &Setup, model: &Path, batch: i64) -> Result<PathBuf> {
    let bytes = fs::read(model).with_context(|| format!("cannot read {}", model.display()))?;
    let mut fixed = ModelProto::decode(bytes.as_slice())?;
    let graph = fixed.graph.iter_mut();
    for value in graph.flat_map(|graph| graph.input.iter_mut().chain(&mut graph.output)) {
        let tensor = value
            .r#type
            .as_mut()
            .and_then(|kind| kind.tensor_type.as_mut());
        let shape = tensor.and_then(|tensor| tensor.shape.as_mut());
        if let Some(first) = shape.and_then(|shape| shape.dim.first_mut()) {
            first.value = Some(DimensionValue::DimValue(batch));
        }
    }
    let path = setup.folder().join("fixed.onnx");
    fs::write(&path, fixed.encode_to_vec())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
