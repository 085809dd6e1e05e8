//! Ranks that PyTorch's torchrun starts, which hosts the store, and a store of PyTorch's with a rank of another version.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use tch::Tensor;
use topk_distributed::Op;
use topk_testing::{Environment, python};

use crate::processes::{Place, ROLE, join, role, start};

/// The command that starts this test as two ranks.
fn torchrun(test: &str, role: &str, options: &[&str]) -> Option<Command> {
    let mut command = python(Environment::PyTorch)?;
    command
        .args(["-m", "torch.distributed.run", "--standalone", "--no-python"])
        .args(["--nproc-per-node", "2"])
        .args(options)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(ROLE, role);
    Some(command)
}

#[test]
fn ranks_of_torchrun_join_at_its_store() {
    if role().is_some() {
        let group = join().unwrap();
        let sum = Tensor::from_slice(&[group.rank() as f32 + 1.0]);
        group.all_reduce(&[&sum], Op::Sum).unwrap();
        println!("sum {}", sum.double_value(&[0]));
        group.finish().unwrap();
        return;
    }
    let test = "torchrun::ranks_of_torchrun_join_at_its_store";
    let Some(mut torchrun) = torchrun(test, "sum", &[]) else {
        return;
    };
    let output = topk_testing::run(&mut torchrun);
    assert_eq!(output.matches("sum 3").count(), 2, "{output}");
}

#[test]
fn torchrun_restarts_ranks_after_one_was_killed() {
    if role().is_some() {
        let group = join().unwrap();
        let attempt = env::var("TORCHELASTIC_RESTART_COUNT").unwrap();
        for step in 0..20 {
            if attempt == "0" && step == 10 && group.rank() == 1 {
                // SAFETY: ends this process.
                unsafe { libc::raise(libc::SIGKILL) };
            }
            let one = Tensor::from_slice(&[1.0]);
            let reduced = group.all_reduce(&[&one], Op::Sum);
            reduced.map_err(|error| group.diagnose(&error)).unwrap();
        }
        println!("attempt {attempt} ended");
        group.finish().unwrap();
        return;
    }
    let test = "torchrun::torchrun_restarts_ranks_after_one_was_killed";
    let Some(mut torchrun) = torchrun(test, "dies", &["--max-restarts", "1"]) else {
        return;
    };
    let output = topk_testing::run(&mut torchrun);
    assert_eq!(output.matches("attempt 1 ended").count(), 2, "{output}");
    assert!(!output.contains("attempt 0 ended"), "{output}");
}

/// Rank 0 of another version: PyTorch's store with its record, which prints the port and the verdict.
const OTHER_VERSION: &str = r#"
import sys
from datetime import timedelta
from torch.distributed import PrefixStore, TCPStore

server = TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=60), wait_for_workers=False)
print(server.port, flush=True)
store = PrefixStore("/worker/attempt_0", server)
store.set("rank/0", "2\n2.11.0\n2\nprocess 7 on another machine")
print(store.get("verdict").decode(), flush=True)
sys.stdin.read()
"#;

#[test]
fn a_rank_of_another_version_is_named_on_all_ranks() {
    if role().is_some() {
        println!("JOINING {}", join().unwrap_err());
        return;
    }
    let Some(mut python) = python(Environment::PyTorch) else {
        return;
    };
    let mut server = python
        .args(["-c", OTHER_VERSION])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = lines.next().unwrap().unwrap().parse().unwrap();
    let place = Place {
        port,
        rank: 1,
        world_size: 2,
        timeout: Duration::from_secs(30),
    };
    let rank = start(
        "torchrun::a_rank_of_another_version_is_named_on_all_ranks",
        "joins",
        &place,
    );
    let end = rank.end(Duration::from_secs(60));
    let verdict = lines.next().unwrap().unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
    assert!(
        end.output.contains(&format!("JOINING {verdict}\n")),
        "{}",
        end.output
    );
    assert!(verdict.starts_with("rank 1 (process "), "{verdict}");
    assert!(
        verdict.ends_with(
            "speaks version 1 of the protocol between ranks, rank 0 (process 7 on another machine) version 2: start \
             the same version of the program on all ranks"
        ),
        "{verdict}"
    );
}
