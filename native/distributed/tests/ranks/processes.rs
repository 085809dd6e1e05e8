//! Ranks as processes.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tch::Device;
use topk_distributed::{DistributedError, Group, Rendezvous};
use topk_testing::free_port;

/// What a rank does; `None` in the test that starts it.
pub(crate) const ROLE: &str = "TOPK_TEST_ROLE";

/// Long enough for ranks to start on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a rank joins.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    pub(crate) timeout: Duration,
}

/// A rank, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Rank {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a rank ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// Starts the test `test` of this binary again as a rank. It finds out with [`role`].
pub(crate) fn start(test: &str, role: &str, place: &Place) -> Rank {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(ROLE, role)
        .env("RANK", place.rank.to_string())
        .env("WORLD_SIZE", place.world_size.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", place.port.to_string())
        .env("TOPK_TEST_TIMEOUT", place.timeout.as_secs().to_string())
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Rank {
        input: child.stdin.take(),
        output: child.stdout.take().map(BufReader::new),
        child,
    }
}

impl Rank {
    pub(crate) fn signal(&self, signal: libc::c_int) {
        let process = self.child.id() as libc::pid_t;
        // SAFETY: the child has not been waited for, so its number is not another process's.
        let result = unsafe { libc::kill(process, signal) };
        assert_eq!(result, 0);
    }

    /// Waits until the rank prints this line.
    pub(crate) fn wait_for(&mut self, expected: &str) {
        let output = self.output.as_mut().unwrap();
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            if output.read_line(&mut line).unwrap() == 0 {
                let mut errors = String::new();
                let _ = self
                    .child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut errors);
                panic!("the rank ended before it printed {expected}: {seen}\n{errors}");
            }
            // The test harness may have begun the line.
            if line.trim_end().ends_with(expected) {
                return;
            }
            seen.push_str(&line);
        }
    }

    /// Lets the rank continue from [`pause`].
    pub(crate) fn resume(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self, limit: Duration) -> End {
        let begin = Instant::now();
        let mut stderr = self.child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut stdout = self.output.take().unwrap();
        let output = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > limit {
                let _ = self.child.kill();
                panic!(
                    "a rank is still running after {limit:?}: {}",
                    errors.join().unwrap()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        End {
            status,
            output: output.join().unwrap(),
            errors: errors.join().unwrap(),
        }
    }
}

/// Runs a test's ranks to their end, and returns what they printed. In a rank, runs `rank` instead.
pub(crate) fn with_ranks(test: &str, world_size: usize, rank: impl FnOnce(Group)) -> Vec<String> {
    if role().is_some() {
        let group = join().unwrap();
        rank(group.clone());
        group.finish().unwrap();
        return vec![];
    }
    run_ranks(test, world_size)
}

/// Runs a test's ranks, whose role is `rank`, to their end, and returns what they printed.
pub(crate) fn run_ranks(test: &str, world_size: usize) -> Vec<String> {
    let port = free_port();
    let ranks: Vec<Rank> = (0..world_size)
        .map(|rank| {
            let place = Place {
                port,
                rank,
                world_size,
                timeout: TIMEOUT,
            };
            start(test, "rank", &place)
        })
        .collect();
    let ends: Vec<End> = ranks
        .into_iter()
        .map(|rank| rank.end(2 * TIMEOUT))
        .collect();
    for (rank, end) in ends.iter().enumerate() {
        assert!(
            end.status.success(),
            "rank {rank}: {}\n{}",
            end.output,
            end.errors
        );
    }
    ends.into_iter().map(|end| end.output).collect()
}

/// What this process does, if it is a rank.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

fn number(name: &str) -> Option<usize> {
    Some(env::var(name).ok()?.parse().unwrap())
}

/// Where this rank joins: what [`start`] or torchrun says.
pub(crate) fn rendezvous() -> Rendezvous {
    let rank = number("RANK").unwrap();
    let launcher = env::var("TORCHELASTIC_USE_AGENT_STORE").is_ok_and(|value| value == "True");
    let attempt = number("TORCHELASTIC_RESTART_COUNT").unwrap_or(0);
    Rendezvous {
        host: env::var("MASTER_ADDR").unwrap(),
        port: number("MASTER_PORT").unwrap() as u16,
        rank,
        world_size: number("WORLD_SIZE").unwrap(),
        is_server: !launcher && rank == 0,
        prefix: format!("/worker/attempt_{attempt}"),
        timeout: number("TOPK_TEST_TIMEOUT")
            .map_or(TIMEOUT, |seconds| Duration::from_secs(seconds as u64)),
    }
}

/// Joins as this rank.
pub(crate) fn join() -> Result<Group, DistributedError> {
    tch::set_num_threads(1);
    Group::connect(&rendezvous(), Device::Cpu)
}

/// In a rank: prints a line, and waits for [`Rank::resume`].
pub(crate) fn pause(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).unwrap();
}
