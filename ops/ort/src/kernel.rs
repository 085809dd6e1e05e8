//! The computation of the operators.

use std::borrow::Cow;
use std::ffi::CString;
use std::ptr;

use thiserror::Error;
use topk_ops::operator::{LossOperator, OperatorLoss};
use topk_ops::{BatchOutputs, Criterion, LossError, Reduction, Score};
use topk_ops_cuda::plan::{DeviceLimits, PlanError, plan};
use topk_ops_cuda::{Batch, CudaError, Gradient, KernelLoss, ScoreType, Stream};

use crate::ffi::{
    Attribute, Dim, Element, IntraOpThreads, KernelInfo, KernelInputs, KernelOutputs, RuntimeError,
    ShapeInference, Tensor,
};

/// The inputs of every operator.
pub(crate) const INPUTS: [&str; 3] = ["scores", "labels", "weights"];

/// A node has invalid attributes or inputs.
#[derive(Debug, Error)]
pub(crate) enum KernelError {
    #[error("attribute {0} is missing")]
    MissingAttribute(&'static str),
    #[error("attribute {name} must be {expected}; got {found}")]
    AttributeType {
        name: &'static str,
        expected: &'static str,
        found: &'static str,
    },
    #[error("this operator has no attribute {0}")]
    UnknownAttribute(&'static str),
    #[error("k must be at least 1, got {0}")]
    NegativeK(i64),
    #[error("unknown reduction {0:?}: expected none, sum or mean")]
    Reduction(String),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("scores have shape {0:?}, expected [N, C]")]
    Scores(Vec<i64>),
    #[error("{input} have shape {shape:?} for scores of shape {scores:?}: expected [{expected}]")]
    Shape {
        input: &'static str,
        shape: Vec<i64>,
        scores: Vec<i64>,
        expected: i64,
    },
    #[error("{0}. Use the CPU provider for this model")]
    NoCudaKernel(PlanError),
    #[error("this loss has no CUDA kernel. Use the CPU provider for this model")]
    NotOnCuda,
    #[error(transparent)]
    Cuda(#[from] CudaError),
    #[error(transparent)]
    Loss(#[from] LossError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Sets the shapes of the outputs, as far as the model states those of the inputs.
///
/// The node is not validated here but when its kernel is created.
///
/// # Errors
/// At the first output that the node lacks.
pub(crate) fn infer_shapes(
    operator: LossOperator,
    shapes: &ShapeInference<'_>,
) -> Result<(), RuntimeError> {
    let scores = shapes.input_shape(0, 2)?;
    let samples = match &scores {
        Some(scores) => Some(vec![scores[0]]),
        None => shapes.input_shape(1, 1)?,
    };
    let one = Some(vec![Dim { size: 1, name: c"" }]);
    let unreduced = shapes.short_string(c"reduction")?.as_deref() == Some("none");
    let loss = if unreduced { samples.clone() } else { one };
    let prob = if operator.has_prob() { samples } else { None };
    for (output, shape) in [loss, scores, prob].into_iter().enumerate() {
        if let Some(shape) = shape {
            shapes.set_output(output, &shape)?;
        }
    }
    Ok(())
}

/// Integer types of labels.
pub(crate) trait Label: Element {
    fn widen(labels: &[Self]) -> Cow<'_, [i64]>;
}

impl Label for i64 {
    fn widen(labels: &[Self]) -> Cow<'_, [i64]> {
        labels.into()
    }
}

impl Label for i32 {
    fn widen(labels: &[Self]) -> Cow<'_, [i64]> {
        labels.iter().copied().map(i64::from).collect()
    }
}

/// The loss of a node with its settings.
#[derive(Debug)]
pub(crate) struct Kernel {
    loss: OperatorLoss,
    reduction: Reduction,
    ignore_index: Option<i64>,
}

impl Kernel {
    /// Reads the attributes of a node.
    ///
    /// # Errors
    /// If an attribute is missing, has the wrong type or is out of range, or if the model states a number
    /// of classes that is too small.
    pub(crate) fn new(operator: LossOperator, info: &KernelInfo<'_>) -> Result<Self, KernelError> {
        let attributes = Attributes(info);
        let k = match (attributes.int("k")?, operator.has_k()) {
            (Some(k), true) => usize::try_from(k).map_err(|_| KernelError::NegativeK(k))?,
            (None, true) => return Err(KernelError::MissingAttribute("k")),
            (Some(_), false) => return Err(KernelError::UnknownAttribute("k")),
            // It is not a parameter of the loss.
            (None, false) => 1,
        };
        let tau = attributes.number("tau", operator.has_tau())?;
        let alpha = attributes.number("alpha", operator.has_alpha())?;
        let reduction = match attributes.string("reduction")? {
            None => Reduction::default(),
            Some(name) => Reduction::ALL
                .into_iter()
                .find(|reduction| reduction.as_str() == name)
                .ok_or(KernelError::Reduction(name))?,
        };
        let loss = operator.loss(k, tau, alpha)?;
        if let [_, classes] = *info.input_shape(0)?
            && let Ok(classes) = usize::try_from(classes)
        {
            loss.as_loss().check_classes(classes)?;
        }
        Ok(Self {
            loss,
            reduction,
            ignore_index: attributes.int("ignore_index")?,
        })
    }

    /// Computes the requested outputs.
    ///
    /// # Errors
    /// If a shape or value of the inputs is invalid.
    pub(crate) fn compute<T: Score + Element, L: Label>(
        &self,
        inputs: &KernelInputs<'_>,
        outputs: &mut KernelOutputs<'_>,
        threads: &IntraOpThreads<'_>,
    ) -> Result<(), KernelError> {
        let [scores_name, labels_name, weights_name] = INPUTS;
        let missing = |name| move || KernelError::Missing(name);
        let scores = inputs.tensor::<T>(0)?;
        let scores = scores.ok_or_else(missing(scores_name))?;
        let &[samples, classes] = &*scores.shape else {
            return Err(KernelError::Scores(scores.shape));
        };
        let labels = inputs.tensor::<L>(1)?;
        let labels = labels.ok_or_else(missing(labels_name))?;
        let labels = vector(labels_name, labels, samples, &scores.shape)?;
        let labels = L::widen(labels);
        let mut criterion = Criterion::new(self.loss.as_loss())
            .with_reduction(self.reduction)
            .with_ignore_index(self.ignore_index);
        if let Some(weights) = inputs.tensor::<T>(2)? {
            let weights = vector(weights_name, weights, classes, &scores.shape)?;
            let weights = weights.iter().map(|&weight| weight.into()).collect();
            criterion = criterion.with_weight(weights)?;
        }
        criterion.check_classes(classes as usize)?;

        let length = criterion.output_len(labels.len());
        let values = outputs.tensor::<T>(0, &[length as i64])?;
        let values = values.ok_or_else(missing("loss"))?;
        let grad = outputs.tensor::<T>(1, &scores.shape)?;
        let tau = self.loss.tau();
        let tau = tau.filter(|_| self.loss.operator().has_prob());
        let prob = match tau {
            Some(tau) => outputs.tensor::<T>(2, &[samples])?.zip(Some(tau)),
            None => None,
        };
        let mut losses = prob.as_ref().map(|_| vec![0.0; labels.len()]);
        let computed = BatchOutputs {
            values,
            losses: losses.as_deref_mut(),
            grad,
        };
        criterion.compute(threads, scores.elements, &labels, computed)?;
        if let Some(((prob, tau), losses)) = prob.zip(losses) {
            for (p, loss) in prob.iter_mut().zip(losses) {
                // The loss is τ ln(1 + exp u), and p = 1/(1 + exp −u).
                *p = T::from_f64(-f64::exp_m1(-loss / tau));
            }
        }
        Ok(())
    }

    /// Checks that the loss can be computed on a GPU.
    ///
    /// # Errors
    /// If it has no CUDA kernel, or k is too large for it.
    pub(crate) fn check_cuda(&self) -> Result<(), KernelError> {
        let limits = DeviceLimits { shared_memory: 0 };
        // As many classes as any k needs.
        match plan(&on_cuda(&self.loss)?, 1, KernelLoss::MAX_CLASSES, limits) {
            Ok(_) => Ok(()),
            Err(error) => Err(KernelError::NoCudaKernel(error)),
        }
    }

    /// As [`compute`](Self::compute) for inputs and outputs in device memory: puts the work on ONNX Runtime's stream.
    /// Values are not checked: a sample that is invalid has a loss and a gradient of NaN.
    ///
    /// # Errors
    /// If a shape of the inputs is invalid, or the driver fails.
    pub(crate) fn compute_on_cuda(
        &self,
        inputs: &KernelInputs<'_>,
        outputs: &mut KernelOutputs<'_>,
        _: &IntraOpThreads<'_>,
    ) -> Result<(), KernelError> {
        let [scores_name, labels_name, weights_name] = INPUTS;
        let missing = |name| move || KernelError::Missing(name);
        let scores = inputs.device_tensor::<f32>(0)?;
        let scores = scores.ok_or_else(missing(scores_name))?;
        let &[samples, classes] = &*scores.shape else {
            return Err(KernelError::Scores(scores.shape));
        };
        let labels = inputs.device_tensor::<i64>(1)?;
        let labels = labels.ok_or_else(missing(labels_name))?;
        check_vector(labels_name, &labels.shape, samples, &scores.shape)?;
        let weights = inputs.device_tensor::<f32>(2)?;
        if let Some(weights) = &weights {
            check_vector(weights_name, &weights.shape, classes, &scores.shape)?;
        }
        let loss = on_cuda(&self.loss)?;
        loss.check_classes(classes as usize)?;
        let batch = Batch {
            loss,
            reduction: self.reduction,
            ignore_index: self.ignore_index,
            score_type: ScoreType::F32,
            samples: samples as usize,
            classes: classes as usize,
            scores: scores.data.cast(),
            scores_stride: classes as usize,
            labels: labels.data,
            class_weights: weights.map_or(ptr::null(), |weights| weights.data),
        };

        let length = match self.reduction {
            Reduction::None => samples,
            Reduction::Sum | Reduction::Mean => 1,
        };
        let values = outputs.device_tensor::<f32>(0, &[length])?;
        let values = values.ok_or_else(missing("loss"))?;
        let gradient = outputs.device_tensor::<f32>(1, &scores.shape)?;
        let gradient = gradient.map(|memory| Gradient {
            memory: memory.cast(),
            stride: classes as usize,
        });
        let prob = match self.loss.operator().has_prob() {
            true => outputs.device_tensor::<f32>(2, &[samples])?,
            false => None,
        };
        let scratch = inputs.scratch(0, batch.workspace_bytes())?;
        let stream = Stream::from_raw(inputs.stream()?);
        // SAFETY: ONNX Runtime gives a kernel of the CUDA provider addresses in device memory, which are for work on this
        // stream, as is the scratch memory. The shapes were checked, and outputs are other memory than inputs.
        unsafe {
            batch.loss(values, gradient, scratch.address(), stream)?;
            if let Some(prob) = prob {
                batch.probabilities(prob, stream)?;
            }
        }
        Ok(())
    }
}

/// The elements of an input, which must have shape `[expected]`.
fn vector<'a, T>(
    input: &'static str,
    tensor: Tensor<'a, T>,
    expected: i64,
    scores: &[i64],
) -> Result<&'a [T], KernelError> {
    check_vector(input, &tensor.shape, expected, scores)?;
    Ok(tensor.elements)
}

fn check_vector(
    input: &'static str,
    shape: &[i64],
    expected: i64,
    scores: &[i64],
) -> Result<(), KernelError> {
    if shape == [expected] {
        Ok(())
    } else {
        Err(KernelError::Shape {
            input,
            shape: shape.to_vec(),
            scores: scores.to_vec(),
            expected,
        })
    }
}

/// Whether CUDA kernels compute the loss of an operator. Others are not offered to the CUDA provider, so that ONNX Runtime
/// copies their tensors to the CPU.
pub(crate) fn has_cuda_kernel(operator: LossOperator) -> bool {
    !matches!(operator, LossOperator::LdrKl | LossOperator::DfTopk)
}

/// The loss as CUDA kernels compute it.
///
/// # Errors
/// If they do not.
fn on_cuda(loss: &OperatorLoss) -> Result<KernelLoss, KernelError> {
    Ok(match *loss {
        OperatorLoss::SmoothTopkSvm(loss) => loss.into(),
        OperatorLoss::MaxTopkSvm(loss) => loss.into(),
        OperatorLoss::TopkHingeAlpha(loss) => loss.into(),
        OperatorLoss::TopkHingeBeta(loss) => loss.into(),
        OperatorLoss::TruncatedTopkEntropy(loss) => loss.into(),
        OperatorLoss::Psi5(loss) => loss.into(),
        OperatorLoss::LdrKl(_) | OperatorLoss::DfTopk(_) => return Err(KernelError::NotOnCuda),
    })
}

/// The attributes of a node.
struct Attributes<'a>(&'a KernelInfo<'a>);

impl Attributes<'_> {
    fn get(&self, name: &'static str) -> Result<Option<Attribute>, KernelError> {
        let name = CString::new(name).expect("names have no NUL");
        Ok(self.0.attribute(&name)?)
    }

    fn int(&self, name: &'static str) -> Result<Option<i64>, KernelError> {
        match self.get(name)? {
            None => Ok(None),
            Some(Attribute::Int(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(name, "an integer, such as 5", &other)),
        }
    }

    fn string(&self, name: &'static str) -> Result<Option<String>, KernelError> {
        match self.get(name)? {
            None => Ok(None),
            Some(Attribute::String(value)) => Ok(Some(value)),
            Some(other) => Err(wrong_type(name, "a string, such as \"mean\"", &other)),
        }
    }

    /// A number, 1 by default. It is an error if the attribute is present and not `allowed`.
    fn number(&self, name: &'static str, allowed: bool) -> Result<f64, KernelError> {
        match self.get(name)? {
            None => Ok(1.0),
            Some(_) if !allowed => Err(KernelError::UnknownAttribute(name)),
            Some(Attribute::Float(value)) => Ok(shortest(value)),
            Some(other) => Err(wrong_type(name, "a float, such as 1.0", &other)),
        }
    }
}

/// The shortest decimal that rounds to this `f32`. Attributes are `f32`, so that 0.1 is stored as
/// 0.100000001490116…; reading it as 0.1 gives the same results as 0.1 in Rust.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

fn wrong_type(name: &'static str, expected: &'static str, found: &Attribute) -> KernelError {
    KernelError::AttributeType {
        name,
        expected,
        found: match found {
            Attribute::Int(_) => "an integer",
            Attribute::Float(_) => "a float",
            Attribute::String(_) => "a string",
            Attribute::Other => "a list or another type",
        },
    }
}

#[cfg(test)]
mod cuda;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        for text in [
            "0.1",
            "1",
            "0.001",
            "1e-30",
            "3.4028235e38",
            "16777216",
            "1e-45",
        ] {
            let written: f64 = text.parse().unwrap();
            assert_eq!(shortest(written as f32), written, "{text}");
        }
        assert!(shortest(f32::NAN).is_nan());
        assert_eq!(shortest(f32::NEG_INFINITY), f64::NEG_INFINITY);
    }
}
