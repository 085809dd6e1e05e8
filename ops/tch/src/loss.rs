use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};
use thiserror::Error;
use topk_ops::{BatchOutputs, Criterion, LossError, Reduction, Score};

use crate::TensorLoss;
use crate::autograd::{LibtorchThreads, is_grad_enabled, with_gradient};
use crate::elements::{OwnTensor, elements, elements_mut};
use crate::kernel::{by_kernel, kernel_for};
use crate::tensor_loss::per_class;

/// The loss of these tensors cannot be computed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorLossError {
    /// Scores or labels have the wrong number of dimensions, or different numbers of samples.
    #[error(
        "scores have shape {scores:?} and labels {labels:?}: expected [samples, classes] and \
         [samples]"
    )]
    Shape {
        /// Shape of the scores.
        scores: Vec<i64>,
        /// Shape of the labels.
        labels: Vec<i64>,
    },
    /// Scores are not floating point, or labels not 64-bit integers.
    #[error(
        "scores are {scores:?} and labels {labels:?}: expected a floating-point type and Int64"
    )]
    Kind {
        /// Type of the scores.
        scores: Kind,
        /// Type of the labels.
        labels: Kind,
    },
    /// A score, a label or the number of classes is invalid.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Tch(#[from] TchError),
}

/// Computes the loss of `scores` `[N, C]` (any floating-point type) and `labels` `[N]` (`Int64`), on the
/// scores' device: `[N]` without reduction, otherwise a scalar.
///
/// `backward()` gives the scores the exact gradient of the loss. Second derivatives are not supported: with
/// `create_graph`, an error is raised when the gradient itself is differentiated.
/// The loss of half-precision scores is computed and returned in `Float`, as under libtorch's autocast,
/// and their gradient is multiplied by the upstream gradient, such as the scale of a scaled loss, before
/// it is rounded.
///
/// On the CPU, value and gradient come from the kernels of `topk-ops` in one pass, on libtorch's
/// threads. On other devices, scores are not copied to the host, and the host does not wait for the device.
/// Values are therefore not checked there: where a score of a sample is NaN or infinite, its loss and all of its
/// gradient are NaN.
///
/// On an NVIDIA GPU with driver 520 or later, the CUDA kernels of `topk-ops-cuda` compute `Float`, `Half` and
/// `BFloat16` scores of the losses that they support ([`KernelLoss::supports`](topk_ops_cuda::KernelLoss::supports)),
/// without label smoothing, on libtorch's current stream; a label that is not a class makes the loss NaN. The first batch takes up to a second
/// longer, for which the driver compiles the kernel. All others, such as `Double` scores, come from libtorch's own
/// operations ([`TensorLoss`]): as with libtorch's own losses, a label that is not a class then aborts the program with
/// an assertion on the device. Both are within the errors that `topk-ops` states for the type, but need not
/// agree in the last bit.
///
/// # Errors
/// If shapes or types are invalid; on the CPU, also if labels or scores are.
///
/// ```no_run
/// use tch::Tensor;
/// use topk_ops::{Criterion, SmoothTopkSvm};
///
/// let scores = Tensor::randn([64, 100], tch::kind::FLOAT_CPU).set_requires_grad(true);
/// let labels = Tensor::randint(100, [64], tch::kind::INT64_CPU);
/// let criterion = Criterion::new(SmoothTopkSvm::new(5, 1.0, 1.0)?);
/// topk_ops_tch::loss(&criterion, &scores, &labels)?.backward();
/// println!("{}", scores.grad());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn loss<L: TensorLoss>(
    criterion: &Criterion<L>,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TensorLossError> {
    let shapes = (scores.size(), labels.size());
    if !matches!((&*shapes.0, &*shapes.1), ([rows, _], [samples]) if rows == samples) {
        return Err(TensorLossError::Shape {
            scores: shapes.0,
            labels: shapes.1,
        });
    }
    let kinds = (scores.kind(), labels.kind());
    let on_cpu = match kinds {
        (Kind::Double, Kind::Int64) => on_cpu::<f64, L>,
        (Kind::Float | Kind::Half | Kind::BFloat16, Kind::Int64) => on_cpu::<f32, L>,
        (scores, labels) => return Err(TensorLossError::Kind { scores, labels }),
    };
    if scores.device() == Device::Cpu {
        on_cpu(criterion, scores, labels)
    } else {
        criterion.check_classes(shapes.0[1] as usize)?;
        let kernel = kernel_for(criterion, scores).filter(|_| criterion.label_smoothing() == 0.0);
        Ok(match kernel {
            Some(kernel) => by_kernel(criterion, kernel, scores, labels)?,
            None => on_device(criterion, scores, labels)?,
        })
    }
}

/// Computes the loss with the kernels for slices.
fn on_cpu<T: Score + Element, L: TensorLoss>(
    criterion: &Criterion<L>,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TensorLossError> {
    let requires_grad = scores.requires_grad() && is_grad_enabled();
    let row_major_scores = row_major(scores, T::KIND)?;
    let row_major_labels = row_major(labels, Kind::Int64)?;
    let original = scores;
    let scores = row_major_scores.as_ref().unwrap_or(scores);
    let labels = row_major_labels.as_ref().unwrap_or(labels);
    let shape = match criterion.reduction() {
        Reduction::None => labels.size(),
        Reduction::Sum | Reduction::Mean => vec![],
    };
    let mut values = OwnTensor::empty::<T>(&shape)?;
    let mut grad = requires_grad
        .then(|| OwnTensor::empty::<T>(&scores.size()))
        .transpose()?;
    criterion.compute(
        &LibtorchThreads,
        elements::<T>(scores),
        elements(labels),
        BatchOutputs {
            grad: grad.as_mut().map(elements_mut),
            ..BatchOutputs::new(elements_mut(&mut values))
        },
    )?;
    let values = values.into_tensor();
    Ok(match grad {
        Some(grad) => with_gradient(original, &values, &grad.into_tensor())?,
        None => values,
    })
}

/// A copy of the tensor in row-major order on the CPU, or `None` if it is that already: for small batches, operations that
/// change nothing would take longer than the loss.
fn row_major(tensor: &Tensor, kind: Kind) -> Result<Option<Tensor>, TchError> {
    let on_cpu = tensor.device() == Device::Cpu;
    // A lazily negated tensor is contiguous too, but its memory has the numbers before the negation.
    if on_cpu && tensor.kind() == kind && tensor.is_contiguous() && !tensor.f_is_neg()? {
        return Ok(None);
    }
    let tensor = tensor.detach().f_to_device(Device::Cpu)?;
    let tensor = tensor.f_to_kind(kind)?.f_resolve_neg()?;
    tensor.f_contiguous().map(Some)
}

/// Computes the loss with libtorch's operations, on any device.
fn on_device<L: TensorLoss>(
    criterion: &Criterion<L>,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TchError> {
    let kind = match scores.kind() {
        Kind::Double => Kind::Double,
        _ => Kind::Float,
    };
    let mut wide = scores.f_to_kind(kind)?;
    let mut labels = labels.f_to_device(scores.device())?;
    let ignored = criterion
        .ignore_index()
        .map(|ignored| labels.f_eq(ignored))
        .transpose()?;
    if let Some(ignored) = &ignored {
        // Any valid class and scores will do: the weight of these samples is 0.
        labels = labels.f_masked_fill(ignored, 0i64)?;
        wide = wide.f_masked_fill(&ignored.f_unsqueeze(1)?, 0.0)?;
    }
    let mut weights = match criterion.weight() {
        None => labels.f_ones_like()?.f_to_kind(kind)?,
        Some(weight) => per_class(weight, (kind, wide.device()))?.f_index_select(0, &labels)?,
    };
    if let Some(ignored) = &ignored {
        weights = weights.f_masked_fill(ignored, 0.0)?;
    }
    // Losses that look at few of the scores would hide that others are not finite. Multiplying by NaN makes NaN of the
    // loss, and of the gradient of all scores of the sample.
    let finite = one_if_finite(&wide.detach())?;
    let wide = wide.f_mul(&finite.f_unsqueeze(1)?)?;
    let values = criterion.loss().values(&wide, &labels)?;
    let values = values.f_mul(&weights)?;
    let smoothing = criterion.label_smoothing();
    let values = match smoothing {
        0.0 => values,
        _ => {
            let classes = wide.size()[1];
            let targets = match criterion.weight() {
                None => Tensor::f_ones([classes], (kind, wide.device()))?,
                Some(weight) => per_class(weight, (kind, wide.device()))?,
            };
            let targets = targets.f_mul_scalar(smoothing / classes as f64)?;
            let mut soft = criterion.loss().soft_values(&wide, &targets)?;
            if let Some(ignored) = &ignored {
                soft = soft.f_masked_fill(ignored, 0.0)?;
            }
            values.f_mul_scalar(1.0 - smoothing)?.f_add(&soft)?
        }
    };
    let values = values.f_mul(&finite)?;
    match criterion.reduction() {
        Reduction::None => Ok(values),
        Reduction::Sum => values.f_sum(None),
        Reduction::Mean => values.f_sum(None)?.f_div(&weights.f_sum(None)?),
    }
}

/// For each row, 1 if all of it is finite, otherwise NaN.
fn one_if_finite(rows: &Tensor) -> Result<Tensor, TchError> {
    // Not the sum of the scores times 0, since the sum of finite scores may be infinite.
    rows.f_mul_scalar(0.0)?
        .f_sum_dim_intlist(1, false, None)?
        .f_add_scalar(1.0)
}

#[cfg(test)]
mod tests;
