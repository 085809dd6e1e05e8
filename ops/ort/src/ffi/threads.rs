use std::ffi::c_void;
use std::marker::PhantomData;

use ort_sys::OrtKernelContext;
use topk_ops::{Executor, ForeignTasks};

use super::{Api, call};

/// The session's intra-op threads.
#[derive(Debug)]
pub(crate) struct IntraOpThreads<'a> {
    api: Api,
    context: *const OrtKernelContext,
    call: PhantomData<&'a OrtKernelContext>,
}

impl IntraOpThreads<'_> {
    /// # Safety
    /// As for [`context`](super::context).
    pub(super) unsafe fn new(api: Api, context: *const OrtKernelContext) -> Self {
        let call = PhantomData;
        Self { api, context, call }
    }
}

impl Executor for IntraOpThreads<'_> {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        unsafe extern "C" fn run(tasks: *mut c_void, index: usize) {
            // SAFETY: `for_each` passes its `ForeignTasks`, which outlive the parallel loop.
            unsafe { (*tasks.cast::<ForeignTasks<'_>>()).run(index) }
        }
        let shared = ForeignTasks::new(tasks, task);
        let data = (&raw const shared).cast_mut().cast();
        // SAFETY: the context is valid by the promise of `new`; `run` is called with `data`, which is only
        // read and may be shared, and not after the call has returned.
        let result = unsafe {
            let status = call!(
                self.api,
                KernelContext_ParallelFor(self.context, run, tasks, 0, data)
            );
            self.api.check(status)
        };
        // If ONNX Runtime's loop failed, the tasks that it did not start run here.
        drop(result);
        shared.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::ptr::{self, NonNull};
    use std::sync::Mutex;

    use ort_sys::{OrtErrorCode, OrtStatusPtr};

    use super::*;
    use crate::ffi::panic_text;
    use crate::ffi::tests::{api, table};

    unsafe extern "system" fn backwards(
        _: *const OrtKernelContext,
        run: unsafe extern "C" fn(*mut c_void, usize),
        total: usize,
        _: usize,
        data: *mut c_void,
    ) -> OrtStatusPtr {
        // SAFETY: it is called as the loop requires.
        (0..total)
            .rev()
            .for_each(|index| unsafe { run(data, index) });
        OrtStatusPtr::default()
    }

    /// Runs two of the tasks and fails.
    unsafe extern "system" fn partly(
        context: *const OrtKernelContext,
        run: unsafe extern "C" fn(*mut c_void, usize),
        total: usize,
        batches: usize,
        data: *mut c_void,
    ) -> OrtStatusPtr {
        // SAFETY: as above.
        let _ = unsafe { backwards(context, run, total.min(2), batches, data) };
        api().status(OrtErrorCode::ORT_FAIL, "no threads")
    }

    #[test]
    fn every_task_runs_once() {
        for parallel_for in [backwards, partly] {
            let mut table = table().clone();
            table.KernelContext_ParallelFor = parallel_for;
            let threads = IntraOpThreads {
                api: Api(NonNull::from(&table)),
                context: ptr::null(),
                call: PhantomData,
            };
            for tasks in [0, 1, 2, 9] {
                let runs: Vec<_> = (0..tasks).map(|_| Mutex::new(0)).collect();
                threads.for_each(tasks, &|index| *runs[index].lock().unwrap() += 1);
                assert!(runs.iter().all(|runs| *runs.lock().unwrap() == 1));
            }
            let runs = Mutex::new(0);
            let panic = catch_unwind(AssertUnwindSafe(|| {
                threads.for_each(5, &|index| {
                    *runs.lock().unwrap() += 1;
                    if index == 1 {
                        resume_unwind(Box::new("task 1"));
                    }
                });
            }));
            assert_eq!(panic_text(&*panic.unwrap_err()), "task 1");
            assert_eq!(*runs.lock().unwrap(), 5);
        }
    }
}
