//! A step with the reducer at one rank beside a plain step, in one process and turn by turn.

use std::time::{Duration, Instant};
use topk_testing::free_port;

use crate::training::{Training, join};

/// Time on the clock, and of the CPUs.
#[derive(Clone, Copy)]
struct Times {
    wall: f64,
    cpu: f64,
}

pub(crate) fn measure() {
    println!(
        "overhead at one rank, {} threads; medians of a step, ms; the CPUs' time in brackets",
        tch::get_num_threads()
    );
    println!(
        "network      batch  pairs       plain              with reducer           overhead         CPU time"
    );
    let group = join(free_port(), 0, 1);
    for (name, size, classes, batch, pairs) in [
        ("basic-16", 32, 100, 64, 200),
        ("basic-16", 32, 100, 256, 60),
        ("resnet18", 224, 1000, 8, 60),
    ] {
        let mut plain = Training::new(name, size, classes, batch);
        let mut reduced = Training::new(name, size, classes, batch).reduce_over(&group);
        for _ in 0..3 {
            plain.step();
            reduced.step();
        }
        let (mut without, mut with) = (vec![], vec![]);
        for pair in 0..pairs {
            // The order alternates, as the second step of a pair may find warmer caches.
            if pair % 2 == 0 {
                without.push(timed(&mut plain));
                with.push(timed(&mut reduced));
            } else {
                with.push(timed(&mut reduced));
                without.push(timed(&mut plain));
            }
        }
        let median_of =
            |times: &[Times], value: fn(&Times) -> f64| median(times.iter().map(value).collect());
        // Of pairs, since the machine's load changes over the run.
        let overhead = |value: fn(&Times) -> f64| {
            let pairs = with.iter().zip(&without);
            let ratios: Vec<f64> = pairs
                .map(|(with, without)| 100.0 * (value(with) / value(without) - 1.0))
                .collect();
            let middle = median(ratios.clone());
            // The standard error of a median, from the median distance to it, for a normal distribution.
            let distances = ratios.iter().map(|ratio| (ratio - middle).abs()).collect();
            let error = 1.25 * 1.48 * median(distances) / (ratios.len() as f64).sqrt();
            format!("{middle:5.2} ± {error:.2} %")
        };
        println!(
            "{name:10} {batch:7} {pairs:6} {:10.2} ({:8.2}) {:10.2} ({:8.2})   {:>16} {:>16}",
            median_of(&without, |times| times.wall),
            median_of(&without, |times| times.cpu),
            median_of(&with, |times| times.wall),
            median_of(&with, |times| times.cpu),
            overhead(|times| times.wall),
            overhead(|times| times.cpu),
        );
    }
}

fn timed(training: &mut Training) -> Times {
    let (begin, cpu) = (Instant::now(), cpu_time());
    training.step();
    Times {
        wall: begin.elapsed().as_secs_f64() * 1e3,
        cpu: (cpu_time() - cpu).as_secs_f64() * 1e3,
    }
}

/// The CPU time of all threads of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
