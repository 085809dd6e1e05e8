use std::{env, fs};

/// Model name of the processor, or `unknown`.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// The mean number of processes that ran or waited for a CPU during the last minute; `None` on systems other than Linux.
pub fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Operating system and architecture, such as `linux x86_64`.
pub fn platform() -> String {
    format!("{} {}", env::consts::OS, env::consts::ARCH)
}
