//! Runs that are interrupted by a signal.

use std::process::{Child, Output};

/// Sends a signal to a run, and waits for it. Fails unless the run saves its state and ends as interrupted.
pub fn interrupt(child: Child, signal: i32) {
    // SAFETY: it is a child of this process that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let printed = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(130), "{printed}");
    assert!(
        printed.contains("Run the same command to resume"),
        "{printed}"
    );
}
