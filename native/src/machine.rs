use std::{env, fs};

/// Model name of the processor, or `unknown`.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// Operating system and architecture, such as `linux x86_64`.
pub fn platform() -> String {
    format!("{} {}", env::consts::OS, env::consts::ARCH)
}
