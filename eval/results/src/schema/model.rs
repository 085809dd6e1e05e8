use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use topk_calibration::{AveragePrecision, Calibration};
use topk_preprocessing::{ChannelOrder, Normalization, PixelRange};

use super::columns;
use super::metrics::Metrics;
use super::outcome::{CropAveraging, Outcome, OutputKind};
use super::run::PluginInfo;

/// One model of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelResults {
    /// The model, and how it was run.
    pub model: ModelInfo,
    /// Time taken.
    pub timing: Timing,
    /// Computed from the outcomes.
    pub metrics: Metrics,
    /// What was measured on one half of the images after fitting on the other, if requested. It follows from the
    /// logits, which are not in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Mean average precision over the classes, if some images have several true classes and the logits were kept, which are
    /// not in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<AveragePrecision>,
    /// The outcome of each image; none for images that could not be evaluated or have no valid label.
    #[serde(with = "columns::outcomes")]
    pub outcomes: Vec<Option<Outcome>>,
}

/// A model, and how it was run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ModelInfo {
    /// The model file.
    pub path: String,
    /// SHA-256 of the file. Of a model with weights in other files: the SHA-256 of the SHA-256s of all files in
    /// hexadecimal, one per line, first that of `path`, then those of `external_data`.
    pub sha256: String,
    /// Files with weights beside the model file, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_data: Vec<String>,
    /// The architecture, if known.
    pub architecture: Option<String>,
    /// The requested execution provider.
    pub provider: String,
    /// The plugin that the provider comes from, if it is not part of ONNX Runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginInfo>,
    /// Number of nodes per execution provider.
    pub nodes: BTreeMap<String, usize>,
    /// The device, such as `cpu` or `NVIDIA H100 PCIe (cuda:0)`.
    pub device: String,
    /// Whether TF32 was allowed.
    pub tf32: bool,
    /// Whether the provider was allowed to compute in float16, whatever the types of the model.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fp16: bool,
    /// Settings of the provider by ONNX Runtime's names, for a GPU.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_options: BTreeMap<String, String>,
    /// Batch size.
    pub batch_size: usize,
    /// Number of images (crops) of each run, where the model requires it: its fixed batch size, or 1 if images
    /// must be run one by one.
    #[serde(default)]
    pub run_size: Option<usize>,
    /// Type of the weights, such as `float32`, or the shares of several types, such as
    /// `int8 98.7 %, float32 1.3 %`; `none` without weights, `unknown` if the file cannot be parsed. Computation
    /// may be more precise, or with `tf32` or `fp16` less precise.
    pub precision: String,
    /// How the convolutions and matrix products are quantised, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationInfo>,
    /// Size of all files of the model in bytes; absent in files of older versions.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Type of the input, such as `float32` or `uint8`, and its layout if that is not the usual one:
    /// `float32 NHWC`.
    pub input: String,
    /// Description of decoding, resizing and cropping.
    pub preprocessing: String,
    /// The same as JSON.
    pub preprocessing_settings: Value,
    /// Normalisation of the pixels, if any.
    pub normalization: Option<Normalization>,
    /// Value of white before mean and standard deviation, which are in units of pixels / 255 in any case: with 255, a
    /// pixel p becomes 255 × (p / 255 − mean) / std. Absent for 1.
    #[serde(default, skip_serializing_if = "PixelRange::is_one")]
    pub pixel_range: PixelRange,
    /// Order of the channels in the input; `normalization` is that of red, green, blue. Absent for RGB.
    #[serde(default, skip_serializing_if = "ChannelOrder::is_rgb")]
    pub channel_order: ChannelOrder,
    /// The preset that the preprocessing is from: its name, or the path of its file, requested or found beside the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// What was averaged over the crops of an image.
    pub crops: CropAveraging,
    /// Name of the output with the scores; empty if it was not recorded.
    #[serde(default)]
    pub output: String,
    /// What the scores are.
    #[serde(default)]
    pub output_kind: OutputKind,
    /// Number of outputs before that of class 0, which are left out.
    #[serde(default)]
    pub label_offset: usize,
    /// What was decided for this model, and warnings, as printed.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The quantised nodes of a model, as its graph shows them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct QuantizationInfo {
    /// `QDQ`: floating-point operators between `DequantizeLinear` and `QuantizeLinear`. `QOperator`: operators of
    /// integers, such as `QLinearConv`. `dynamic`: operators of integers with scales computed from each batch.
    /// `weight-only`: weights that are dequantised before use. Several are joined by ` + `.
    pub format: String,
    /// Number of `Conv`, `MatMul` and `Gemm` nodes, quantised or not.
    pub nodes: usize,
    /// How many of them are quantised.
    pub quantized: usize,
    /// Types of the weights of these, such as `int8`.
    pub weights: Vec<String>,
    /// Types of their quantised inputs, such as `uint8`; empty if only weights are quantised.
    pub activations: Vec<String>,
}

impl fmt::Display for QuantizationInfo {
    /// `int8 QDQ`, and the share of the nodes if not all are quantised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.weights.is_empty() {
            write!(f, "{} ", self.weights.join("/"))?;
        }
        f.write_str(&self.format)?;
        if self.quantized < self.nodes {
            write!(f, " ({} of {} nodes)", self.quantized, self.nodes)?;
        }
        Ok(())
    }
}

impl ModelInfo {
    /// The number format in a few words: the quantisation, such as `int8 QDQ`, else the most frequent type of the
    /// weights, such as `float16`.
    pub fn number_format(&self) -> String {
        match &self.quantization {
            Some(quantization) => quantization.to_string(),
            None => {
                let first = self.precision.split([' ', ',']).next();
                first.unwrap_or_default().to_owned()
            }
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Time that a model took.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Timing {
    /// Number of CPU threads; absent if unknown, or if it differs between merged parts.
    pub threads: Option<usize>,
    /// Wall-clock time in seconds; for merged runs, the sum.
    pub seconds: f64,
    /// Time for decoding and resizing in seconds, summed over threads.
    pub decode_seconds: f64,
    /// Time for inference in seconds, summed over sessions.
    pub inference_seconds: f64,
    /// Number of sessions that ran at the same time; absent if unknown, or if it differs between merged parts.
    #[serde(default)]
    pub sessions: Option<usize>,
    /// Speed of inference: images × `sessions` / `inference_seconds`; 0 if unknown.
    pub images_per_second: f64,
}
