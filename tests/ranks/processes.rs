//! Processes of a run, started as launchers do, and killed when a test ends.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use topk_testing::{Environment, free_port, python};

use crate::sample;

/// Long enough for any run of these tests on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(150);

/// A folder with a part of the CIFAR-100 sample, for runs that are trained on it.
pub struct Case {
    folder: TempDir,
    flags: Vec<String>,
}

impl Case {
    /// With these flags for all runs.
    pub fn new(train: usize, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        sample::write(folder.path(), train, 20);
        Self {
            folder,
            flags: flags.iter().map(ToString::to_string).collect(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A run in the folder `out`; one thread per process.
    pub fn command(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topk-train"));
        command.arg("--workers=1").args(&self.flags);
        command.arg("--data").arg(self.folder.path());
        command.arg("--out").arg(self.path(out));
        command.args(flags);
        command
    }

    /// Trains with one process, or as started by this command.
    pub fn finish(&self, command: Command) {
        let [end] = &Processes::start(vec![command]).wait(LIMIT)[..] else {
            unreachable!("one process was started")
        };
        assert!(end.status.success(), "{end:?}");
    }

    /// Trains with this number of ranks, told by environment variables.
    pub fn finish_ranks(&self, out: &str, ranks: usize, flags: &[&str]) {
        let commands = (0..ranks).map(|_| self.command(out, flags)).collect();
        for end in Processes::ranks(commands, free_port()).wait(LIMIT) {
            assert!(end.status.success(), "{end:?}");
        }
    }

    /// The lines of the log with this kind of event.
    pub fn events(&self, out: &str, kind: &str) -> Vec<serde_json::Value> {
        let log = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        let events = log.lines().map(|line| serde_json::from_str(line).unwrap());
        events
            .filter(|event: &serde_json::Value| event["event"] == kind)
            .collect()
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct End {
    pub status: ExitStatus,
    pub printed: String,
    pub errors: String,
}

/// Processes that are killed when this is dropped.
#[derive(Debug)]
pub struct Processes {
    processes: Vec<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    printed: Option<JoinHandle<String>>,
    errors: Option<JoinHandle<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Processes {
    pub fn start(commands: Vec<Command>) -> Self {
        let start = |mut command: Command| {
            command.stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let printed = child.stdout.take().map(read);
            let errors = child.stderr.take().map(read);
            Process {
                child,
                printed,
                errors,
            }
        };
        Self {
            processes: commands.into_iter().map(start).collect(),
        }
    }

    /// One rank for each command, with the variables that a launcher must set.
    pub fn ranks(commands: Vec<Command>, port: u16) -> Self {
        let world_size = commands.len();
        let commands = commands.into_iter().enumerate();
        let commands = commands.map(|(rank, mut command)| {
            set_variables(&mut command, rank, world_size, port);
            command
        });
        Self::start(commands.collect())
    }

    /// Sends a signal to a process.
    pub fn signal(&self, index: usize, signal: i32) {
        send(self.processes[index].child.id() as i32, signal);
    }

    /// Waits until a file exists; fails if a process ends before.
    pub fn wait_for(&mut self, file: &Path) {
        while !file.exists() {
            if let Some(status) = self.processes[0].child.try_wait().unwrap() {
                panic!("it ended with {status} before {} existed", file.display());
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Whether the first process is running.
    pub fn are_running(&mut self) -> bool {
        self.processes[0].child.try_wait().unwrap().is_none()
    }

    /// Waits until all have ended.
    pub fn wait(mut self, limit: Duration) -> Vec<End> {
        let start = Instant::now();
        let mut statuses = vec![None; self.processes.len()];
        while statuses.contains(&None) {
            for (status, process) in statuses.iter_mut().zip(&mut self.processes) {
                if status.is_none() {
                    *status = process.child.try_wait().unwrap();
                }
            }
            if start.elapsed() > limit {
                for process in &mut self.processes {
                    let _ = process.child.kill();
                }
                panic!("after {limit:?}: {:?}", self.ends());
            }
            sleep(Duration::from_millis(5));
        }
        self.ends()
    }

    /// Kills a process that does not end by itself, and waits for the others.
    pub fn wait_without(mut self, index: usize, limit: Duration) -> Vec<End> {
        let hung = self.processes.remove(index);
        let ends = self.wait(limit);
        drop(hung);
        ends
    }

    fn ends(&mut self) -> Vec<End> {
        let processes = self.processes.iter_mut();
        let text = |text: &mut Option<JoinHandle<String>>| text.take().unwrap().join().unwrap();
        let ends = processes.map(|process| End {
            status: process.child.wait().unwrap(),
            printed: text(&mut process.printed),
            errors: text(&mut process.errors),
        });
        ends.collect()
    }
}

/// Sets the variables of a rank.
pub fn set_variables(command: &mut Command, rank: usize, world_size: usize, port: u16) {
    command
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", world_size.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string());
}

/// Sends a signal to a process that has not been waited for.
pub fn send(process: i32, signal: i32) {
    // SAFETY: `kill` has no preconditions.
    let sent = unsafe { libc::kill(process, signal) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

fn read(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// `torchrun` of the tests' PyTorch, which starts this program as two ranks; `None`, after the test was skipped, if
/// PyTorch is not installed.
pub fn torchrun(flags: &[&str], program: &Command) -> Option<Command> {
    let mut command = python(Environment::PyTorch)?;
    command.args(["-m", "torch.distributed.run", "--standalone", "--no-python"]);
    command.args(["--nproc-per-node=2"]).args(flags);
    command.arg(program.get_program()).args(program.get_args());
    Some(command)
}
