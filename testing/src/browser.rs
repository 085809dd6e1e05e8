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
use crate::{native, skip};

/// A package of npm.
#[derive(Debug)]
pub struct WebPackage {
    /// Its name on the registry.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// ONNX Runtime for browsers.
pub const ONNXRUNTIME_WEB: WebPackage = WebPackage {
    name: "onnxruntime-web",
    version: "1.30.0",
};

impl WebPackage {
    /// The folder that npm installs into.
    pub fn folder(&self) -> PathBuf {
        native()
            .join("web")
            .join(format!("{}-{}", self.name, self.version))
    }

    /// Whether the package is there.
    ///
    /// The folder gets its name when all is in it.
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

/// How long a page may take.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Opens a page of a site in headless Chromium, with `onnxruntime-web` under `/ort/`, and returns
/// what the page, a file whose name ends in `.html`, posts to `/result`. `None`, after saying that `test` is skipped, where there is
/// no Chromium or no `onnxruntime-web`.
///
/// # Panics
///
/// If the page posts to `/error`, with the text, or nothing within a minute, with what the browser
/// wrote to its console.
pub fn browse(test: &str, site: &Site, page: &str) -> Option<String> {
    if !ONNXRUNTIME_WEB.is_installed() {
        skip(
            test,
            "no onnxruntime-web: `cargo xtask test` fetches it where there is npm",
        );
        return None;
    }
    let site = site.clone().folder("/ort/", ONNXRUNTIME_WEB.dist());
    browse_alone(test, site, page)
}

/// [`browse`] without `onnxruntime-web`, which then need not be there.
pub fn browse_alone(test: &str, site: Site, page: &str) -> Option<String> {
    let Some(program) = CHROMIUM.iter().find_map(|name| on_path(name)) else {
        skip(test, &format!("none of {} found", CHROMIUM.join(", ")));
        return None;
    };
    let result = open(&program, site, page, TIME_LIMIT);
    Some(result.unwrap_or_else(|message| panic!("{message}")))
}

/// The names that Chromium has.
const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

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
            "before the browser ended".to_owned()
        } else if Instant::now() > end {
            format!("within {} s", limit.as_secs())
        } else {
            continue;
        };
        let log = chromium.log();
        return Err(format!("the page {page} posted nothing {when}:\n{log}"));
    }
}

/// A running Chromium; it ends when dropped, and leaves nothing.
struct Chromium {
    process: Child,
    /// Its home and its folder for temporary files, with its profile and log.
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
            // Else a service of the desktop is asked for a password.
            .arg("--password-store=basic")
            // What scripts write to the console.
            .arg("--enable-logging=stderr")
            .arg(format!("--user-data-dir={}", profile.display()));
        if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
            // Chromium does not start as root with its sandbox.
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
        // Chromium's other processes end when they miss the first, and may write files until then.
        wait_until(Duration::from_secs(10), || processes_naming(home) == 0);
    }
}

/// How many processes have a path among their arguments, as all of Chromium's have its home.
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

/// Whether a condition comes true within a time.
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
    fn the_result_of_a_page_comes_back() {
        let script = "
            const text = await (await fetch('data.json')).json();
            fetch('/result', { method: 'POST', body: text + crossOriginIsolated });
        ";
        let site = site(script).file("/data.json", "\"isolated: \"");
        if let Some(result) = browse_alone("the_result_of_a_page_comes_back", site, "/index.html") {
            assert_eq!(result, "isolated: true");
        }
    }

    #[test]
    fn a_page_that_fails_says_why() {
        let Some(program) = CHROMIUM.iter().find_map(|name| on_path(name)) else {
            return skip("a_page_that_fails_says_why", "no Chromium found");
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
    fn chromium_leaves_neither_files_nor_processes() {
        let Some(program) = CHROMIUM.iter().find_map(|name| on_path(name)) else {
            return skip(
                "chromium_leaves_neither_files_nor_processes",
                "no Chromium found",
            );
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
    fn a_page_has_onnxruntime_web() {
        let script = "
            import * as ort from '/ort/ort.wasm.min.mjs';
            fetch('/result', { method: 'POST', body: ort.env.versions.web });
        ";
        let version = browse("a_page_has_onnxruntime_web", &site(script), "/index.html");
        assert!(version.is_none_or(|version| version == ONNXRUNTIME_WEB.version));
    }
}
