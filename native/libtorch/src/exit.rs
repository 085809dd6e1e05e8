use std::io::{self, Write};
use std::process::ExitCode;

/// Ends the process successfully, without the destructors of the static variables of native libraries: libtorch's take some
/// 70 ms. Standard output is written first. For the end of `main`; returns on systems other than Unix.
pub fn exit() -> ExitCode {
    // As at the end of any program, it is too late for an error.
    let _ = io::stdout().flush();
    #[cfg(unix)]
    // SAFETY: it does not return, and the system closes all files.
    unsafe {
        libc::_exit(0)
    }
    #[cfg(not(unix))]
    ExitCode::SUCCESS
}
