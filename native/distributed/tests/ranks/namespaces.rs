//! Network namespaces: one whose counters see nothing but the ranks, and one per rank, as on several machines.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use tch::{Device, Kind, Tensor};
use topk_distributed::{Group, Op, Reducer, ReducerOptions};
use topk_testing::{Requirement, free_port, skip};

use crate::processes::{ROLE, join, role, run_ranks};

/// A shell in a network namespace of its own, in which it may set up devices; `None`, after a skip, where users cannot
/// make one.
fn namespace(script: &str) -> Option<Command> {
    let arguments = ["--user", "--map-root-user", "--net", "sh", "-e", "-c"];
    let attempt = Command::new("unshare")
        .args(arguments)
        .arg("ip link set lo up && ip link add left type veth peer name right")
        .output();
    if !attempt.is_ok_and(|output| output.status.success()) {
        skip(
            Requirement::UserNamespaces,
            "users cannot make network devices (with unshare -rn) on this system",
        );
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(arguments).arg(script).arg("sh");
    Some(command)
}

#[test]
fn ranks_send_little_more_than_the_minimum() {
    const TEST: &str = "namespaces::ranks_send_little_more_than_the_minimum";
    const STEPS: usize = 6;
    const ELEMENTS: usize = 1 << 19;
    match role().as_deref() {
        None => {
            let Some(mut shell) = namespace(r#"ip link set lo up; exec "$@""#) else {
                return;
            };
            let output = shell
                .arg(env::current_exe().unwrap())
                .args(["--exact", TEST, "--nocapture"])
                .env(ROLE, "namespace")
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Some("namespace") => {
            for world_size in [2, 3] {
                run_ranks(TEST, world_size);
            }
        }
        Some(_) => {
            let group = join().unwrap();
            let parameters = [(); 2].map(|()| {
                let zeros = Tensor::zeros([ELEMENTS as i64], (Kind::Float, Device::Cpu));
                zeros.set_requires_grad(true)
            });
            let mut reducer = Reducer::new(&group, &parameters, ReducerOptions::default()).unwrap();
            reducer.warm_up().unwrap();
            let before = sent_when_quiet(&group);
            for _ in 0..STEPS {
                reducer.prepare().unwrap();
                reducer.backward_constant(1.0).unwrap();
            }
            let sent = sent_when_quiet(&group) - before;
            // Each of N ranks sends at least 2 (N - 1) / N of its gradients: its share of each sum, and of each result.
            let minimum = 2 * (group.world_size() - 1) * 2 * ELEMENTS * 4 * STEPS;
            let ratio = sent as f64 / minimum as f64;
            assert!((1.0..1.03).contains(&ratio), "{ratio}");
            group.finish().unwrap();
        }
    }
}

/// Bytes that the loopback device of this namespace has sent, at a time when no rank is in a step.
fn sent_when_quiet(group: &Group) -> usize {
    group.barrier().unwrap();
    let table = fs::read_to_string("/proc/self/net/dev").unwrap();
    let mut lines = table.lines();
    let line = lines
        .find_map(|line| line.trim().strip_prefix("lo:"))
        .unwrap();
    let sent = line.split_whitespace().nth(8).unwrap().parse().unwrap();
    group.barrier().unwrap();
    sent
}

/// Two namespaces with a cable between them; each runs a rank.
const APART: &str = r#"
unshare --net sleep 120 & other=$!
trap 'kill $other' EXIT
own=$(readlink /proc/$$/ns/net)
while [ "$(readlink /proc/$other/ns/net)" = "$own" ]; do :; done
ip link set lo up
ip link add left type veth peer name right netns $other
ip address add 10.7.0.1/24 dev left
ip link set left up
nsenter --net --target $other ip address add 10.7.0.2/24 dev right
nsenter --net --target $other ip link set right up
RANK=0 "$@" & zero=$!
RANK=1 nsenter --net --target $other "$@"
wait $zero
"#;

#[test]
fn ranks_on_machines_of_their_own_join() {
    const TEST: &str = "namespaces::ranks_on_machines_of_their_own_join";
    if role().is_some() {
        let group = join().unwrap();
        let sum = Tensor::from_slice(&[group.rank() as f32 + 1.0]);
        group.all_reduce(&[&sum], Op::Sum).unwrap();
        assert_eq!(sum.double_value(&[0]), 3.0);
        println!("added");
        group.finish().unwrap();
        return;
    }
    let Some(mut shell) = namespace(APART) else {
        return;
    };
    let child = shell
        .arg(env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(ROLE, "rank")
        .env("WORLD_SIZE", "2")
        .env("MASTER_ADDR", "10.7.0.1")
        .env("MASTER_PORT", free_port().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let output = child.unwrap().wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        text.matches("added").count(),
        2,
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
