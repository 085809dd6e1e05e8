//! Ranks as real processes: of this test, and of a copy of it that is a parent which gets signals or is killed.

#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use topk_cli::launch::{LocalRanks, RankFailure, SpawnError};

/// Far longer than a test takes.
const LONG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn run(scripts: &[&str], grace: Duration) -> Option<RankFailure> {
    let ranks = LocalRanks::start(scripts.len(), grace, |rank| shell(scripts[rank]));
    ranks.unwrap().wait().unwrap()
}

#[test]
fn each_rank_has_the_variables_of_a_launcher() {
    let folder = tempfile::tempdir().unwrap();
    let names = "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT";
    let ranks = LocalRanks::start(3, LONG, |rank| {
        let file = folder.path().join(rank.to_string());
        shell(&format!(
            "for name in {names}; do eval echo \\$$name; done > {}",
            file.display()
        ))
    });
    assert_eq!(ranks.unwrap().wait().unwrap(), None);
    let lines = |rank: usize| -> Vec<String> {
        let text = fs::read_to_string(folder.path().join(rank.to_string())).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let port = lines(0)[5].clone();
    assert!(port.parse::<u16>().unwrap() > 0);
    for rank in 0..3 {
        let own = rank.to_string();
        assert_eq!(lines(rank), [&own, "3", &own, "3", "127.0.0.1", &port]);
    }
}

#[test]
fn the_others_are_ended_when_one_fails() {
    let wait = "while :; do sleep 0.05; done";
    let failure = run(&[wait, "exit 7", wait], LONG).unwrap();
    assert_eq!((failure.rank, failure.exit_code()), (1, 7));
    assert_eq!(failure.to_string(), "rank 1 ended with exit status: 7");
    assert!(!failure.interrupted);

    let killed = run(&[wait, wait, "kill -KILL $$"], LONG).unwrap();
    assert_eq!((killed.rank, killed.status.signal()), (2, Some(9)));
    assert_eq!(killed.exit_code(), 137);
}

#[test]
fn ranks_that_ignore_the_request_to_end_are_killed() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let deaf = format!(
        "trap '' TERM; echo > {}; while :; do sleep 0.05; done",
        ready.display()
    );
    let fails = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; exit 3",
        ready.display()
    );
    let start = Instant::now();
    let failure = run(&[&deaf, &fails], Duration::from_millis(300)).unwrap();
    assert_eq!((failure.rank, failure.exit_code()), (1, 3));
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_program_that_cannot_start_ends_the_ranks_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let error = LocalRanks::start(2, LONG, |rank| match rank {
        0 => shell(&format!(
            "echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 0.05; done",
            ready.display()
        )),
        _ => {
            while !ready.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            Command::new("/nowhere/topk")
        }
    });
    let Err(SpawnError::Start { rank: 1, .. }) = error else {
        panic!("{error:?}");
    };
    let id = fs::read_to_string(&ready).unwrap();
    assert!(!lives(Pid::from_raw(id.trim().parse().unwrap()).unwrap()));
}

/// Whether a process exists. A zombie, until the system's first process reaps it, has ended too.
fn lives(id: Pid) -> bool {
    let stat = Path::new("/proc").join(id.to_string()).join("stat");
    test_kill_process(id).is_ok()
        && fs::read_to_string(stat).is_ok_and(|stat| !stat.contains(") Z "))
}

const PARENT: &str = "TOPK_TEST_PARENT";

/// The parent of ranks in the tests below; nothing when it is run as a test.
#[test]
fn parent() {
    let Ok(script) = env::var(PARENT) else {
        return;
    };
    let failure = LocalRanks::start(2, LONG, |_| shell(&script))
        .unwrap()
        .wait()
        .unwrap();
    match failure {
        Some(failure) => println!("failed {} {}", failure.exit_code(), failure.interrupted),
        None => println!("succeeded"),
    }
}

/// A parent, and its output. It is killed when the test fails.
struct Parent {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Parent {
    /// Starts the parent of two ranks, and returns it with their process numbers once both handle signals.
    fn start(trap: &str) -> (Self, [Pid; 2]) {
        let script = format!("{trap}; echo ready $$; while :; do sleep 0.05; done");
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "parent", "--nocapture"])
            .env(PARENT, script)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ids = lines.by_ref().filter_map(|line| {
            let line = line.unwrap();
            let id = line.split_once("ready ")?.1.parse().unwrap();
            Some(Pid::from_raw(id).unwrap())
        });
        let ids = [ids.next().unwrap(), ids.next().unwrap()];
        (Self { child, lines }, ids)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The rest of the output.
    fn output(&mut self) -> Vec<String> {
        self.lines.by_ref().map(Result::unwrap).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signals_are_passed_on_once() {
    for (signal, name, code) in [(Signal::INT, "INT", 130), (Signal::TERM, "TERM", 143)] {
        // Each rank stops gracefully, the second time at once.
        let (mut parent, _) = Parent::start(&format!(
            "trap 'echo got {name}; trap \"exit 99\" {name}; sleep 0.2; exit {code}' {name}"
        ));
        parent.signal(signal);
        let output = parent.output();
        let got = output
            .iter()
            .filter(|line| line.ends_with(&format!("got {name}")));
        assert_eq!(got.count(), 2, "{output:?}");
        assert!(
            output
                .iter()
                .any(|line| line == &format!("failed {code} true")),
            "{output:?}"
        );
    }
}

#[test]
fn no_rank_outlives_its_parent() {
    let (mut parent, ids) = Parent::start(":");
    parent.signal(Signal::KILL);
    parent.child.wait().unwrap();
    let start = Instant::now();
    while ids.iter().any(|id| lives(*id)) {
        assert!(start.elapsed() < LONG, "a rank lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_rank_knows_that_this_library_started_it() {
    assert_eq!(run(&["test \"$TOPK_SPAWNED\" = 1"], LONG), None);
}
