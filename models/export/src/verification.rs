use std::fmt;
use std::path::Path;

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor as OrtTensor;
use thiserror::Error;
use topk_models::{
    CLASSES, Checkpoint, GRAD, INPUT, LABELS, LOGITS, LOSS, OnnxOptions, Outputs, PROBABILITIES,
};
use topk_native::{Runtime, RuntimeError};
use topk_onnx::{ChannelValues, ImageInput};
use topk_ops::LossError;
use topk_ops_onnx::Form;

use crate::export::ExportOptions;
use crate::libtorch::reference_logits;
use crate::test_images::TestImages;

/// Default tolerance in `f32`.
const TOLERANCE: f32 = 1e-4;

/// Default tolerance in 16-bit floating point, whose numbers have 11 significant bits.
const FLOAT16_TOLERANCE: f32 = 1e-2;

/// How an exported model was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// Number of images that the model was run on.
    pub images: usize,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// How close the outputs came to the network's in libtorch; `None` if built without libtorch.
    pub comparison: Option<Comparison>,
}

/// The outputs of a model compared with those of the network in libtorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Largest difference, relative to the largest logit.
    pub difference: f32,
    /// The tolerance that it is within.
    pub tolerance: f32,
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (images, version) = (self.images, &self.onnxruntime);
        match self.comparison {
            Some(Comparison {
                difference,
                tolerance,
            }) => write!(
                f,
                "outputs for {images} images in ONNX Runtime {version} are within {difference:.1e} of \
                 libtorch's, relative to the largest logit (tolerance {tolerance:e})"
            ),
            None => write!(
                f,
                "outputs for {images} images in ONNX Runtime {version} are finite and have the right \
                 shapes; not compared with libtorch: built without it (feature `libtorch`)"
            ),
        }
    }
}

/// Why an exported model fails verification.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// ONNX Runtime is not available.
    #[error("{0}. Verifying the model needs ONNX Runtime; --no-verify writes it unverified")]
    Runtime(#[from] RuntimeError),
    /// The network's logits are not finite.
    #[error(
        "the network's logits for ordinary images are not finite in libtorch: its weights are invalid"
    )]
    NotFinite,
    /// The network's logits are all 0.
    #[error(
        "every logit is 0 for ordinary images in libtorch, so outputs cannot be compared: the last layer \
         is untrained. --no-verify writes the model unverified"
    )]
    Zero,
    /// The expected loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// ONNX Runtime cannot run the model.
    #[error("ONNX Runtime {version} cannot run the model: {reason}")]
    Run {
        /// Version of ONNX Runtime.
        version: String,
        /// ONNX Runtime's message.
        reason: String,
    },
    /// An output has the wrong shape.
    #[error("`{output}` in ONNX Runtime {version} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Version of ONNX Runtime.
        version: String,
        /// Name of the output.
        output: &'static str,
        /// Its shape.
        found: Vec<i64>,
        /// The expected shape.
        expected: Vec<i64>,
    },
    /// An output is not finite; reported only where it cannot be compared with libtorch's.
    #[error(
        "`{output}` in ONNX Runtime {version} is not finite for ordinary images: the weights are invalid, \
         or too large for the --precision"
    )]
    OutputNotFinite {
        /// Version of ONNX Runtime.
        version: String,
        /// Name of the output.
        output: &'static str,
    },
    /// An output differs from libtorch's.
    #[error(
        "`{output}` in ONNX Runtime {version} differs from libtorch's by {difference:.1e} of the largest \
         logit; the tolerance is {tolerance:e}. The model is not kept: choose another --precision, or a \
         larger --tolerance if this is accurate enough"
    )]
    Difference {
        /// Version of ONNX Runtime.
        version: String,
        /// Name of the output.
        output: &'static str,
        /// Largest difference, relative to the largest logit; NaN or infinite if the output is.
        difference: f32,
        /// The tolerance.
        tolerance: f32,
    },
}

/// The outputs expected of a model for the test images.
pub(crate) struct Expected {
    images: TestImages,
    mean: ChannelValues,
    std: ChannelValues,
    classes: usize,
    /// Logits of the network in libtorch, `[images, classes]`.
    logits: Option<Vec<f32>>,
}

impl Expected {
    /// Runs the network in libtorch if it is built in.
    ///
    /// # Errors
    /// If the logits are not finite, or all 0.
    pub(crate) fn new(checkpoint: &Checkpoint) -> Result<Self, VerificationError> {
        let card = checkpoint.card();
        let (mean, std) = (card.mean, card.std);
        let images = TestImages::new(card.input_size);
        let classes = checkpoint.architecture().classes();
        let normalized = images.normalized(mean.as_slice(), std.as_slice());
        let logits = reference_logits(checkpoint, &normalized, images.shape());
        if let Some(logits) = &logits {
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Err(VerificationError::NotFinite);
            }
            if logits.iter().all(|&logit| logit == 0.0) {
                return Err(VerificationError::Zero);
            }
        }
        Ok(Self {
            images,
            mean,
            std,
            classes,
            logits,
        })
    }

    /// Runs a model that was written with these options, and checks its outputs.
    ///
    /// # Errors
    /// If the model cannot be run, or an output is not as expected.
    pub(crate) fn check(
        &self,
        path: &Path,
        options: &ExportOptions,
    ) -> Result<Verification, VerificationError> {
        let runtime = Runtime::load()?;
        let version = || runtime.version().to_owned();
        let found = self.run(&runtime, path, &options.model);
        let found = found.map_err(|error| VerificationError::Run {
            version: version(),
            reason: error.to_string(),
        })?;
        for output in &found {
            let expected = self.shape(output.name, options.model.outputs);
            if output.shape != expected {
                return Err(VerificationError::Shape {
                    version: version(),
                    output: output.name,
                    found: output.shape.clone(),
                    expected,
                });
            }
        }
        let comparison = match &self.logits {
            Some(logits) => Some(self.compare(logits, &found, options, &version())?),
            None => {
                let broken = found.iter().find(|output| !output.values.is_finite());
                if let Some(output) = broken {
                    return Err(VerificationError::OutputNotFinite {
                        version: version(),
                        output: output.name,
                    });
                }
                None
            }
        };
        Ok(Verification {
            images: TestImages::COUNT,
            onnxruntime: version(),
            comparison,
        })
    }

    /// The labels of the images, from the first class to the last.
    fn labels(&self) -> Vec<i64> {
        let last = self.classes as i64 - 1;
        let count = TestImages::COUNT as i64;
        (0..count).map(|i| i * last / (count - 1)).collect()
    }

    /// The shape that an output must have.
    fn shape(&self, output: &str, outputs: Outputs) -> Vec<i64> {
        let images = TestImages::COUNT as i64;
        match (output, outputs) {
            (LOGITS | GRAD, _) => vec![images, self.classes as i64],
            (_, Outputs::TopK(k)) => vec![images, k as i64],
            _ => vec![images],
        }
    }

    fn run(
        &self,
        runtime: &Runtime,
        path: &Path,
        options: &OnnxOptions,
    ) -> ort::Result<Vec<Output>> {
        let mut builder = Session::builder(runtime.environment())?;
        if let Outputs::Loss {
            form: Form::Native, ..
        } = options.outputs
        {
            builder = topk_ops_ort::register(builder)?;
        }
        // Higher levels and prepacking would hold copies of the weights in other layouts.
        let mut session = builder
            .with_optimization_level(GraphOptimizationLevel::Level2)?
            .with_prepacking(false)?
            .commit_from_file(path)?;
        let images = &self.images;
        let [count, channels, height, width] = images.shape();
        let input: SessionInputValue = match options.image_input {
            None => {
                let normalized = images.normalized(self.mean.as_slice(), self.std.as_slice());
                OrtTensor::from_array((images.shape(), normalized))?.into()
            }
            Some(ImageInput::Float) => {
                OrtTensor::from_array((images.shape(), images.fractions()))?.into()
            }
            Some(ImageInput::Bytes) => {
                let shape = [count, height, width, channels];
                OrtTensor::from_array((shape, images.channels_last()))?.into()
            }
        };
        let mut inputs = vec![(INPUT, input)];
        if let Outputs::Loss { .. } = options.outputs {
            let labels = OrtTensor::from_array(([count], self.labels()))?;
            inputs.push((LABELS, labels.into()));
        }
        let found = session.run(inputs)?;
        let floats = |name: &'static str| -> ort::Result<Output> {
            let (shape, values) = found[name].try_extract_tensor::<f32>()?;
            Ok(Output {
                name,
                shape: shape.to_vec(),
                values: Values::Floats(values.to_vec()),
            })
        };
        Ok(match options.outputs {
            Outputs::Logits => vec![floats(LOGITS)?],
            Outputs::Loss { gradient, .. } => {
                let mut outputs = vec![floats(LOGITS)?, floats(LOSS)?];
                if gradient {
                    outputs.push(floats(GRAD)?);
                }
                outputs
            }
            Outputs::TopK(_) => {
                let (shape, classes) = found[CLASSES].try_extract_tensor::<i64>()?;
                let classes = Output {
                    name: CLASSES,
                    shape: shape.to_vec(),
                    values: Values::Integers(classes.to_vec()),
                };
                vec![floats(PROBABILITIES)?, classes]
            }
        })
    }

    /// Compares outputs with those that follow from the logits of the network in libtorch.
    fn compare(
        &self,
        logits: &[f32],
        found: &[Output],
        options: &ExportOptions,
        version: &str,
    ) -> Result<Comparison, VerificationError> {
        let tolerance = options.tolerance.unwrap_or(match options.model.float16 {
            true => FLOAT16_TOLERANCE,
            false => TOLERANCE,
        });
        let mut largest = 0.0f32;
        for output in found {
            let difference = self.difference(logits, output, options.model.outputs)?;
            // NaN is not within any tolerance.
            if !difference.le(&tolerance) {
                return Err(VerificationError::Difference {
                    version: version.to_owned(),
                    output: output.name,
                    difference,
                    tolerance,
                });
            }
            largest = largest.max(difference);
        }
        Ok(Comparison {
            difference: largest,
            tolerance,
        })
    }

    /// Largest difference of an output from the expected values, relative to the largest logit.
    fn difference(
        &self,
        logits: &[f32],
        output: &Output,
        outputs: Outputs,
    ) -> Result<f32, LossError> {
        let scale = logits.iter().map(|logit| logit.abs()).fold(0.0, f32::max);
        Ok(match (&output.values, outputs) {
            (Values::Floats(found), Outputs::Loss { loss, .. }) if output.name == LOSS => {
                let labels = self.labels();
                let mut expected = vec![0.0; TestImages::COUNT];
                loss.criterion().forward(logits, &labels, &mut expected)?;
                let scale = expected.iter().fold(scale, |max, &loss| max.max(loss));
                largest_difference(found, &expected) / scale
            }
            (Values::Floats(found), Outputs::Loss { loss, .. }) if output.name == GRAD => {
                let labels = self.labels();
                let (mut losses, mut grad) =
                    (vec![0.0; TestImages::COUNT], vec![0.0; logits.len()]);
                let criterion = loss.criterion();
                criterion.forward_backward(logits, &labels, &mut losses, &mut grad)?;
                // At a temperature of 1 an entry changes by less than its logit; at a lower one by more.
                let steepness = loss.loss.tau().unwrap_or(1.0).min(1.0) as f32;
                largest_difference(found, &grad) * steepness / scale.max(1.0)
            }
            (Values::Floats(found), Outputs::TopK(k)) => {
                let highest = self.highest_probabilities(logits, k);
                // A probability changes by less than its logit.
                largest_difference(found, &highest) / scale.max(1.0)
            }
            // Where two classes are nearly equal, either order is correct: compare their probabilities.
            (Values::Integers(classes), Outputs::TopK(k)) => {
                let highest = self.highest_probabilities(logits, k);
                let named = self.probabilities_of(logits, k, classes);
                largest_difference(&named, &highest) / scale.max(1.0)
            }
            (Values::Floats(found), _) => largest_difference(found, logits) / scale,
            (Values::Integers(_), _) => f32::NAN,
        })
    }

    /// The k highest probabilities of each image, in descending order.
    fn highest_probabilities(&self, logits: &[f32], k: usize) -> Vec<f32> {
        let images = logits.chunks(self.classes);
        images
            .flat_map(|logits| {
                let mut probabilities = softmax(logits);
                probabilities.sort_by(|a, b| b.total_cmp(a));
                probabilities.truncate(k);
                probabilities
            })
            .collect()
    }

    /// The probabilities of k classes of each image; NaN for a class that does not exist.
    fn probabilities_of(&self, logits: &[f32], k: usize, classes: &[i64]) -> Vec<f32> {
        let images = logits.chunks(self.classes).zip(classes.chunks(k));
        images
            .flat_map(|(logits, classes)| {
                let probabilities = softmax(logits);
                classes.iter().map(move |&class| {
                    let class = usize::try_from(class).ok();
                    let probability = class.and_then(|class| probabilities.get(class).copied());
                    probability.unwrap_or(f32::NAN)
                })
            })
            .collect()
    }
}

/// An output of a model.
struct Output {
    name: &'static str,
    shape: Vec<i64>,
    values: Values,
}

enum Values {
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

impl Values {
    fn is_finite(&self) -> bool {
        match self {
            Self::Floats(values) => values.iter().all(|value| value.is_finite()),
            Self::Integers(_) => true,
        }
    }
}

/// NaN if one of the values is NaN, or if the lengths differ.
fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() {
        return f32::NAN;
    }
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max, difference| match difference.le(&max) {
        true => max,
        false => difference,
    })
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f64> = logits
        .iter()
        .map(|&logit| f64::from(logit - max).exp())
        .collect();
    let sum: f64 = exp.iter().sum();
    exp.iter().map(|exp| (exp / sum) as f32).collect()
}
