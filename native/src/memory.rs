//! Memory of this process and of GPUs.

use std::ffi::OsStr;
use std::{fs, io};

use crate::library;

/// Resident memory of this process in bytes; `None` on systems other than Linux.
pub fn resident() -> Option<u64> {
    of_status(&status()?, "VmRSS:")
}

/// The largest resident memory of this process in bytes, since it started or since [`restart_peak`]; `None` on systems
/// other than Linux.
pub fn peak_resident() -> Option<u64> {
    of_status(&status()?, "VmHWM:")
}

/// Makes the resident memory of this process its peak.
///
/// # Errors
/// If the system does not allow it.
pub fn restart_peak() -> io::Result<()> {
    // See clear_refs in proc_pid_clear_refs(5).
    fs::write("/proc/self/clear_refs", "5")
}

/// Makes the C library use the memory again that the process frees, except for blocks of at least 32 MiB. Otherwise it returns
/// much of it to the system, which clears each page before it provides it again. For programs that end soon. Only GNU's C
/// library has this setting.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The largest block that this setting can have.
        const LARGEST: libc::c_int = 32 << 20;
        // SAFETY: `mallopt` may be called at any time. A value that it refuses changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }
}

/// Bytes in use of the memory of the GPU with this index, by all processes; `None` if CUDA's runtime library or the GPU is
/// not available. The first call creates a CUDA context. Call it after ONNX Runtime has loaded its libraries.
pub fn gpu_memory_in_use(index: usize) -> Option<u64> {
    let memory = library::gpu_memory(OsStr::new("libcudart.so.13"), index);
    let (used, _) = memory.ok().flatten()?;
    Some(used as u64)
}

fn status() -> Option<String> {
    fs::read_to_string("/proc/self/status").ok()
}

/// The value in bytes of a line such as `VmRSS:     1024 kB`.
fn of_status(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_starts_anew() {
        const SIZE: usize = 64 << 20;
        // Written, so that the system has to provide it.
        let memory = vec![1_u8; SIZE];
        let with = resident().unwrap();
        assert!(peak_resident().unwrap() >= with && with > SIZE as u64 / 2);
        drop(std::hint::black_box(memory));
        restart_peak().unwrap();
        assert!(peak_resident().unwrap() < with - SIZE as u64 / 2);
    }

    #[test]
    fn fields_of_the_status_are_in_kib() {
        let status = "Name:\ttopk\nVmHWM:\t    2048 kB\n";
        assert_eq!(of_status(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(of_status(status, "VmRSS:"), None);
    }

    #[test]
    fn a_gpu_that_does_not_exist_has_no_memory() {
        assert_eq!(gpu_memory_in_use(usize::MAX), None);
    }
}
