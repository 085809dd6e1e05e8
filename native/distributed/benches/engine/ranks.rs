//! Two and three ranks as processes, in a network namespace of their own if the machine allows it, so that the counters of
//! the loopback device count nothing else.

use std::env;
use std::fs;
use std::process::Command;

use topk_distributed::Group;
use topk_testing::free_port;

use crate::training::{Training, join};

/// The network of a rank; `None` in the process that starts them.
const NETWORK: &str = "TOPK_BENCH_NETWORK";
const STEPS: usize = 12;

pub(crate) fn network_of_this_rank() -> Option<String> {
    env::var(NETWORK).ok()
}

pub(crate) fn measure() {
    println!("ranks on loopback, one thread each, {STEPS} steps; averages per step");
    println!(
        "network     ranks  batch    backward  communication   overlap    share  sent / minimum"
    );
    for network in ["basic-16", "resnet18"] {
        for world_size in [2, 3] {
            run(network, world_size);
        }
    }
}

fn run(network: &str, world_size: usize) {
    let script = r#"ip link set lo up && for rank in $(seq 1 $((TOPK_BENCH_RANKS - 1))); do
        TOPK_BENCH_RANK=$rank "$0" & done; TOPK_BENCH_RANK=0 "$0"; status=$?; wait; exit $status"#;
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", script])
        .arg(env::current_exe().expect("Linux knows the path of a process"))
        .env(NETWORK, network)
        .env("TOPK_BENCH_RANKS", world_size.to_string())
        .env("TOPK_BENCH_PORT", free_port().to_string())
        .env("OMP_NUM_THREADS", "1")
        .status();
    if !status.as_ref().is_ok_and(|status| status.success()) {
        println!("{network} at {world_size} ranks failed: {status:?}");
    }
}

fn number(name: &str) -> usize {
    let value = env::var(name).ok().and_then(|value| value.parse().ok());
    value.expect("the process that starts ranks sets the variables")
}

pub(crate) fn be_a_rank(network: &str) {
    let (rank, world_size) = (number("TOPK_BENCH_RANK"), number("TOPK_BENCH_RANKS"));
    let group = join(number("TOPK_BENCH_PORT") as u16, rank, world_size);
    let (size, classes, batch) = match network {
        "resnet18" => (224, 1000, 8),
        _ => (32, 100, 64),
    };
    let mut training = Training::new(network, size, classes, batch).reduce_over(&group);
    let before = sent_when_quiet(&group);
    for _ in 0..STEPS {
        training.step();
    }
    let sent = sent_when_quiet(&group) - before;
    // Each rank sends at least 2 (N - 1) / N of its gradients.
    let minimum = 2 * (world_size - 1) * training.gradient_bytes() * STEPS;
    let stats = training
        .reducer
        .as_ref()
        .expect("ranks reduce")
        .stats()
        .expect("libtorch answers");
    if rank == 0 {
        let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
        println!(
            "{network:10} {world_size:6} {batch:6} {:8.2} ms {:11.2} ms {:6.2} ms {:6.1} % {:10.4}",
            ms(stats.backward),
            ms(stats.communication),
            ms(stats.overlap),
            100.0 * stats.overlap.as_secs_f64() / stats.communication.as_secs_f64(),
            sent as f64 / minimum as f64,
        );
    }
    group.finish().expect("all ranks end");
}

/// Bytes that the loopback device of this network namespace has sent, when no rank is in a step.
fn sent_when_quiet(group: &Group) -> usize {
    group.barrier().expect("all ranks take part");
    let table = fs::read_to_string("/proc/self/net/dev").expect("Linux counts bytes");
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"));
    let sent = line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok());
    let sent = sent.expect("the loopback device has counters");
    group.barrier().expect("all ranks take part");
    sent
}
