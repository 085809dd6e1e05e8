use std::env;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use thiserror::Error;

use super::SPAWNED;

/// Ranks on this machine that cannot be started or awaited.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// All ports are taken.
    #[error("cannot find a free port of this machine for the ranks: {0}")]
    Port(io::Error),
    /// A process cannot be started.
    #[error("cannot start rank {rank}: {error}")]
    Start {
        /// The rank.
        rank: usize,
        /// The cause.
        error: io::Error,
    },
    /// Signals cannot be handled.
    #[error("cannot pass on signals to the ranks: {0}")]
    Signals(io::Error),
    /// A process cannot be awaited.
    #[error("cannot wait for rank {rank}: {error}")]
    Wait {
        /// The rank.
        rank: usize,
        /// The cause.
        error: io::Error,
    },
}

/// The rank that failed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankFailure {
    /// The rank.
    pub rank: usize,
    /// How it ended.
    pub status: ExitStatus,
    /// Whether a signal, such as that of Ctrl-C, had been passed on to the ranks before.
    pub interrupted: bool,
}

impl RankFailure {
    /// The exit status for the program that started the ranks: that of the rank, and as in shells 128 + the number of
    /// the signal that ended it.
    pub fn exit_code(&self) -> u8 {
        let code = self.status.code();
        let code = code.or_else(|| self.status.signal().map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

impl fmt::Display for RankFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} ended with {}", self.rank, self.status)
    }
}

/// The program and arguments of this process.
///
/// # Errors
/// If the program's file is unknown.
pub fn this_program() -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1));
    Ok(command)
}

/// Processes on this machine that form a run, one for each rank.
#[derive(Debug)]
pub struct LocalRanks {
    ranks: Vec<Rank>,
    events: Receiver<Event>,
    signals: Handle,
    /// How long ranks may take to end after a signal.
    grace: Duration,
    interrupted: bool,
}

#[derive(Debug)]
struct Rank {
    child: Child,
    ended: bool,
}

enum Event {
    Ended(usize),
    Signal(i32),
}

impl LocalRanks {
    /// Starts a process for each rank, with the command for it and the variables of [`Launch`](super::Launch).
    ///
    /// From now on SIGINT, SIGTERM and SIGHUP are passed on to the ranks and no longer end this process, not even after
    /// the ranks. Each rank has a process group of its own, so that Ctrl-C in a terminal reaches it once. On Linux, ranks
    /// are killed when the thread that called this ends before them.
    ///
    /// When one fails, the others get SIGTERM, and SIGKILL if they have not ended `grace` later.
    ///
    /// # Errors
    /// If a process cannot be started; then those before it are killed.
    pub fn start(
        ranks: usize,
        grace: Duration,
        mut command: impl FnMut(usize) -> Command,
    ) -> Result<Self, SpawnError> {
        let port = free_port().map_err(SpawnError::Port)?;
        let (sender, events) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(SpawnError::Signals)?;
        let handle = signals.handle();
        let mut started = Self {
            ranks: Vec::with_capacity(ranks),
            events,
            signals: handle,
            grace,
            interrupted: false,
        };
        let of_signals = sender.clone();
        thread::spawn(move || {
            for signal in signals.forever() {
                if of_signals.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        });
        for rank in 0..ranks {
            let mut command = command(rank);
            set_variables(&mut command, rank, ranks, port);
            command.stdin(Stdio::null()).process_group(0);
            end_with_parent(&mut command);
            let child = command
                .spawn()
                .map_err(|error| SpawnError::Start { rank, error })?;
            report_end(rank, &child, sender.clone());
            started.ranks.push(Rank {
                child,
                ended: false,
            });
        }
        Ok(started)
    }

    /// The process numbers, in the order of the ranks.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.ranks.iter().map(|rank| rank.child.id())
    }

    /// Waits until all ranks have ended; returns the first one that failed.
    ///
    /// # Errors
    /// If a process cannot be awaited.
    pub fn wait(mut self) -> Result<Option<RankFailure>, SpawnError> {
        let mut failure = None;
        let mut deadline = None;
        while self.ranks.iter().any(|rank| !rank.ended) {
            match self.next_event(deadline) {
                Some(Event::Ended(rank)) => {
                    let status = self.reap(rank)?;
                    if !status.success() && failure.is_none() {
                        failure = Some(RankFailure {
                            rank,
                            status,
                            interrupted: self.interrupted,
                        });
                        // A second signal would end them before they have saved.
                        if !self.interrupted {
                            self.send(Signal::TERM);
                        }
                        deadline = Some(Instant::now() + self.grace);
                    }
                }
                Some(Event::Signal(signal)) => {
                    self.interrupted = true;
                    if let Some(signal) = Signal::from_named_raw(signal) {
                        self.send(signal);
                    }
                }
                None => {
                    self.send(Signal::KILL);
                    deadline = None;
                }
            }
        }
        Ok(failure)
    }

    /// `None` at the deadline.
    fn next_event(&self, deadline: Option<Instant>) -> Option<Event> {
        let received = match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.events.recv_timeout(left)
            }
            None => self.events.recv().map_err(RecvTimeoutError::from),
        };
        // The thread of the signals keeps the channel open.
        received.ok()
    }

    fn reap(&mut self, rank: usize) -> Result<ExitStatus, SpawnError> {
        let one = &mut self.ranks[rank];
        one.ended = true;
        one.child
            .wait()
            .map_err(|error| SpawnError::Wait { rank, error })
    }

    /// Sends a signal to the ranks that have not ended. They are not reaped, so their numbers are still theirs.
    fn send(&self, signal: Signal) {
        for rank in self.ranks.iter().filter(|rank| !rank.ended) {
            let _ = kill_process(Pid::from_child(&rank.child), signal);
        }
    }
}

impl Drop for LocalRanks {
    fn drop(&mut self) {
        self.send(Signal::KILL);
        for rank in self.ranks.iter_mut().filter(|rank| !rank.ended) {
            let _ = rank.child.wait();
        }
        self.signals.close();
    }
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn set_variables(command: &mut Command, rank: usize, ranks: usize, port: u16) {
    command
        .env("RANK", rank.to_string())
        .env("LOCAL_RANK", rank.to_string())
        .env("WORLD_SIZE", ranks.to_string())
        .env("LOCAL_WORLD_SIZE", ranks.to_string())
        .env("MASTER_ADDR", Ipv4Addr::LOCALHOST.to_string())
        .env("MASTER_PORT", port.to_string())
        .env(SPAWNED, "1");
    // Those of an outer torchrun describe other processes.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("TORCHELASTIC_"))
        {
            command.env_remove(name);
        }
    }
}

/// Sends an event when a child ends, which stays a zombie until [`LocalRanks::reap`].
fn report_end(rank: usize, child: &Child, sender: Sender<Event>) {
    let id = Pid::from_child(child);
    thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(id), options), Err(Errno::INTR)) {}
        let _ = sender.send(Event::Ended(rank));
    });
}

/// Has the kernel kill a child when this process ends, however it does.
#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut Command) {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};

    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before.
        match getppid() == Some(parent) {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called; the closure makes system calls
    // and does not allocate.
    unsafe { command.pre_exec(prepare) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_: &mut Command) {}
