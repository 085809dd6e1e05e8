//! How libtorch's threads wait for each other, adapted to the load of the machine.
//!
//! libtorch computes on the CPU with a team of OpenMP threads. A thread that waits for the others spins for several
//! milliseconds before it sleeps: the fastest way as long as each thread has a core. Where other processes need the
//! cores too, spinning takes time from the threads that still work, and training becomes several times slower.
//!
//! GNU's OpenMP library sleeps almost at once while it has more threads than there are CPUs (`GOMP_SPINCOUNT` in its
//! manual). So a watcher measures how long the training thread waits for a CPU, and while that is long it keeps a second
//! team, whose threads sleep all the time. The number of threads that compute stays the same, and so do the results.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, sleep};
use std::time::Duration;
use std::{env, fs, io};

/// Time between two looks at the load.
const INTERVAL: Duration = Duration::from_millis(250);
/// Share of a thread's time without a CPU from which it competes with other processes. It is 0.02 on an idle machine
/// with two cores, and 0.35 with one busy process.
const BUSY: f64 = 0.15;
/// Share below which the machine is idle again.
const IDLE: f64 = 0.07;
/// Number of idle looks in a row after which threads spin again.
const IDLE_LOOKS: u32 = 4;
/// Name of the threads of a [`Team`].
const TEAM: &str = "openmp-team";

/// Lets libtorch's threads sleep instead of spin while other processes compete with the calling thread for the CPUs,
/// until the process ends. Results do not change.
///
/// Does nothing if `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY` is set, if libtorch's OpenMP library is not GNU's, and on systems
/// other than Linux.
pub fn adapt_spinning_to_load() {
    let is_set = |name| env::var_os(name).is_some();
    if is_set("GOMP_SPINCOUNT") || is_set("OMP_WAIT_POLICY") {
        return;
    }
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        if let Some(openmp) = Openmp::loaded() {
            // A system without free threads or such statistics trains as without this function.
            let _ = watch(openmp);
        }
    });
}

/// Watches the calling thread from a thread of its own, which ends with it.
fn watch(openmp: Openmp) -> io::Result<()> {
    // SAFETY: `gettid` has no preconditions.
    let thread = unsafe { libc::gettid() };
    let statistics = format!("/proc/self/task/{thread}/schedstat");
    let mut before = CpuTime::read(&statistics)?;
    Builder::new().name("load".to_owned()).spawn(move || {
        let mut load = Load::default();
        let mut second_team = None;
        loop {
            sleep(INTERVAL);
            let Ok(now) = CpuTime::read(&statistics) else {
                return;
            };
            match (load.is_busy(before, now), &second_team) {
                (true, None) => second_team = Team::start(openmp).ok(),
                (false, Some(_)) => second_team = None,
                _ => {}
            }
            before = now;
        }
    })?;
    Ok(())
}

/// Time of a thread since its start, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct CpuTime {
    /// On a CPU.
    running: u64,
    /// Ready to run, but without a CPU.
    waiting: u64,
}

impl CpuTime {
    /// Reads Linux's file `schedstat` of a thread.
    fn read(path: &str) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        Some(Self {
            running: numbers.next()??,
            waiting: numbers.next()??,
        })
    }
}

/// Whether other processes need the CPUs.
#[derive(Debug, Default)]
struct Load {
    busy: bool,
    /// Idle looks in a row.
    idle_looks: u32,
}

impl Load {
    /// Whether the CPUs are busy, after a look at the times of a thread.
    fn is_busy(&mut self, before: CpuTime, now: CpuTime) -> bool {
        let running = now.running.saturating_sub(before.running);
        let waiting = now.waiting.saturating_sub(before.waiting);
        let active = Duration::from_nanos(running + waiting);
        // A thread that hardly ran, because it waits for a GPU or for images, says little about the CPUs.
        if active < INTERVAL / 10 {
            return self.busy;
        }
        let share = waiting as f64 / (running + waiting) as f64;
        self.idle_looks = if share < IDLE { self.idle_looks + 1 } else { 0 };
        if share > BUSY {
            self.busy = true;
        } else if self.idle_looks >= IDLE_LOOKS {
            self.busy = false;
        }
        self.busy
    }
}

/// Calls a function with its argument in a team of threads; the last number is for OpenMP's flags.
type Parallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);
/// The number of CPUs that the process may use.
type Cpus = unsafe extern "C" fn() -> c_int;

/// Functions of GNU's OpenMP library.
#[derive(Clone, Copy, Debug)]
struct Openmp {
    parallel: Parallel,
    cpus: Cpus,
}

impl Openmp {
    /// The library of this process, if it is GNU's.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn loaded() -> Option<Self> {
        let find = |name: &CStr| {
            // SAFETY: the name ends with a zero byte.
            let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            (!address.is_null()).then_some(address)
        };
        // LLVM's and Intel's libraries have GNU's functions as well, but wait in another way.
        if find(c"kmp_set_blocktime").is_some() {
            return None;
        }
        let (parallel, cpus) = (find(c"GOMP_parallel")?, find(c"omp_get_num_procs")?);
        // SAFETY: these are the types of the functions in the library's stable interface for compilers, libgomp_g.h,
        // and in OpenMP's standard.
        Some(unsafe {
            Self {
                parallel: std::mem::transmute::<*mut c_void, Parallel>(parallel),
                cpus: std::mem::transmute::<*mut c_void, Cpus>(cpus),
            }
        })
    }

    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    fn loaded() -> Option<Self> {
        None
    }
}

/// A team of one thread more than there are CPUs, which sleep until this is dropped.
#[derive(Debug)]
struct Team {
    /// Its leader waits until this is dropped.
    _end: Sender<()>,
}

impl Team {
    fn start(openmp: Openmp) -> io::Result<Self> {
        extern "C" fn nothing(_: *mut c_void) {}
        let (end, ended): (_, Receiver<()>) = channel();
        Builder::new().name(TEAM.to_owned()).spawn(move || {
            // SAFETY: `nothing` does not read its argument. The library ends the threads of the team together with this
            // thread, which leads it.
            unsafe {
                let threads = (openmp.cpus)().max(1) as c_uint + 1;
                (openmp.parallel)(nothing, std::ptr::null_mut(), threads, 0);
            }
            let _ = ended.recv();
        })?;
        Ok(Self { _end: end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks in which a thread waits for these shares of its time.
    fn looks(load: &mut Load, shares: &[f64]) -> Vec<bool> {
        let interval = INTERVAL.as_nanos() as f64;
        let mut before = CpuTime {
            running: 7,
            waiting: 9,
        };
        let look = |share: &f64| {
            let now = CpuTime {
                running: before.running + (interval * (1.0 - share)) as u64,
                waiting: before.waiting + (interval * share) as u64,
            };
            let busy = load.is_busy(before, now);
            before = now;
            busy
        };
        shares.iter().map(look).collect()
    }

    #[test]
    fn cpus_are_busy_at_once_and_idle_after_a_while() {
        let mut load = Load::default();
        assert_eq!(looks(&mut load, &[0.02, 0.1, 0.35]), [false, false, true]);
        let calm = looks(&mut load, &[0.1, 0.01, 0.01, 0.1, 0.01, 0.01, 0.01, 0.01]);
        assert_eq!(calm, [true, true, true, true, true, true, true, false]);
    }

    #[test]
    fn a_thread_that_hardly_runs_says_nothing_about_the_load() {
        let time = |running, waiting| CpuTime { running, waiting };
        let (still, waited) = (time(0, 0), time(1_000_000, 9_000_000));
        for busy in [false, true] {
            let mut load = Load {
                busy,
                idle_looks: 0,
            };
            assert_eq!(load.is_busy(still, waited), busy);
        }
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn the_threads_of_a_team_end_with_it() {
        // The linker leaves out libtorch, and with it the OpenMP library, if no function of it is used.
        assert!(tch::get_num_threads() > 0);
        let openmp = Openmp::loaded().expect("libtorch's OpenMP library is GNU's");
        // Threads have the name of the one that started them.
        let count = || {
            let tasks = fs::read_dir("/proc/self/task").unwrap();
            let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
            names.flatten().filter(|name| name.trim() == TEAM).count()
        };
        // SAFETY: the function has no preconditions.
        let cpus = unsafe { (openmp.cpus)() } as usize;
        let team = Team::start(openmp).unwrap();
        while count() < cpus + 1 {
            std::thread::yield_now();
        }
        drop(team);
        while count() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_times_of_a_thread_are_read() {
        let time = CpuTime::parse("123 456 7\n").unwrap();
        assert_eq!((time.running, time.waiting), (123, 456));
        for text in ["", "123", "123 x"] {
            assert!(CpuTime::parse(text).is_none(), "{text}");
        }
    }
}
