//! A loss with its parameters, computed for a batch in memory.

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use topk_ops::{
    BalancedNoisedTopk, BatchOutputs, Criterion, DfTopk, DifferentiableTopkCrossEntropy, LapSum,
    LdrKl, Lml, LossError, MaxTopkSvm, Psi5, Reduction, SampleLoss, Score, SmoothTopkSvm,
    TopkHingeAlpha, TopkHingeBeta, TruncatedTopkEntropy, bf16, f16,
};
use topk_ops_cuda::KernelLoss;

use crate::memory::{entries, entries_mut};
use crate::threads::Threads;

/// The instruction set extension that the kernels for float32 use on this processor: "AVX-512", "AVX2", "NEON" or
/// "none".
#[pyfunction]
pub(crate) fn instructions() -> &'static str {
    topk_ops::instructions()
}

/// A loss with its parameters.
#[pyclass(frozen)]
pub(crate) struct Loss {
    loss: Box<dyn SampleLoss>,
    /// The loss as CUDA kernels compute it, if they do.
    kernel: Option<KernelLoss>,
}

impl Loss {
    fn new<L: SampleLoss + 'static>(loss: Result<L, LossError>) -> PyResult<Self> {
        let loss = loss.map_err(invalid)?;
        Ok(Self {
            loss: Box::new(loss),
            kernel: None,
        })
    }

    fn with_kernel<L>(loss: Result<L, LossError>) -> PyResult<Self>
    where
        L: SampleLoss + Copy + Into<KernelLoss> + 'static,
    {
        Ok(Self {
            kernel: loss.as_ref().ok().map(|&loss| loss.into()),
            ..Self::new(loss)?
        })
    }

    /// The loss as CUDA kernels compute it, if they do.
    pub(crate) fn kernel(&self) -> Option<KernelLoss> {
        self.kernel
    }
}

#[pymethods]
impl Loss {
    #[staticmethod]
    fn smooth_topk_svm(k: usize, tau: f64, alpha: f64) -> PyResult<Self> {
        Self::with_kernel(SmoothTopkSvm::new(k, tau, alpha))
    }

    #[staticmethod]
    fn max_topk_svm(k: usize, alpha: f64) -> PyResult<Self> {
        Self::with_kernel(MaxTopkSvm::new(k, alpha))
    }

    #[staticmethod]
    fn topk_hinge_alpha(k: usize, alpha: f64) -> PyResult<Self> {
        Self::with_kernel(TopkHingeAlpha::new(k, alpha))
    }

    #[staticmethod]
    fn topk_hinge_beta(k: usize, alpha: f64) -> PyResult<Self> {
        Self::with_kernel(TopkHingeBeta::new(k, alpha))
    }

    #[staticmethod]
    fn truncated_topk_entropy(k: usize) -> PyResult<Self> {
        Self::with_kernel(TruncatedTopkEntropy::new(k))
    }

    #[staticmethod]
    fn psi5(k: usize, alpha: f64) -> PyResult<Self> {
        Self::with_kernel(Psi5::new(k, alpha))
    }

    #[staticmethod]
    fn balanced_noised_topk(
        k: usize,
        epsilon: f64,
        draws: usize,
        alpha: f64,
        margins: Option<Vec<f64>>,
        seed: i64,
    ) -> PyResult<Self> {
        let loss = BalancedNoisedTopk::new(k, epsilon, draws, alpha, seed.cast_unsigned());
        Self::new(match margins {
            None => loss,
            Some(margins) => loss.and_then(|loss| loss.with_margins(margins)),
        })
    }

    #[staticmethod]
    fn lml(k: usize) -> PyResult<Self> {
        Self::new(Lml::new(k))
    }

    #[staticmethod]
    fn differentiable_topk_cross_entropy(p_k: Vec<f64>, tau: f64) -> PyResult<Self> {
        Self::new(DifferentiableTopkCrossEntropy::new(p_k, tau))
    }

    #[staticmethod]
    fn lapsum(k: usize, tau: f64) -> PyResult<Self> {
        Self::new(LapSum::new(k, tau))
    }

    #[staticmethod]
    fn dftopk(k: usize, tau: f64) -> PyResult<Self> {
        Self::new(DfTopk::new(k, tau))
    }

    #[staticmethod]
    fn ldr_kl(tau: f64, alpha: f64) -> PyResult<Self> {
        Self::new(LdrKl::new(tau, alpha))
    }

    /// Checks that the loss can be computed with this number of classes.
    fn check_classes(&self, classes: usize) -> PyResult<()> {
        self.loss.check_classes(classes).map_err(invalid)
    }

    /// Computes the loss of a batch, and its gradient unless `grad` is 0. All numbers of memory are addresses of dense
    /// arrays: `scores`, `weight`, `values` and `grad` of `dtype`, `labels` of int64. `weight` is 0 if there is none.
    ///
    /// The caller owns the memory, and has checked the shapes: `scores` and `grad` `[samples, classes]`, `labels`
    /// `[samples]`, `weight` `[classes]`, `values` `[samples]` without reduction, otherwise one entry.
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments would cost more than the smallest batches"
    )]
    fn compute(
        &self,
        py: Python<'_>,
        dtype: &str,
        samples: usize,
        classes: usize,
        scores: usize,
        labels: usize,
        weight: usize,
        reduction: &str,
        ignore_index: i64,
        label_smoothing: f64,
        values: usize,
        grad: usize,
        threads: usize,
    ) -> PyResult<()> {
        let reduction = parse_reduction(reduction)?;
        let batch = Batch {
            samples,
            classes,
            scores,
            labels,
            weight,
            reduction,
            ignore_index,
            label_smoothing,
            values,
            grad,
            threads,
        };
        // SAFETY: the caller's promise, which is about memory that stays while the caller's frame does.
        py.detach(|| unsafe {
            match dtype {
                "float32" => batch.compute::<f32>(&self.loss),
                "float64" => batch.compute::<f64>(&self.loss),
                "float16" => batch.compute::<f16>(&self.loss),
                "bfloat16" => batch.compute::<bf16>(&self.loss),
                _ => unreachable!("the package checks the types"),
            }
        })
        .map_err(invalid)
    }
}

/// A batch, with the addresses of [`Loss::compute`].
struct Batch {
    samples: usize,
    classes: usize,
    scores: usize,
    labels: usize,
    weight: usize,
    reduction: Reduction,
    ignore_index: i64,
    label_smoothing: f64,
    values: usize,
    grad: usize,
    threads: usize,
}

impl Batch {
    /// # Safety
    /// The addresses are those of [`Loss::compute`], with entries of type `T`.
    unsafe fn compute<T: Score>(&self, loss: &dyn SampleLoss) -> Result<(), LossError> {
        let mut criterion = Criterion::new(loss)
            .with_reduction(self.reduction)
            .with_ignore_index(self.ignore_index)
            .with_label_smoothing(self.label_smoothing)?;
        if self.weight != 0 {
            // SAFETY: the caller's promise.
            let weight = unsafe { entries::<T>(self.weight, self.classes) };
            criterion =
                criterion.with_weight(weight.iter().map(|&weight| weight.into()).collect())?;
        }
        // An empty batch does not tell the number of classes.
        criterion.check_classes(self.classes)?;
        let len = self.samples * self.classes;
        // SAFETY: the caller's promise.
        let (scores, labels, values, grad) = unsafe {
            (
                entries::<T>(self.scores, len),
                entries(self.labels, self.samples),
                entries_mut(self.values, criterion.output_len(self.samples)),
                (self.grad != 0).then(|| entries_mut(self.grad, len)),
            )
        };
        let outputs = BatchOutputs {
            grad,
            ..BatchOutputs::new(values)
        };
        criterion.compute(&Threads(self.threads), scores, labels, outputs)
    }
}

pub(crate) fn parse_reduction(name: &str) -> PyResult<Reduction> {
    Reduction::ALL
        .into_iter()
        .find(|reduction| reduction.as_str() == name)
        .ok_or_else(|| PyValueError::new_err(format!("{name} is not a valid value for reduction")))
}

/// The exception that PyTorch raises for this: `IndexError` for a label that is not a class, otherwise `ValueError`.
pub(crate) fn invalid(error: LossError) -> PyErr {
    match error {
        LossError::Label { .. } => PyIndexError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}
