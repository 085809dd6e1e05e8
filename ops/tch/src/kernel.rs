//! The losses of tensors on a GPU by the kernels of `topk-ops-cuda`: the safe side of a part of `autograd.cpp`.

use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;

use tch::{Device, Kind, TchError, Tensor};
use topk_libtorch::call::tensor_result;
use topk_ops::{Criterion, Reduction};
use topk_ops_cuda::{Batch, Gradient, KernelLoss, ScoreType, Stream, Upstream, is_available};
use torch_sys::C_tensor;

use crate::TensorLoss;
use crate::tensor_loss::per_class;

unsafe extern "C" {
    fn topk_by_kernel(
        scores: *const C_tensor,
        labels: *const C_tensor,
        class_weights: *const C_tensor,
        description: *const Description,
        result: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// `Launch` in `autograd.cpp`.
#[repr(C)]
struct Launch {
    scores: *const c_void,
    scores_stride: i64,
    labels: *const i64,
    class_weights: *const f32,
    samples: i64,
    classes: i64,
    result: *mut f32,
    gradient: *mut c_void,
    upstream: *const f32,
    workspace: *mut c_void,
    stream: *mut c_void,
    score_type: i32,
    upstream_per_sample: i32,
    skip_if_one: i32,
}

/// `Description` in `autograd.cpp`.
#[repr(C)]
struct Description {
    loss: *const c_void,
    run: unsafe extern "C" fn(*const c_void, *const Launch, *mut c_char, usize) -> c_int,
    drop: unsafe extern "C" fn(*const c_void),
    workspace_bytes: i64,
    gradient_workspace_bytes: i64,
    reduced: bool,
}

/// What the backward pass needs to know of a criterion.
struct Settings {
    loss: KernelLoss,
    reduction: Reduction,
    ignore_index: Option<i64>,
}

impl Settings {
    /// # Safety
    /// All of `launch` is as [`Batch::loss`] or, without a result, [`Batch::gradient`] requires.
    unsafe fn run(&self, launch: &Launch) -> Result<(), topk_ops_cuda::CudaError> {
        let batch = Batch {
            loss: self.loss,
            reduction: self.reduction,
            ignore_index: self.ignore_index,
            score_type: ScoreType::ALL[launch.score_type as usize],
            samples: launch.samples as usize,
            classes: launch.classes as usize,
            scores: launch.scores,
            scores_stride: launch.scores_stride as usize,
            labels: launch.labels,
            class_weights: launch.class_weights,
        };
        // Gradients are contiguous.
        let gradient = Gradient {
            memory: launch.gradient,
            stride: batch.classes,
        };
        let stream = Stream::from_raw(launch.stream);
        // SAFETY: the caller's promise.
        unsafe {
            if launch.result.is_null() {
                let upstream = Upstream {
                    memory: launch.upstream,
                    per_sample: launch.upstream_per_sample != 0,
                };
                let skip_if_one = launch.skip_if_one != 0;
                batch.gradient(upstream, skip_if_one, gradient, launch.workspace, stream)
            } else {
                let gradient = (!launch.gradient.is_null()).then_some(gradient);
                batch.loss(launch.result, gradient, launch.workspace, stream)
            }
        }
    }
}

/// The loss, if kernels compute it for scores of this shape, type and device.
pub(crate) fn kernel_for<L: TensorLoss>(
    criterion: &Criterion<L>,
    scores: &Tensor,
) -> Option<KernelLoss> {
    let on_cuda = matches!(scores.device(), Device::Cuda(_));
    let has_kernel_type = matches!(scores.kind(), Kind::Float | Kind::Half | Kind::BFloat16);
    let loss = criterion.loss().kernel()?;
    let supported = loss.supports(scores.size()[1] as usize);
    (on_cuda && has_kernel_type && supported && is_available()).then_some(loss)
}

/// Computes the loss by its kernel.
pub(crate) fn by_kernel<L: TensorLoss>(
    criterion: &Criterion<L>,
    loss: KernelLoss,
    scores: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TchError> {
    let labels = labels.f_to_device(scores.device())?.f_resolve_neg()?;
    let labels = labels.f_contiguous()?;
    let class_weights = criterion
        .weight()
        .map(|weight| per_class(weight, (Kind::Float, scores.device())))
        .transpose()?;
    let class_weights = class_weights
        .as_ref()
        .map_or(ptr::null(), |weights| weights.as_ptr());
    let settings = Box::new(Settings {
        loss,
        reduction: criterion.reduction(),
        ignore_index: criterion.ignore_index(),
    });
    let (samples, classes) = scores.size2()?;
    let batch = Batch {
        loss,
        reduction: settings.reduction,
        ignore_index: settings.ignore_index,
        score_type: ScoreType::F32,
        samples: samples as usize,
        classes: classes as usize,
        scores: ptr::null(),
        scores_stride: classes as usize,
        labels: ptr::null(),
        // Only whether there are any.
        class_weights: class_weights.cast(),
    };
    let description = Description {
        workspace_bytes: batch.workspace_bytes() as i64,
        gradient_workspace_bytes: batch.gradient_workspace_bytes() as i64,
        reduced: settings.reduction != Reduction::None,
        loss: Box::into_raw(settings).cast(),
        run,
        drop,
    };
    let mut result = ptr::null_mut();
    // SAFETY: the tensors are alive during the call, which catches exceptions and, unless it fails, makes a new tensor.
    // It takes the settings, which it passes to `run`, with memory of tensors that stay alive until the kernel has been put
    // on libtorch's stream, and finally to `drop`.
    unsafe {
        let error = topk_by_kernel(
            scores.as_ptr(),
            labels.as_ptr(),
            class_weights,
            &raw const description,
            &mut result,
        );
        tensor_result(error, result)
    }
}

unsafe extern "C" fn run(
    settings: *const c_void,
    launch: *const Launch,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    // SAFETY: `by_kernel` passed the settings, and autograd.cpp the rest: tensors that keep what `Settings::run` promises,
    // and a buffer of this capacity.
    let (settings, launch, message) = unsafe {
        (
            &*settings.cast::<Settings>(),
            &*launch,
            slice::from_raw_parts_mut(message.cast::<u8>(), capacity),
        )
    };
    // SAFETY: as above.
    let run = AssertUnwindSafe(|| unsafe { settings.run(launch) });
    let error = match catch_unwind(run) {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "internal error in topk-ops-tch: a panic".to_owned(),
    };
    let length = error.len().min(capacity - 1);
    message[..length].copy_from_slice(&error.as_bytes()[..length]);
    message[length] = 0;
    1
}

unsafe extern "C" fn drop(settings: *const c_void) {
    // SAFETY: `by_kernel` made a box of it, and autograd.cpp drops it once.
    std::mem::drop(unsafe { Box::from_raw(settings.cast_mut().cast::<Settings>()) });
}

#[cfg(test)]
mod tests;
