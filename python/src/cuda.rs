//! The losses by CUDA kernels, on device memory that PyTorch owns.

use std::ffi::c_void;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use topk_ops::Reduction;
use topk_ops_cuda::plan::PlanError;
use topk_ops_cuda::{Batch, CudaError, Gradient, KernelLoss, ScoreType, Stream, Upstream};

use crate::loss::{Loss, invalid, parse_reduction};

/// Whether NVIDIA's driver is installed and new enough for the kernels.
#[pyfunction]
pub(crate) fn cuda_is_available() -> bool {
    topk_ops_cuda::is_available()
}

/// A loss with the options of a batch, whose memory is passed with each call: all numbers of memory are addresses of
/// arrays on one GPU, and 0 is none.
#[pyclass(frozen)]
pub(crate) struct CudaLoss {
    loss: KernelLoss,
    score_type: ScoreType,
    reduction: Reduction,
    ignore_index: i64,
}

#[pymethods]
impl CudaLoss {
    /// The loss by kernels for scores of `dtype` and this many classes, or `None` if there are none for them.
    #[staticmethod]
    fn of(
        loss: &Loss,
        dtype: &str,
        classes: usize,
        reduction: &str,
        ignore_index: i64,
    ) -> PyResult<Option<Self>> {
        let score_type = match dtype {
            "float32" => ScoreType::F32,
            "float16" => ScoreType::F16,
            "bfloat16" => ScoreType::Bf16,
            _ => return Ok(None),
        };
        let Some(kernel) = loss.kernel().filter(|kernel| kernel.supports(classes)) else {
            return Ok(None);
        };
        kernel.check_classes(classes).map_err(invalid)?;
        Ok(Some(Self {
            loss: kernel,
            score_type,
            reduction: parse_reduction(reduction)?,
            ignore_index,
        }))
    }

    /// Bytes of the workspace of `loss` and of `gradient`.
    fn workspace_bytes(&self, samples: usize, classes: usize) -> (usize, usize) {
        let batch = self.batch([samples, classes], 0, classes, 0, 0);
        (batch.workspace_bytes(), batch.gradient_workspace_bytes())
    }

    /// Puts the computation of the loss on a stream: float32, one entry per sample without reduction, otherwise one. With
    /// `gradient`, the derivatives of its sum with respect to the scores: of the type of the scores, contiguous.
    ///
    /// `scores` has rows `stride` entries apart. `labels` is int64 and `weight` float32, both contiguous. The caller has
    /// checked the shapes, owns the memory, and keeps it until the stream has done the work.
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments would cost more than the launch"
    )]
    fn loss(
        &self,
        py: Python<'_>,
        samples: usize,
        classes: usize,
        scores: usize,
        stride: usize,
        labels: usize,
        weight: usize,
        values: usize,
        gradient: usize,
        workspace: usize,
        stream: usize,
    ) -> PyResult<()> {
        detached(py, || {
            let batch = self.batch([samples, classes], scores, stride, labels, weight);
            let gradient = (gradient != 0).then_some(Gradient {
                memory: gradient as *mut c_void,
                stride: classes,
            });
            let stream = Stream::from_raw(stream as *mut c_void);
            let (values, workspace) = (values as *mut f32, workspace as *mut c_void);
            // SAFETY: the caller's promise.
            unsafe { batch.loss(values, gradient, workspace, stream) }
        })
    }

    /// Puts the computation of the gradient on a stream, as `loss` does, multiplied by that of the loss: `upstream` is
    /// float32, one number per sample if `per_sample`, otherwise one. With `skip_if_one`, the gradient of samples for
    /// which that is 1 is left as it is.
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments would cost more than the launch"
    )]
    fn gradient(
        &self,
        py: Python<'_>,
        samples: usize,
        classes: usize,
        scores: usize,
        stride: usize,
        labels: usize,
        weight: usize,
        upstream: usize,
        per_sample: bool,
        skip_if_one: bool,
        gradient: usize,
        workspace: usize,
        stream: usize,
    ) -> PyResult<()> {
        detached(py, || {
            let batch = self.batch([samples, classes], scores, stride, labels, weight);
            let upstream = Upstream {
                memory: upstream as *const f32,
                per_sample,
            };
            let gradient = Gradient {
                memory: gradient as *mut c_void,
                stride: classes,
            };
            let stream = Stream::from_raw(stream as *mut c_void);
            let workspace = workspace as *mut c_void;
            // SAFETY: the caller's promise.
            unsafe { batch.gradient(upstream, skip_if_one, gradient, workspace, stream) }
        })
    }
}

impl CudaLoss {
    fn batch(
        &self,
        [samples, classes]: [usize; 2],
        scores: usize,
        scores_stride: usize,
        labels: usize,
        weight: usize,
    ) -> Batch {
        Batch {
            loss: self.loss,
            reduction: self.reduction,
            ignore_index: Some(self.ignore_index),
            score_type: self.score_type,
            samples,
            classes,
            scores: scores as *const c_void,
            scores_stride,
            labels: labels as *const i64,
            class_weights: weight as *const f32,
        }
    }
}

/// Runs a call of the driver without the interpreter's lock: the driver may wait, for example while its queue is full.
fn detached(py: Python<'_>, call: impl FnOnce() -> Result<(), CudaError> + Send) -> PyResult<()> {
    py.detach(call).map_err(|error| match error {
        CudaError::Plan(PlanError::Loss(error)) => invalid(error),
        CudaError::Plan(error) => PyValueError::new_err(error.to_string()),
        error => PyRuntimeError::new_err(error.to_string()),
    })
}
