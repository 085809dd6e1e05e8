use std::sync::{Mutex, PoisonError};

/// One worker for each of rayon's threads, such as a preprocessor with its memory.
#[derive(Debug)]
pub struct Workers<W>(Vec<Mutex<W>>);

impl<W> Workers<W> {
    /// Creates one worker per thread of the current pool.
    ///
    /// # Errors
    /// The error of `worker`.
    pub fn new<E>(mut worker: impl FnMut() -> Result<W, E>) -> Result<Self, E> {
        let workers = (0..rayon::current_num_threads()).map(|_| worker().map(Mutex::new));
        Ok(Self(workers.collect::<Result<_, _>>()?))
    }

    /// Calls `work` with the worker of the current thread.
    ///
    /// # Panics
    /// If the current pool has more threads than the one in which the workers were created.
    pub fn with<T>(&self, work: impl FnOnce(&mut W) -> T) -> T {
        let thread = rayon::current_thread_index().unwrap_or_default();
        // A worker is valid after a panic: its memory is overwritten for each image.
        let mut worker = self.0[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(&mut worker)
    }
}
