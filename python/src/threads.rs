//! The threads that share the work on a batch.

use std::ffi::{c_uint, c_void};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};
use topk_ops::{Executor, ForeignTasks, Rayon};

/// Up to this many threads: PyTorch's own where the process has them, so that its OpenMP threads, which spin for a
/// while after each operation, do not take the cores from others.
pub(crate) struct Threads(pub(crate) usize);

impl Executor for Threads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let threads = self.0.min(tasks);
        if threads <= 1 {
            (0..tasks).for_each(task);
        } else if let Some(parallel) = openmp() {
            run_on_openmp(parallel, threads, tasks, task);
        } else if let Some(pool) = pool(self.0) {
            pool.install(|| Rayon.for_each(tasks, task));
        } else {
            (0..tasks).for_each(task);
        }
    }
}

/// `GOMP_parallel`: calls a function with this argument on each of a number of threads, and returns when all calls
/// have returned.
type Parallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

/// The entry point of the OpenMP runtime that the process has loaded. PyTorch's libraries make theirs visible to all
/// others.
fn openmp() -> Option<Parallel> {
    static FOUND: OnceLock<Parallel> = OnceLock::new();
    if let Some(&found) = FOUND.get() {
        return Some(found);
    }
    // Looked up again if it is missing, as PyTorch may be imported later.
    // SAFETY: the name is a C string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) };
    if address.is_null() {
        return None;
    }
    // SAFETY: the function has had this type in every version of GCC's runtime since 4.9, and in LLVM's.
    let found = unsafe { std::mem::transmute::<*mut c_void, Parallel>(address) };
    Some(*FOUND.get_or_init(|| found))
}

fn run_on_openmp(parallel: Parallel, threads: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    struct Shared<'a> {
        next: AtomicUsize,
        len: usize,
        tasks: ForeignTasks<'a>,
    }

    extern "C" fn work(shared: *mut c_void) {
        // SAFETY: the address below, which outlives the parallel region; all threads only read it.
        let shared = unsafe { &*shared.cast::<Shared<'_>>() };
        loop {
            let index = shared.next.fetch_add(1, Ordering::Relaxed);
            if index >= shared.len {
                return;
            }
            shared.tasks.run(index);
        }
    }

    let mut shared = Shared {
        next: AtomicUsize::new(0),
        len: tasks,
        tasks: ForeignTasks::new(tasks, task),
    };
    let threads = c_uint::try_from(threads).unwrap_or(c_uint::MAX);
    // SAFETY: `work` takes the address of a `Shared`, does not unwind, and is not called after this returns.
    unsafe { parallel(work, (&raw mut shared).cast(), threads, 0) };
    shared.tasks.finish();
}

/// A pool of this many threads, or `None` if the system has no threads left.
fn pool(threads: usize) -> Option<Arc<ThreadPool>> {
    struct Pool {
        /// A forked process has the pool of its parent, but not its threads.
        process: u32,
        threads: usize,
        pool: Arc<ThreadPool>,
    }
    static LATEST: Mutex<Option<Pool>> = Mutex::new(None);

    let process = process::id();
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = &*latest
        && found.process == process
        && found.threads == threads
    {
        return Some(Arc::clone(&found.pool));
    }
    let builder = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("topk-{index}"));
    let pool = Arc::new(builder.build().ok()?);
    let made = Pool {
        process,
        threads,
        pool: Arc::clone(&pool),
    };
    if let Some(other) = latest.replace(made)
        && other.process != process
    {
        // Dropping it would wait for threads that only the parent has.
        let _ = Arc::into_raw(other.pool);
    }
    Some(pool)
}
