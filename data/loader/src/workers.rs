use std::sync::{Mutex, PoisonError};

/// Workers for rayon's threads, such as preprocessors with their memory.
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

    /// Calls `work` with the worker of the current thread. In a larger pool than the one in which the workers
    /// were created, threads share workers and wait for each other.
    pub fn with<T>(&self, work: impl FnOnce(&mut W) -> T) -> T {
        let thread = rayon::current_thread_index().unwrap_or_default();
        // A worker is valid after a panic: its memory is overwritten for each image.
        let mut worker = self.0[thread % self.0.len()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(&mut worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn a_larger_pool_shares_the_workers() {
        let pool = |threads| {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
            builder.build().unwrap()
        };
        let workers = pool(2).install(|| Workers::new(|| Ok::<_, ()>(0)).unwrap());
        pool(5).install(|| {
            (0..100)
                .into_par_iter()
                .for_each(|_| workers.with(|sum| *sum += 1))
        });
        let sums = workers.0.into_iter().map(|sum| sum.into_inner().unwrap());
        assert_eq!(sums.sum::<i32>(), 100);
    }
}
