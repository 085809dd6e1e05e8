use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Threads that share the work on a batch.
///
/// Results depend neither on the number of threads nor on which thread runs which task.
pub trait Executor {
    /// Calls `task` once with each number below `tasks`, in any order and possibly in parallel, and
    /// returns when all calls have returned.
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// The threads of the current rayon pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rayon;

impl Executor for Rayon {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).into_par_iter().for_each(task);
    }
}

/// The tasks of [`Executor::for_each`] for threads of C or C++, into which a panic must not unwind.
///
/// [`run`](Self::run) keeps the first panic, and [`finish`](Self::finish) resumes it on the caller's
/// thread.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use topk_ops::ForeignTasks;
///
/// let sum = AtomicUsize::new(0);
/// let add = |index: usize| {
///     sum.fetch_add(index, Ordering::Relaxed);
/// };
/// let tasks = ForeignTasks::new(3, &add);
/// tasks.run(2); // on any thread
/// tasks.finish(); // runs tasks 0 and 1 here
/// assert_eq!(sum.into_inner(), 3);
/// ```
pub struct ForeignTasks<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    /// Whether each task was started.
    started: Vec<AtomicBool>,
    first_panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<'a> ForeignTasks<'a> {
    /// `task` for each number below `tasks`.
    pub fn new(tasks: usize, task: &'a (dyn Fn(usize) + Sync)) -> Self {
        Self {
            task,
            started: (0..tasks).map(|_| AtomicBool::new(false)).collect(),
            first_panic: Mutex::new(None),
        }
    }

    /// Runs a task, unless it was started before. A panic of the task is kept and does not unwind.
    ///
    /// # Panics
    /// If the index is out of range.
    pub fn run(&self, index: usize) {
        if self.started[index].swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.task)(index))) {
            let mut first = self.first_panic.lock().expect("no panic while locked");
            first.get_or_insert(panic);
        }
    }

    /// Runs the tasks that were not started, and then resumes the first panic of any task.
    ///
    /// Call it when no other thread can still be in [`run`](Self::run).
    pub fn finish(self) {
        (0..self.started.len()).for_each(|index| self.run(index));
        let first = self.first_panic.into_inner();
        if let Some(panic) = first.expect("no panic while locked") {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_tasks_run_once_and_the_first_panic_is_resumed() {
        let runs: Vec<_> = (0..4).map(|_| Mutex::new(0)).collect();
        let task = |index: usize| {
            *runs[index].lock().unwrap() += 1;
            if index >= 2 {
                resume_unwind(Box::new(index));
            }
        };
        let tasks = ForeignTasks::new(4, &task);
        tasks.run(3);
        tasks.run(3);
        let panic = catch_unwind(AssertUnwindSafe(|| tasks.finish())).unwrap_err();
        assert_eq!(panic.downcast_ref::<usize>(), Some(&3));
        assert!(runs.iter().all(|runs| *runs.lock().unwrap() == 1));
    }
}
