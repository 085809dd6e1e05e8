use std::fmt;
use std::path::Path;

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor as OrtTensor;
use tch::{Device, Kind, Tensor, no_grad};
use thiserror::Error;
use topk_image::{NormalizationTable, RgbImage};
use topk_native::{Runtime, RuntimeError};
use topk_onnx::ImageInput;
use topk_ops::{Loss, LossError};
use topk_ops_onnx::Form;
use topk_preprocessing::Normalization;

use crate::checkpoint::Checkpoint;
use crate::export::{CLASSES, ExportOptions, Head, INPUT, LABELS, LOGITS, LOSS, PROBABILITIES};
use crate::network::{Mode, Network};

/// Largest difference that is taken in `f32`, as a share of the largest logit.
const TOLERANCE: f32 = 1e-4;

/// Largest difference that is taken in 16-bit floating point, whose numbers have 11 bits.
const FLOAT16_TOLERANCE: f32 = 1e-2;

/// Photographs of CIFAR-100's test set: the first of `tests/data/cifar100-sample`, without its label. One is
/// enough, and a batch of two takes as little memory as a batch can.
const PHOTOGRAPHS: &[u8] = include_bytes!("photographs.bin");

/// Side of a photograph.
const SIDE: usize = 32;

/// Channels of all images.
const CHANNELS: usize = 3;

/// Photographs, and one image of noise.
const IMAGES: usize = PHOTOGRAPHS.len() / (CHANNELS * SIDE * SIDE) + 1;

/// How near an exported model came to the network that it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// Number of images that both were run on.
    pub images: usize,
    /// Largest difference between their outputs, as a share of the largest logit.
    pub difference: f32,
    /// What it had to be within.
    pub tolerance: f32,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "outputs for {} images in ONNX Runtime {} are within {:.1e} of libtorch's, relative to the \
             largest logit (tolerance {:e})",
            self.images, self.onnxruntime, self.difference, self.tolerance
        )
    }
}

/// Why an exported model is not known to be the network that it was made from.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// There is no ONNX Runtime to run it.
    #[error(
        "{0}. Without it, an export cannot verify itself, but can be had unverified (--no-verify)"
    )]
    Runtime(#[from] RuntimeError),
    /// The network gives no numbers.
    #[error(
        "the network gives logits that are not finite for ordinary images, in libtorch: its weights \
         are broken"
    )]
    NotFinite,
    /// The network gives nothing that could be compared.
    #[error(
        "every logit is 0 for ordinary images, in libtorch, which shows nothing: the last layer has not \
         been trained. It can be exported unverified (--no-verify)"
    )]
    Zero,
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// ONNX Runtime refuses the model.
    #[error("ONNX Runtime {version} cannot run the model: {reason}")]
    Run {
        /// Version of ONNX Runtime.
        version: String,
        /// Its words.
        reason: String,
    },
    /// The outputs differ.
    #[error(
        "`{output}` in ONNX Runtime {version} differs from libtorch's by {difference:.1e} of the largest \
         logit, and the tolerance is {tolerance:e}. Such a model is not left behind: take another \
         precision, or a larger --tolerance if that is good enough"
    )]
    Difference {
        /// Version of ONNX Runtime.
        version: String,
        /// Name of the output.
        output: &'static str,
        /// Largest difference, as a share of the largest logit; NaN or infinite if the output is.
        difference: f32,
        /// What it had to be within.
        tolerance: f32,
    },
}

/// What a model must give for some images.
pub(crate) struct Expected {
    /// RGB bytes `[IMAGES, CHANNELS, height, width]`.
    pixels: Vec<u8>,
    size: [usize; 3],
    normalization: Normalization,
    /// `[IMAGES, classes]`.
    logits: Vec<f32>,
    classes: usize,
}

impl Expected {
    /// Runs the network in libtorch, and gives the checkpoint back.
    ///
    /// # Errors
    /// If its scores are not finite, or all 0.
    pub(crate) fn new(checkpoint: Checkpoint) -> Result<(Self, Checkpoint), VerificationError> {
        let card = checkpoint.card().clone();
        let mut expected = Self {
            pixels: images(card.input_size),
            size: card.input_size,
            normalization: Normalization {
                mean: card.mean,
                std: card.std,
            },
            logits: Vec::new(),
            classes: checkpoint.architecture().classes(),
        };
        let [channels, height, width] = card.input_size;
        let shape = [IMAGES, channels, height, width].map(|dim| dim as i64);
        let input = Tensor::from_slice(&expected.normalized()).reshape(shape);
        let network = Network::of_checkpoint(checkpoint, Device::Cpu);
        let logits = no_grad(|| network.forward(&input, Mode::Eval));
        expected.logits = Vec::try_from(logits.view(-1)).expect("logits are f32");
        if !expected.logits.iter().all(|logit| logit.is_finite()) {
            Err(VerificationError::NotFinite)
        } else if expected.logits.iter().all(|&logit| logit == 0.0) {
            Err(VerificationError::Zero)
        } else {
            Ok((expected, Checkpoint::from_network(card, network)))
        }
    }

    /// The images as a model takes them that does not normalise.
    fn normalized(&self) -> Vec<f32> {
        let table = NormalizationTable::new(&self.normalization);
        let mut values = vec![0.0; self.pixels.len()];
        let len = self.size.iter().product();
        let images = self.pixels.chunks_exact(len);
        for (image, values) in images.zip(values.chunks_exact_mut(len)) {
            table.normalize(image, values);
        }
        values
    }

    /// The images in rows of pixels.
    fn rows(&self) -> Vec<u8> {
        let images = self.pixels.chunks_exact(self.size.iter().product());
        images
            .flat_map(|image| RgbImage::of_planes(self.size, image).pixels)
            .collect()
    }

    /// Classes from the first to the last.
    fn labels(&self) -> Vec<i64> {
        let last = self.classes as i64 - 1;
        (0..IMAGES as i64)
            .map(|i| i * last / (IMAGES as i64 - 1))
            .collect()
    }

    /// Runs a model that was written with these options, and compares.
    ///
    /// # Errors
    /// If it cannot be run, or its outputs differ by more than the tolerance.
    pub(crate) fn check(
        &self,
        path: &Path,
        options: &ExportOptions,
    ) -> Result<Verification, VerificationError> {
        let runtime = Runtime::load()?;
        let tolerance = options.tolerance.unwrap_or(match options.float16 {
            true => FLOAT16_TOLERANCE,
            false => TOLERANCE,
        });
        let outputs = self.run(&runtime, path, options);
        let outputs = outputs.map_err(|error| VerificationError::Run {
            version: runtime.version().to_owned(),
            reason: error.to_string(),
        })?;
        let mut verification = Verification {
            images: IMAGES,
            difference: 0.0,
            tolerance,
            onnxruntime: runtime.version().to_owned(),
        };
        for (output, difference) in self.differences(options.head, &outputs)? {
            // A difference that is no number is not within any tolerance.
            if !difference.le(&tolerance) {
                return Err(VerificationError::Difference {
                    version: verification.onnxruntime,
                    output,
                    difference,
                    tolerance,
                });
            }
            verification.difference = verification.difference.max(difference);
        }
        Ok(verification)
    }

    fn run(&self, runtime: &Runtime, path: &Path, options: &ExportOptions) -> ort::Result<Outputs> {
        let mut builder = Session::builder(runtime.environment())?;
        if let Head::Loss {
            form: Form::Native, ..
        } = options.head
        {
            builder = topk_ops_ort::register(builder)?;
        }
        // What else ONNX Runtime does to a graph are copies of the weights in other layouts.
        let mut session = builder
            .with_optimization_level(GraphOptimizationLevel::Level2)?
            .with_prepacking(false)?
            .commit_from_file(path)?;
        let [channels, height, width] = self.size;
        let planes = [IMAGES, channels, height, width];
        let images: SessionInputValue = match options.image_input {
            None => OrtTensor::from_array((planes, self.normalized()))?.into(),
            Some(ImageInput::Float) => {
                let values = self.pixels.iter().map(|&pixel| f32::from(pixel) / 255.0);
                OrtTensor::from_array((planes, values.collect::<Vec<_>>()))?.into()
            }
            Some(ImageInput::Bytes) => {
                OrtTensor::from_array(([IMAGES, height, width, channels], self.rows()))?.into()
            }
        };
        let mut inputs = vec![(INPUT, images)];
        if let Head::Loss { .. } = options.head {
            inputs.push((
                LABELS,
                OrtTensor::from_array(([IMAGES], self.labels()))?.into(),
            ));
        }
        let found = session.run(inputs)?;
        let floats = |name: &str| -> ort::Result<Vec<f32>> {
            Ok(found[name].try_extract_tensor::<f32>()?.1.to_vec())
        };
        Ok(match options.head {
            Head::Logits => Outputs::Logits(floats(LOGITS)?),
            Head::Loss { .. } => Outputs::Loss {
                logits: floats(LOGITS)?,
                losses: floats(LOSS)?,
            },
            Head::TopK(_) => Outputs::TopK {
                probabilities: floats(PROBABILITIES)?,
                classes: found[CLASSES].try_extract_tensor::<i64>()?.1.to_vec(),
            },
        })
    }

    /// For each output, its largest difference, as a share of the largest logit.
    fn differences(
        &self,
        head: Head,
        outputs: &Outputs,
    ) -> Result<Vec<(&'static str, f32)>, LossError> {
        let largest = self.logits.iter().map(|logit| logit.abs());
        let largest = largest.fold(0.0, f32::max);
        let logits = |found: &[f32]| (LOGITS, largest_difference(found, &self.logits) / largest);
        Ok(match outputs {
            Outputs::Logits(found) => vec![logits(found)],
            Outputs::Loss {
                logits: found,
                losses,
            } => {
                let expected = self.losses(head)?;
                let scale = expected.iter().fold(largest, |max, &loss| max.max(loss));
                vec![
                    logits(found),
                    (LOSS, largest_difference(losses, &expected) / scale),
                ]
            }
            Outputs::TopK {
                probabilities,
                classes,
            } => {
                let (values, places) = self.ranked(probabilities.len() / IMAGES, classes);
                // A probability changes by less than its logit.
                let scale = largest.max(1.0);
                vec![
                    (
                        PROBABILITIES,
                        largest_difference(probabilities, &values) / scale,
                    ),
                    // Where classes are as good as equal, either order is right.
                    (CLASSES, largest_difference(&places, &values) / scale),
                ]
            }
        })
    }

    fn losses(&self, head: Head) -> Result<Vec<f32>, LossError> {
        let mut losses = vec![0.0; IMAGES];
        if let Head::Loss { loss, .. } = head {
            let labels = self.labels();
            let criterion = loss.operator.loss(loss.k, loss.tau, loss.alpha)?;
            criterion.forward(&self.logits, &labels, &mut losses)?;
            for (value, label) in losses.iter_mut().zip(labels) {
                if loss.ignore_index == Some(label) {
                    *value = 0.0;
                }
            }
        }
        Ok(losses)
    }

    /// The k highest probabilities of each image, and the probabilities of these classes; NaN for what is
    /// none.
    fn ranked(&self, k: usize, classes: &[i64]) -> (Vec<f32>, Vec<f32>) {
        let (mut highest, mut named) = (Vec::new(), Vec::new());
        for (logits, classes) in self
            .logits
            .chunks(self.classes)
            .zip(classes.chunks(k.max(1)))
        {
            let probabilities = softmax(logits);
            let of = |&class: &i64| {
                let class = usize::try_from(class).ok();
                class
                    .and_then(|class| probabilities.get(class).copied())
                    .unwrap_or(f32::NAN)
            };
            named.extend(classes.iter().map(of));
            let mut sorted = probabilities.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            highest.extend(&sorted[..k.min(sorted.len())]);
        }
        (highest, named)
    }
}

/// What a model gave.
enum Outputs {
    Logits(Vec<f32>),
    Loss {
        logits: Vec<f32>,
        losses: Vec<f32>,
    },
    TopK {
        probabilities: Vec<f32>,
        classes: Vec<i64>,
    },
}

/// NaN if there is a NaN, or if there are not as many of both.
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

/// The photographs in this size, and noise.
fn images([channels, height, width]: [usize; 3]) -> Vec<u8> {
    let shape = [IMAGES - 1, CHANNELS, SIDE, SIDE].map(|dim| dim as i64);
    let photographs = Tensor::from_slice(PHOTOGRAPHS)
        .reshape(shape)
        .to_kind(Kind::Float);
    let size = [height as i64, width as i64];
    let photographs = photographs
        .upsample_bilinear2d(size, false, None, None)
        .round();
    let photographs = photographs.to_kind(Kind::Uint8).view(-1);
    let mut pixels = Vec::<u8>::try_from(photographs).expect("they are bytes");
    // SplitMix64.
    pixels.extend((1..=(channels * height * width) as u64).map(|i| {
        let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 56) as u8
    }));
    pixels
}
