use std::fmt;
use std::path::Path;

use half::{bf16, f16};
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, TensorElementType};
use prost::Message;
use topk_native::Runtime;
use topk_onnx::proto::{DataType, GraphProto, ValueInfoProto};
use topk_ops::Reduction;
use topk_ops_onnx::Form;

use super::AttachOptions;
use super::addition::Addition;
use super::error::AttachError;
use super::files::Files;
use super::host::Host;
use super::inputs::{Sizes, floats, fractions, labels, noise};
use super::scores::{ScoreValue, size};

/// How an attached loss was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct LossCheck {
    /// What was run.
    pub run: Run,
    /// Number of samples.
    pub samples: usize,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// Largest difference of loss and gradient from those of `topk-ops`, relative to the largest score or loss if that
    /// is above 1.
    pub difference: f64,
    /// The tolerance that it is within.
    pub tolerance: f64,
}

/// What was run to verify a loss.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Run {
    /// The whole model, on inputs of noise.
    Model,
    /// The loss alone, on scores of noise, since the model does not run on noise. It was loaded as a whole.
    Loss {
        /// Why the model does not run.
        reason: String,
    },
}

impl fmt::Display for LossCheck {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            samples,
            onnxruntime: version,
            difference,
            tolerance,
            ..
        } = self;
        let plural = if *samples == 1 { "" } else { "s" };
        write!(
            f,
            "loss and gradient of {samples} sample{plural} of noise in ONNX Runtime {version} are within \
             {difference:.1e} of topk-ops' (tolerance {tolerance:.0e})"
        )?;
        match &self.run {
            Run::Model => Ok(()),
            Run::Loss { reason } => write!(
                f,
                "; computed from scores of noise, since the model, which was loaded, does not run on noise: {reason}"
            ),
        }
    }
}

/// A model with an attached loss, to be run.
pub(super) struct Trial<'a> {
    pub(super) runtime: Runtime,
    pub(super) host: &'a Host,
    pub(super) scores: &'a ScoreValue,
    pub(super) addition: &'a Addition,
    pub(super) options: &'a AttachOptions,
    pub(super) files: &'a Files<'a>,
}

/// Scores, and the outputs computed from them.
struct Found {
    samples: usize,
    labels: Vec<i64>,
    weights: Option<Vec<f64>>,
    scores: Vec<f32>,
    scores_shape: Vec<i64>,
    loss: (Vec<i64>, Vec<f64>),
    grad: (Vec<i64>, Vec<f64>),
}

impl Trial<'_> {
    /// Loads the model with the loss, runs it, and compares its loss and gradient with those of `topk-ops`.
    pub(super) fn check(&self) -> Result<LossCheck, AttachError> {
        let mut session = self.load()?;
        let (run, found) = match self.run_model(&mut session) {
            Ok(found) => (Run::Model, found),
            Err(reason) => {
                drop(session);
                (Run::Loss { reason }, self.run_loss()?)
            }
        };
        if run == Run::Model && !self.options.as_logits && are_probabilities(&found) {
            return Err(AttachError::Probabilities {
                name: self.scores.name.clone(),
                what: "has values of each sample that are not negative and sum to 1",
                instead: String::new(),
            });
        }
        let (difference, tolerance) = self.compare(&found)?;
        Ok(LossCheck {
            run,
            samples: found.samples,
            onnxruntime: self.runtime.version().to_owned(),
            difference,
            tolerance,
        })
    }

    fn session(&self) -> ort::Result<ort::session::builder::SessionBuilder> {
        let builder = Session::builder(self.runtime.environment())?;
        match self.addition.form {
            Form::Native => topk_ops_ort::register(builder),
            Form::Function | Form::Inline => Ok(builder),
        }
    }

    /// A session of the model with the loss whose outputs include the scores.
    fn load(&self) -> Result<Session, AttachError> {
        let load = |path: &Path| self.session()?.commit_from_file(path);
        let session = load(&self.files.model()).map_err(|error| {
            let version = self.runtime.version().to_owned();
            match load(&self.host.path) {
                Ok(_) => AttachError::Load {
                    version,
                    reason: load_reason(&error),
                },
                Err(error) => AttachError::Unsupported {
                    version,
                    reason: load_reason(&error),
                },
            }
        })?;
        if self.host.output(&self.scores.name).is_some() {
            return Ok(session);
        }
        drop(session);
        let mut with_scores = self.addition.model.clone();
        let graph: &mut GraphProto = with_scores.graph.get_or_insert_default();
        graph.output.push(ValueInfoProto {
            name: self.scores.name.clone(),
            ..ValueInfoProto::default()
        });
        let probe = self.files.probe();
        self.files.write(self.host, &with_scores, &probe)?;
        load(&probe).map_err(|error| self.run_error(load_reason(&error)))
    }

    fn run_error(&self, reason: String) -> AttachError {
        AttachError::Run {
            version: self.runtime.version().to_owned(),
            reason: first_line(&reason),
        }
    }

    /// Runs the whole model on noise; a message if that is not possible.
    fn run_model(&self, session: &mut Session) -> Result<Found, String> {
        let mut first = None;
        for sizes in Sizes::ALL {
            let found = self.run_with(session, sizes);
            let reason = match found {
                Ok(found) if found.scores.iter().all(|score| score.is_finite()) => {
                    return Ok(found);
                }
                Ok(_) => "its scores are not finite".to_owned(),
                Err(reason) => first_line(&reason),
            };
            first.get_or_insert(reason);
        }
        Err(first.expect("several sizes are tried"))
    }

    fn run_with(&self, session: &mut Session, sizes: Sizes) -> Result<Found, String> {
        let fixed = size(&self.scores.dims[0]);
        let samples = fixed.unwrap_or(sizes.batch);
        let (labels, weights) = (self.labels(samples), self.weights());
        let mut inputs: Vec<(String, SessionInputValue)> = self
            .own_inputs(&labels, &weights)
            .map_err(|error| error.to_string())?;
        for input in session.inputs() {
            if !inputs.iter().any(|(name, _)| name == input.name()) {
                let value = noise(
                    input,
                    Sizes {
                        batch: samples,
                        ..sizes
                    },
                )?;
                inputs.push((input.name().to_owned(), value));
            }
        }
        let outputs = session.run(inputs).map_err(|error| error.to_string())?;
        let (scores_shape, scores) = values(&outputs[&*self.scores.name])?;
        self.found(&outputs, labels, weights, scores_shape, scores)
    }

    /// Runs the loss alone on scores of noise.
    fn run_loss(&self) -> Result<Found, AttachError> {
        let run = || -> Result<Found, String> {
            let text = |error: ort::Error| error.to_string();
            topk_onnx::check(&self.addition.alone).map_err(|error| error.to_string())?;
            let bytes = self.addition.alone.encode_to_vec();
            let mut builder = self.session().map_err(text)?;
            let mut session = builder.commit_from_memory(&bytes).map_err(text)?;
            let samples = size(&self.scores.dims[0]).unwrap_or(3);
            let (labels, weights) = (self.labels(samples), self.weights());
            let classes = self.scores.scores.classes;
            let dims = self.scores.dims.iter().enumerate();
            let dims = dims.map(|(at, dim)| match (at, size(dim)) {
                (0, _) => samples,
                (_, Some(size)) => size,
                (_, None) => classes,
            });
            let dims: Vec<usize> = dims.collect();
            let noise = fractions(samples * classes);
            let scores: Vec<f32> = noise.iter().map(|value| 8.0 * value - 4.0).collect();
            let data_type = self.scores.scores.data_type;
            let scores = floats(data_type, dims, scores).map_err(text)?;
            let (shape, rounded) = values(&scores)?;
            let mut inputs = self.own_inputs(&labels, &weights).map_err(text)?;
            inputs.push((self.scores.name.clone(), scores));
            let outputs = session.run(inputs).map_err(text)?;
            self.found(&outputs, labels, weights, shape, rounded)
        };
        run().map_err(|reason| self.run_error(reason))
    }

    fn found(
        &self,
        outputs: &SessionOutputs,
        labels: Vec<i64>,
        weights: Option<Vec<f64>>,
        scores_shape: Vec<i64>,
        scores: Vec<f64>,
    ) -> Result<Found, String> {
        Ok(Found {
            samples: labels.len(),
            labels,
            weights,
            // Exact: values of 64 bits are rounded as the loss rounds them.
            scores: scores.iter().map(|&score| score as f32).collect(),
            scores_shape,
            loss: values(&outputs[&*self.addition.loss])?,
            grad: values(&outputs[&*self.addition.grad])?,
        })
    }

    /// Labels from the first class to the last; the last sample is ignored if a label is.
    fn labels(&self, samples: usize) -> Vec<i64> {
        let last = self.scores.scores.classes as i64 - 1;
        let spread = (samples as i64 - 1).max(1);
        let mut labels: Vec<i64> = (0..samples as i64).map(|i| i * last / spread).collect();
        if let (Some(ignored), true, Some(label)) = (
            self.options.loss.ignore_index,
            samples > 1,
            labels.last_mut(),
        ) {
            *label = ignored;
        }
        labels
    }

    fn weights(&self) -> Option<Vec<f64>> {
        self.addition.weights.as_ref()?;
        // Exact in 16 bits.
        let weights = (0..self.scores.scores.classes).map(|class| 0.5 + (class % 4) as f64 / 4.0);
        Some(weights.collect())
    }

    fn own_inputs(
        &self,
        of_samples: &[i64],
        weights: &Option<Vec<f64>>,
    ) -> ort::Result<Vec<(String, SessionInputValue<'static>)>> {
        let addition = self.addition;
        let value = labels(addition.labels_type, of_samples)?;
        let mut inputs = vec![(addition.labels.clone(), value)];
        if let (Some(name), Some(weights)) = (&addition.weights, weights) {
            let values = weights.iter().map(|&weight| weight as f32).collect();
            let value = floats(self.scores.scores.data_type, vec![weights.len()], values)?;
            inputs.push((name.clone(), value));
        }
        Ok(inputs)
    }

    /// Largest difference from the loss of `topk-ops`, and the tolerance.
    fn compare(&self, found: &Found) -> Result<(f64, f64), AttachError> {
        let loss = &self.options.loss;
        let mut criterion = loss.criterion();
        if let Some(weights) = &found.weights {
            criterion = criterion.with_weight(weights.clone())?;
        }
        let (reduced, samples) = (loss.reduction != Reduction::None, found.samples as i64);
        let loss_shape = match (reduced, self.options.scalar) {
            (true, true) => vec![],
            (true, false) => vec![1],
            (false, _) => vec![samples],
        };
        let addition = self.addition;
        for (output, shape, expected) in [
            (&addition.loss, &found.loss.0, &loss_shape),
            (&addition.grad, &found.grad.0, &found.scores_shape),
        ] {
            if shape != expected {
                return Err(AttachError::OutputShape {
                    version: self.runtime.version().to_owned(),
                    output: output.clone(),
                    found: shape.clone(),
                    expected: expected.clone(),
                });
            }
        }
        let mut losses = vec![0.0f32; criterion.output_len(found.samples)];
        let mut grad = vec![0.0f32; found.scores.len()];
        criterion.forward_backward(&found.scores, &found.labels, &mut losses, &mut grad)?;
        let largest = |values: &[f32]| values.iter().fold(1.0, |max, value| value.abs().max(max));
        let scale = f64::from(largest(&found.scores).max(largest(&losses)));
        let tolerance = tolerance(self.scores.scores.data_type);
        let mut all = 0.0f64;
        for (output, found, expected) in [
            (&addition.loss, &found.loss.1, &losses),
            (&addition.grad, &found.grad.1, &grad),
        ] {
            let differences = found.iter().zip(expected);
            let differences = differences.map(|(a, &b)| (a - f64::from(b)).abs() / scale);
            let difference =
                differences.fold(
                    0.0,
                    |max: f64, difference| {
                        if difference.le(&max) { max } else { difference }
                    },
                );
            // NaN is not within any tolerance.
            if !difference.le(&tolerance) {
                return Err(AttachError::Difference {
                    version: self.runtime.version().to_owned(),
                    output: output.clone(),
                    difference,
                    tolerance,
                });
            }
            all = all.max(difference);
        }
        Ok((all, tolerance))
    }
}

/// The tolerance for outputs of this type: that of `f32`, in which the portable form computes, or the rounding of the
/// outputs.
fn tolerance(data_type: DataType) -> f64 {
    match data_type {
        DataType::Float16 => 2e-3,
        DataType::Bfloat16 => 2e-2,
        _ => 1e-4,
    }
}

/// Whether the scores of each sample are not negative and sum to 1, but are not zeros and ones.
fn are_probabilities(found: &Found) -> bool {
    let rows = found
        .scores
        .chunks(found.scores.len() / found.samples.max(1));
    let mut sums = rows.map(|row| row.iter().sum::<f32>());
    let inside = |&score: &f32| score > 0.0 && score < 1.0;
    found.scores.iter().all(|&score| score >= 0.0)
        && found.scores.iter().any(inside)
        && sums.all(|sum| (sum - 1.0).abs() <= 0.01)
}

/// Shape and values of a tensor of floating-point numbers.
fn values(value: &DynValue) -> Result<(Vec<i64>, Vec<f64>), String> {
    let text = |error: ort::Error| error.to_string();
    let found = match value.dtype().tensor_type() {
        Some(TensorElementType::Float16) => {
            let (shape, values) = value.try_extract_tensor::<f16>().map_err(text)?;
            (shape, values.iter().map(|&value| value.into()).collect())
        }
        Some(TensorElementType::Bfloat16) => {
            let (shape, values) = value.try_extract_tensor::<bf16>().map_err(text)?;
            (shape, values.iter().map(|&value| value.into()).collect())
        }
        Some(TensorElementType::Float64) => {
            let (shape, values) = value.try_extract_tensor::<f64>().map_err(text)?;
            (shape, values.to_vec())
        }
        _ => {
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(text)?;
            (shape, values.iter().map(|&value| value.into()).collect())
        }
    };
    Ok((found.0.to_vec(), found.1))
}

/// Why a model cannot be loaded, without the name of a temporary file.
pub(super) fn load_reason(error: &ort::Error) -> String {
    let text = first_line(&error.to_string());
    let of_file = text.strip_prefix("Load model from ");
    let reason = of_file.and_then(|rest| Some(rest.split_once(" failed:")?.1.to_owned()));
    reason.unwrap_or(text)
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or(text);
    line.trim_end_matches(['.', ' ']).to_owned()
}
