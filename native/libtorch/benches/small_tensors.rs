//! Time to allocate and free small tensors on several threads, with the caching allocator and without it.
//!
//! Processes with and without it alternate, because it stays installed.

use std::env;
use std::process::Command;
use std::thread;
use std::time::Instant;

use tch::{Device, Kind, Tensor};
use topk_libtorch::use_caching_allocator;

const THREADS: [usize; 2] = [1, 8];
const TENSORS: usize = 200_000;
const ROUNDS: usize = 7;
/// For the processes that measure.
const CACHED: &str = "TOPK_BENCH_CACHED";

fn main() {
    if let Ok(cached) = env::var(CACHED) {
        if cached == "true" {
            use_caching_allocator();
        }
        let times = THREADS.map(|threads| nanoseconds(threads).to_string());
        println!("{}", times.join(" "));
        return;
    }
    // For each number of threads, times without the cache and with it.
    let mut times = THREADS.map(|_| [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        for (cached, name) in ["false", "true"].into_iter().enumerate() {
            let program = env::current_exe().expect("this program has a path");
            let output = Command::new(program).env(CACHED, name).output();
            let output = String::from_utf8(output.expect("it can be run").stdout);
            let output = output.expect("numbers are printed");
            for (times, time) in times.iter_mut().zip(output.split_whitespace()) {
                times[cached].push(time.parse::<f64>().expect("numbers are printed"));
            }
        }
    }
    for (threads, times) in THREADS.iter().zip(times) {
        let [default, cached] = times.map(median);
        println!(
            "{threads} threads: {default:.0} ns per tensor with libtorch's allocator, {cached:.0} ns with the cache, \
             ratio {:.2}",
            cached / default
        );
    }
}

/// Time to allocate and free a tensor of 64 bytes while this many threads do so.
fn nanoseconds(threads: usize) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..TENSORS {
                    let _ = Tensor::empty([16i64], (Kind::Float, Device::Cpu));
                }
            });
        }
    });
    start.elapsed().as_nanos() as f64 / TENSORS as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
