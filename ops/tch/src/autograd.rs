//! An autograd function with a precomputed gradient, and libtorch's threads, which tch does not expose:
//! the safe side of `autograd.cpp`.

use std::ffi::{c_char, c_void};
use std::ptr;

use tch::{TchError, Tensor};
use topk_libtorch::call::{check, tensor_result};
use topk_ops::{Executor, ForeignTasks, Rayon};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn topk_parallel_for(
        tasks: i64,
        task: unsafe extern "C" fn(*mut c_void, i64),
        context: *mut c_void,
    ) -> *mut c_char;

    fn topk_with_gradient(
        scores: *const C_tensor,
        values: *const C_tensor,
        grad: *const C_tensor,
        result: *mut *mut C_tensor,
    ) -> *mut c_char;

    safe fn topk_has_threads() -> bool;

    safe fn topk_is_grad_enabled() -> bool;
}

/// Whether operations on this thread are recorded for `backward()`.
pub(crate) fn is_grad_enabled() -> bool {
    topk_is_grad_enabled()
}

/// Returns `values` as a tensor for which `backward()` uses `grad` as the derivatives with respect to
/// `scores`.
///
/// `values` is `[N]` or a scalar, and `grad` has the shape of `scores`, `[N, C]`, but may have a wider
/// type.
pub(crate) fn with_gradient(
    scores: &Tensor,
    values: &Tensor,
    grad: &Tensor,
) -> Result<Tensor, TchError> {
    let mut result = ptr::null_mut();
    // SAFETY: the tensors are alive during the call, which catches exceptions and, unless it fails, makes
    // a new tensor.
    unsafe {
        let error =
            topk_with_gradient(scores.as_ptr(), values.as_ptr(), grad.as_ptr(), &mut result);
        tensor_result(error, result)
    }
}

/// The threads of libtorch's own operations, or rayon's if libtorch has none.
///
/// libtorch's threads spin between operations, waiting for the next one; additional threads would
/// compete with them for the cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LibtorchThreads;

impl Executor for LibtorchThreads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if !topk_has_threads() {
            return Rayon.for_each(tasks, task);
        }

        unsafe extern "C" fn run(tasks: *mut c_void, index: i64) {
            // SAFETY: `for_each` passes its `ForeignTasks`, which outlive the parallel loop.
            unsafe { (*tasks.cast::<ForeignTasks<'_>>()).run(index as usize) }
        }

        let shared = ForeignTasks::new(tasks, task);
        let context = (&raw const shared).cast_mut().cast();
        // SAFETY: `run` is called with `context`, which is only read and may be shared, and not after the
        // call has returned. The call catches exceptions.
        let started = unsafe { check(topk_parallel_for(tasks as i64, run, context)) };
        // If libtorch failed, `finish` runs the tasks that it did not.
        drop(started);
        shared.finish();
    }
}
