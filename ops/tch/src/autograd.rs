//! An autograd function with a gradient computed beforehand, and libtorch's threads, neither of which
//! tch has: the safe side of `autograd.cpp`.

use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Mutex;

use tch::{TchError, Tensor};
use topk_ops::{Executor, Rayon};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn topk_parallel_for(
        tasks: i64,
        task: unsafe extern "C" fn(*mut c_void, i64),
        context: *mut c_void,
    );

    fn topk_with_gradient(
        scores: *const C_tensor,
        values: *const C_tensor,
        grad: *const C_tensor,
        error: *mut *mut c_char,
    ) -> *mut C_tensor;

    safe fn topk_has_threads() -> bool;

    safe fn topk_is_grad_enabled() -> bool;

    fn free(memory: *mut c_void);
}

/// Whether operations on this thread are recorded for `backward()`.
pub(crate) fn is_grad_enabled() -> bool {
    topk_is_grad_enabled()
}

/// `values`, of which `backward()` takes `grad` for the derivatives with respect to `scores`.
///
/// `values` is `[N]` or a scalar, and `grad` has the shape of `scores`, `[N, C]`, but may have a wider
/// type.
pub(crate) fn with_gradient(
    scores: &Tensor,
    values: &Tensor,
    grad: &Tensor,
) -> Result<Tensor, TchError> {
    let mut error = ptr::null_mut();
    // SAFETY: the tensors are alive during the call; C++ exceptions are caught there.
    let tensor =
        unsafe { topk_with_gradient(scores.as_ptr(), values.as_ptr(), grad.as_ptr(), &mut error) };
    if error.is_null() {
        // SAFETY: without an error it is a new tensor that nobody else owns.
        return Ok(unsafe { Tensor::from_ptr(tensor) });
    }
    // SAFETY: an error is a string made by `strdup`, owned here.
    let message = unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        free(error.cast());
        message
    };
    Err(TchError::Torch(message))
}

/// The threads that libtorch's own operations run on; where they cannot be had, rayon's.
///
/// Between such operations they spin, waiting for the next; others beside them would have to share
/// the cores with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LibtorchThreads;

impl Executor for LibtorchThreads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if !topk_has_threads() {
            return Rayon.for_each(tasks, task);
        }
        struct Context<'a> {
            task: &'a (dyn Fn(usize) + Sync),
            panic: Mutex<Option<Box<dyn Any + Send>>>,
        }

        unsafe extern "C" fn run(context: *mut c_void, i: i64) {
            // SAFETY: it is the context below, which outlives the call, shared only.
            let context = unsafe { &*context.cast::<Context>() };
            // A panic must not unwind into C++.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (context.task)(i as usize))) {
                let mut panic = context
                    .panic
                    .lock()
                    .expect("nothing panics while it is held");
                panic.get_or_insert(payload);
            }
        }

        let mut context = Context {
            task,
            panic: Mutex::new(None),
        };
        // SAFETY: `run` takes this context, on several threads at once: `task` is `Sync`. The call
        // returns when all of them have.
        unsafe { topk_parallel_for(tasks as i64, run, ptr::from_mut(&mut context).cast()) };
        let panic = context
            .panic
            .into_inner()
            .expect("nothing panics while it is held");
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}
