//! A page in headless Chromium.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::server::{Server, Site};
use crate::{Requirement, native, skip};

/// An npm package.
#[derive(Debug)]
pub struct WebPackage {
    /// The name in the npm registry.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
}

/// ONNX Runtime for browsers.
pub const ONNXRUNTIME_WEB: WebPackage = WebPackage {
    name: "onnxruntime-web",
    version: "1.30.0",
};

impl WebPackage {
    /// The folder that npm installs it into.
    pub fn folder(&self) -> PathBuf {
        native()
            .join("web")
            .join(format!("{}-{}", self.name, self.version))
    }

    /// Whether the package is installed.
    ///
    /// The folder is renamed to its final name once the installation is complete.
    pub fn is_installed(&self) -> bool {
        self.folder().is_dir()
    }

    /// The files that a page imports.
    fn dist(&self) -> PathBuf {
        self.folder()
            .join("node_modules")
            .join(self.name)
            .join("dist")
    }
}

/// Time limit for a page.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Opens a page of a site in headless Chromium and returns what the page posts to `/result`.
///
/// `page` is the path of a file whose name ends in `.html`; `onnxruntime-web` is served under
/// `/ort/`. Returns `None`, after a call of [`skip()`], if Chromium or `onnxruntime-web` is not
/// installed.
///
/// # Panics
///
/// If the page posts to `/error`, with the text that it posts; or if it posts nothing within a minute,
/// with the browser's console log.
pub fn browse(site: &Site, page: &str) -> Option<String> {
    if !ONNXRUNTIME_WEB.is_installed() {
        skip(
            Requirement::Browser,
            "onnxruntime-web is not installed: run `cargo xtask test`, which installs it with npm",
        );
        return None;
    }
    let site = site.clone().folder("/ort/", ONNXRUNTIME_WEB.dist());
    browse_alone(site, page)
}

/// Like [`browse`], but without `onnxruntime-web`, which need not be installed.
pub fn browse_alone(site: Site, page: &str) -> Option<String> {
    let program = chromium_or_skip()?;
    let result = open(&program, site, page, TIME_LIMIT);
    Some(result.unwrap_or_else(|message| panic!("{message}")))
}

/// The names of Chromium's program.
const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The path of Chromium's program, or of Chrome's; `None` if none is installed.
pub fn chromium() -> Option<PathBuf> {
    CHROMIUM.iter().find_map(|name| on_path(name))
}

fn chromium_or_skip() -> Option<PathBuf> {
    let program = chromium();
    if program.is_none() {
        let names = CHROMIUM.join(", ");
        skip(
            Requirement::Browser,
            &format!("Chromium is not installed (none of {names} found)"),
        );
    }
    program
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn open(program: &Path, site: Site, page: &str, limit: Duration) -> Result<String, String> {
    let server = Server::start(site).map_err(|error| format!("cannot serve a page: {error}"))?;
    let mut chromium = Chromium::start(program, &server.url(page))
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let end = Instant::now() + limit;
    loop {
        let running = chromium.is_running();
        if let Some(outcome) = server.outcome(Duration::from_millis(200)) {
            return outcome.map_err(|error| format!("the page {page} failed: {error}"));
        }
        let when = if !running {
            "before the browser exited".to_owned()
        } else if Instant::now() > end {
            format!("within {} s", limit.as_secs())
        } else {
            continue;
        };
        let log = chromium.log();
        return Err(format!("the page {page} posted nothing {when}:\n{log}"));
    }
}

/// A running Chromium. Dropping it ends all its processes and removes its files.
struct Chromium {
    process: Child,
    /// Its home directory and folder for temporary files, with its profile and log.
    home: TempDir,
}

impl Chromium {
    fn start(program: &Path, url: &str) -> io::Result<Self> {
        let home = TempDir::new()?;
        let profile = home.path().join("profile");
        let log = File::create(home.path().join("log"))?;
        let mut command = Command::new(program);
        command
            .args(["--headless=new", "--disable-gpu", "--no-first-run"])
            .arg("--disable-background-networking")
            // Otherwise the desktop's password service asks for a password.
            .arg("--password-store=basic")
            // Include what scripts write to the console.
            .arg("--enable-logging=stderr")
            .arg(format!("--user-data-dir={}", profile.display()));
        if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
            // Chromium refuses to start its sandbox as root.
            command.arg("--no-sandbox");
        }
        let process = command
            .arg(url)
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self { process, home })
    }

    fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn log(&self) -> String {
        fs::read(self.home.path().join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let home = self.home.path();
        // Chromium's other processes end once they notice that the first one has ended, and may write
        // files until then.
        wait_until(Duration::from_secs(10), || processes_naming(home) == 0);
    }
}

/// The number of processes with `path` in their arguments. All of Chromium's processes have its home
/// directory there.
fn processes_naming(path: &Path) -> usize {
    let path = path.to_string_lossy();
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    processes
        .filter_map(|process| fs::read(process.ok()?.path().join("cmdline")).ok())
        .filter(|arguments| String::from_utf8_lossy(arguments).contains(&*path))
        .count()
}

/// Waits for a condition; returns whether it became true within the limit.
fn wait_until(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with a script.
    fn site(script: &str) -> Site {
        Site::new().file(
            "/index.html",
            format!("<!doctype html><script type=module>{script}</script>"),
        )
    }

    #[test]
    fn the_result_of_a_page_is_returned() {
        let script = "
            const text = await (await fetch('data.json')).json();
            fetch('/result', { method: 'POST', body: text + crossOriginIsolated });
        ";
        let site = site(script).file("/data.json", "\"isolated: \"");
        if let Some(result) = browse_alone(site, "/index.html") {
            assert_eq!(result, "isolated: true");
        }
    }

    #[test]
    fn the_error_of_a_page_is_reported() {
        let Some(program) = chromium_or_skip() else {
            return;
        };
        let open =
            |script: &str, limit| open(&program, site(script), "/index.html", limit).unwrap_err();
        let message = open(
            "fetch('/error', { method: 'POST', body: 'no good' });",
            TIME_LIMIT,
        );
        assert_eq!(message, "the page /index.html failed: no good");
        let message = open("throw new Error('no good');", Duration::from_secs(5));
        let (head, log) = message.split_once('\n').unwrap();
        assert_eq!(head, "the page /index.html posted nothing within 5 s:");
        assert!(log.contains("no good"), "{log}");
    }

    #[test]
    fn no_files_or_processes_of_chromium_remain() {
        let Some(program) = chromium_or_skip() else {
            return;
        };
        let chromium = Chromium::start(&program, "about:blank").unwrap();
        let home = chromium.home.path().to_owned();
        let started = || processes_naming(&home) >= 2 && home.join("profile").exists();
        assert!(wait_until(Duration::from_secs(20), started));
        drop(chromium);
        assert_eq!(processes_naming(&home), 0);
        assert!(!home.exists());
    }

    #[test]
    fn a_page_can_import_onnxruntime_web() {
        let script = "
            import * as ort from '/ort/ort.wasm.min.mjs';
            fetch('/result', { method: 'POST', body: ort.env.versions.web });
        ";
        let version = browse(&site(script), "/index.html");
        assert!(version.is_none_or(|version| version == ONNXRUNTIME_WEB.version));
    }
}
