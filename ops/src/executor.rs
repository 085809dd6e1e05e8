use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Threads that share out the work on a batch.
///
/// Results do not depend on how many there are, nor on who does what.
pub trait Executor {
    /// Calls `task` once with each number below `tasks`, in any order and at the same time if it
    /// likes, and returns when all calls have.
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
