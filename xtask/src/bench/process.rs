//! Programs as they are timed: from start to end, with their largest resident set.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A program that has ended successfully.
pub(super) struct Finished {
    pub(super) seconds: f64,
    /// Until the first byte of output.
    pub(super) first_output: f64,
    /// Largest resident set.
    pub(super) mib: f64,
    /// Standard output and standard error.
    pub(super) output: String,
}

/// Runs a program.
pub(super) fn timed(command: &mut Command) -> Result<Finished> {
    let program = command.get_program().to_string_lossy().into_owned();
    let (mut from, to) = io::pipe().context("cannot create a pipe")?;
    let also = to.try_clone().context("cannot create a pipe")?;
    let start = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(to)
        .stderr(also)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    // The command keeps the pipe open, which ends when nobody can write to it.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let read = read(&mut from, start);
    let (status, mib) = wait(&child).with_context(|| format!("cannot wait for {program}"))?;
    let seconds = start.elapsed().as_secs_f64();
    let (output, first_output) = read.with_context(|| format!("cannot read from {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status}):\n{}", output.trim_end());
    }
    Ok(Finished {
        seconds,
        first_output: first_output.as_secs_f64(),
        mib,
        output,
    })
}

/// All output, and when its first byte came.
fn read(from: &mut impl Read, start: Instant) -> io::Result<(String, Duration)> {
    let mut bytes = vec![0; 1];
    let length = from.read(&mut bytes)?;
    let first = start.elapsed();
    bytes.truncate(length);
    from.read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), first))
}

/// Waits for the end; returns the largest resident set in MiB too, which the standard library does not tell.
fn wait(child: &Child) -> io::Result<(ExitStatus, f64)> {
    let pid = child.id().cast_signed();
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: both pointers are valid for writes, and the process is a child that nothing else waits for.
    let found = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    if found != pid {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so that it has written `usage`.
    let usage = unsafe { usage.assume_init() };
    // Kibibytes; bytes on macOS.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let bytes = usage.ru_maxrss as f64 * f64::from(unit);
    Ok((ExitStatus::from_raw(status), bytes / f64::from(1 << 20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_memory_and_output_are_those_of_the_program() {
        let script = "echo one; sleep 0.05; echo two";
        let finished = timed(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(finished.output, "one\ntwo\n");
        assert!(finished.seconds >= 0.05 && finished.first_output < finished.seconds);
        assert!(finished.mib > 0.0);
    }

    #[test]
    fn a_failure_shows_what_the_program_said() {
        let script = "echo the reason >&2; exit 3";
        let error = timed(Command::new("sh").args(["-c", script]));
        let error = error.err().unwrap().to_string();
        assert_eq!(error, "sh failed (exit status: 3):\nthe reason");
    }
}
