//! Ranks that are killed, stopped, missing, or do not fit: the others end within the time-out, and name them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tch::Tensor;
use topk_distributed::{DistributedError, Group, Op};
use topk_testing::free_port;

use crate::processes::{Place, Rank, join, pause, role, start};

/// Short, so that the tests are fast, and long enough for a busy machine to start processes.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What ranks of these tests do.
fn be_a_rank() -> bool {
    let Some(role) = role() else {
        return false;
    };
    let group = match join() {
        Ok(group) => group,
        Err(error) => {
            println!("JOINING {error}");
            return true;
        }
    };
    let begin = Instant::now();
    let mut error = step(&group);
    if error.is_none() {
        // The test now chooses a rank to disturb.
        pause("joined");
        match role.as_str() {
            "reports" if group.rank() == 1 => {
                group.report_failure("no space left on device");
                return true;
            }
            "waits" if group.rank() == 1 => pause("waiting"),
            _ => {}
        }
        while error.is_none() {
            error = step(&group);
        }
    }
    let error = group.diagnose(&error.unwrap());
    println!("OPERATION {error}");
    println!("SECONDS {}", begin.elapsed().as_secs());
    assert_eq!(group.failure(), Some(error));
    true
}

/// Several operations under way together, as in a training step.
fn step(group: &Group) -> Option<DistributedError> {
    let tensors = [(); 6].map(|()| Tensor::from_slice(&[1.0]));
    let start = |tensor| group.all_reduce_async(tensor, Op::Sum);
    match tensors.iter().map(start).collect::<Result<Vec<_>, _>>() {
        Ok(works) => works.into_iter().find_map(|work| work.wait().err()),
        Err(error) => Some(error),
    }
}

fn start_ranks(test: &str, role: &str, ranks: &[(usize, usize)]) -> Vec<Rank> {
    let port = free_port();
    ranks
        .iter()
        .map(|&(rank, world_size)| {
            let place = Place {
                port,
                rank,
                world_size,
                timeout: TIMEOUT,
            };
            start(test, role, &place)
        })
        .collect()
}

/// The lines that start with this word.
fn said<'a>(output: &'a str, word: &str) -> Vec<&'a str> {
    output
        .lines()
        .filter_map(|line| line.split_once(word).map(|(_, rest)| rest.trim()))
        .collect()
}

/// Starts three ranks, disturbs one while they work, and checks what the others say.
fn disturb(test: &str, role: &str, disturbed: usize, signal: Option<libc::c_int>, expected: &str) {
    let mut ranks = start_ranks(test, role, &[(0, 3), (1, 3), (2, 3)]);
    for rank in &mut ranks {
        rank.wait_for("joined");
    }
    let begin = Instant::now();
    for rank in &mut ranks {
        rank.resume();
    }
    if let Some(signal) = signal {
        ranks[disturbed].signal(signal);
    }
    let mut disturbed_rank = Some(ranks.remove(disturbed));
    if signal.is_none() && role == "reports" {
        let end = disturbed_rank.take().unwrap().end(TIMEOUT);
        assert!(end.status.success(), "{}", end.errors);
    }
    for rank in ranks {
        let end = rank.end(2 * TIMEOUT);
        let said = said(&end.output, "OPERATION");
        assert!(
            end.status.success() && said.len() == 1 && said[0].contains(expected),
            "expected {expected}, got {} {}",
            end.output,
            end.errors
        );
    }
    // Some seconds for the ends of processes on a busy machine.
    assert!(
        begin.elapsed() < TIMEOUT + Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    drop(disturbed_rank);
}

#[test]
fn a_rank_that_is_killed_is_named() {
    if be_a_rank() {
        return;
    }
    disturb(
        "faults::a_rank_that_is_killed_is_named",
        "works",
        2,
        Some(libc::SIGKILL),
        "rank 2 does not respond any more",
    );
}

#[test]
fn a_rank_that_is_stopped_is_named() {
    if be_a_rank() {
        return;
    }
    disturb(
        "faults::a_rank_that_is_stopped_is_named",
        "works",
        1,
        Some(libc::SIGSTOP),
        "rank 1 does not respond any more",
    );
}

#[test]
fn the_host_of_the_store_is_named_when_it_is_killed() {
    if be_a_rank() {
        return;
    }
    disturb(
        "faults::the_host_of_the_store_is_named_when_it_is_killed",
        "works",
        0,
        Some(libc::SIGKILL),
        "does not respond any more; rank 0 hosts it",
    );
}

#[test]
fn the_host_of_the_store_is_named_when_it_is_stopped() {
    if be_a_rank() {
        return;
    }
    disturb(
        "faults::the_host_of_the_store_is_named_when_it_is_stopped",
        "works",
        0,
        Some(libc::SIGSTOP),
        "does not respond any more; rank 0 hosts it",
    );
}

#[test]
fn the_report_of_a_rank_reaches_the_others() {
    if be_a_rank() {
        return;
    }
    disturb(
        "faults::the_report_of_a_rank_reaches_the_others",
        "reports",
        1,
        None,
        "rank 1 failed: no space left on device",
    );
}

#[test]
fn a_rank_that_is_late_is_not_taken_for_dead() {
    if be_a_rank() {
        return;
    }
    disturb(
        "faults::a_rank_that_is_late_is_not_taken_for_dead",
        "waits",
        1,
        None,
        "rank 1 is still busy before operation",
    );
}

/// Starts ranks that cannot join, and returns what each of them says about it.
fn refused(test: &str, ranks: &[(usize, usize)]) -> Vec<String> {
    let begin = Instant::now();
    let ranks = start_ranks(test, "joins", ranks);
    let ends: Vec<_> = ranks
        .into_iter()
        .map(|rank| rank.end(2 * TIMEOUT))
        .collect();
    assert!(
        begin.elapsed() < TIMEOUT + Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    ends.iter()
        .map(|end| match said(&end.output, "JOINING")[..] {
            [said] => said.to_owned(),
            _ => panic!("{} {}", end.output, end.errors),
        })
        .collect()
}

#[test]
fn a_rank_that_is_missing_is_named() {
    if be_a_rank() {
        return;
    }
    let said = refused("faults::a_rank_that_is_missing_is_named", &[(0, 3), (2, 3)]);
    for text in said {
        assert!(
            text.starts_with("rank 1 did not join the group at 127.0.0.1:"),
            "{text}"
        );
        assert!(
            text.ends_with("within 15 s: 2 of 3 ranks are there"),
            "{text}"
        );
    }
}

#[test]
fn a_rank_of_another_world_size_is_named() {
    if be_a_rank() {
        return;
    }
    let said = refused(
        "faults::a_rank_of_another_world_size_is_named",
        &[(0, 2), (2, 3)],
    );
    for text in said {
        assert!(
            text.contains("was started with WORLD_SIZE=3, rank 0 (process "),
            "{text}"
        );
        assert!(
            text.ends_with("with WORLD_SIZE=2: give all ranks the same number"),
            "{text}"
        );
        assert!(text.starts_with("rank 2 (process "), "{text}");
    }
}

#[test]
fn a_rank_that_is_started_twice_is_named() {
    if be_a_rank() {
        return;
    }
    let said = refused(
        "faults::a_rank_that_is_started_twice_is_named",
        &[(0, 3), (1, 3), (1, 3)],
    );
    for text in said {
        assert!(text.starts_with("rank 1 was started twice, as "), "{text}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    if be_a_rank() {
        return;
    }
    // It accepts connections, and never answers.
    let listener = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let begin = Instant::now();
    let ranks: Vec<Rank> = (0..2)
        .map(|rank| {
            let place = Place {
                port,
                rank,
                world_size: 2,
                timeout: Duration::from_secs(5),
            };
            start("faults::a_port_that_is_taken_is_named", "joins", &place)
        })
        .collect();
    let expected = [
        format!("port {port} is taken on this machine, so rank 0 cannot listen on it"),
        format!("rank 1 cannot join the group at 127.0.0.1:{port} within 5 s"),
    ];
    for (rank, expected) in ranks.into_iter().zip(expected) {
        let end = rank.end(2 * TIMEOUT);
        let said = said(&end.output, "JOINING");
        assert!(
            said.len() == 1 && said[0].contains(&expected),
            "{} {}",
            end.output,
            end.errors
        );
    }
    assert!(begin.elapsed() < TIMEOUT, "{:?}", begin.elapsed());
}

#[test]
fn a_rank_beyond_the_world_size_is_refused() {
    let mut rendezvous = rendezvous_of_one();
    rendezvous.rank = 1;
    let error = Group::connect(&rendezvous, tch::Device::Cpu).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rank 1 is not one of 1 ranks, which are counted from 0"
    );
}

fn rendezvous_of_one() -> topk_distributed::Rendezvous {
    topk_distributed::Rendezvous {
        host: "127.0.0.1".to_owned(),
        port: free_port(),
        rank: 0,
        world_size: 1,
        is_server: true,
        prefix: String::new(),
        timeout: TIMEOUT,
    }
}

#[test]
fn one_rank_is_a_group_too() {
    let group = Group::connect(&rendezvous_of_one(), tch::Device::Cpu).unwrap();
    assert_eq!(step(&group), None);
    assert_eq!(group.gather_bytes(b"a").unwrap(), [b"a"]);
    assert_eq!(group.failure(), None);
    group.finish().unwrap();
}
