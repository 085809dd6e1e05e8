//! Skipped tests: what a test may need besides this repository, and how it reports what is missing.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// What a test may need besides this repository and its build dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The folder `../shared` beside the repository, with images, trained weights and exact values
    /// of the losses that are too large to be part of it, or not ours to distribute.
    Shared,
    /// An NVIDIA GPU, and libraries built for it.
    Gpu,
    /// Python, and packages that `cargo xtask test` installs.
    Python,
    /// Chromium, and packages that `cargo xtask test` installs with npm.
    Browser,
    /// A C++ compiler with the address and undefined-behaviour sanitizers.
    Cpp,
    /// User namespaces, in which a user without privileges can mount file systems.
    UserNamespaces,
}

impl Requirement {
    /// All requirements.
    pub const ALL: [Self; 6] = [
        Self::Shared,
        Self::Gpu,
        Self::Python,
        Self::Browser,
        Self::Cpp,
        Self::UserNamespaces,
    ];

    /// The name used in the log of skipped tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Gpu => "gpu",
            Self::Python => "python",
            Self::Browser => "browser",
            Self::Cpp => "cpp",
            Self::UserNamespaces => "user-namespaces",
        }
    }
}

/// The environment variable with the path of the file that [`skip()`] appends to.
pub const SKIP_LOG: &str = "TOPK_SKIP_LOG";

/// Reports that the current test, or a part of it, is skipped.
///
/// The test should return, or continue with its next part. It prints `SKIPPED test: why` to standard
/// error, and appends a [`Skip`] to the file named by [`SKIP_LOG`]. `cargo xtask test` counts a test
/// that calls this at least once as skipped, even if other parts of it ran: a test counts as passed
/// only if all of it passed.
///
/// # Panics
///
/// If the file named by [`SKIP_LOG`] cannot be written.
pub fn skip(requirement: Requirement, why: &str) {
    let skip = Skip {
        binary: env::current_exe().unwrap_or_default(),
        // The test harness names each test's thread after the test.
        test: thread::current().name().unwrap_or("?").to_owned(),
        requirement,
        why: why.to_owned(),
    };
    // Not `eprintln!`, which the test harness captures.
    let _ = writeln!(io::stderr(), "SKIPPED {}: {why}", skip.test);
    if let Some(log) = env::var_os(SKIP_LOG) {
        let written = skip.append(Path::new(&log));
        written.unwrap_or_else(|error| panic!("cannot write {}: {error}", log.display()));
    }
}

/// A line of the log of skipped tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The test binary.
    pub binary: PathBuf,
    /// The name of the test, with its module path.
    pub test: String,
    /// What is missing.
    pub requirement: Requirement,
    /// The reason in words.
    pub why: String,
}

impl Skip {
    fn append(&self, log: &Path) -> io::Result<()> {
        let line = format!(
            "{}\t{}\t{}\t{}\n",
            self.binary.display(),
            self.test,
            self.requirement.name(),
            self.why
        );
        let mut file = OpenOptions::new().create(true).append(true).open(log)?;
        // One call, so that lines of tests that run at the same time do not mix.
        file.write_all(line.as_bytes())
    }

    /// Parses a line of the log; `None` if it is malformed.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(4, '\t');
        let binary = fields.next()?.into();
        let test = fields.next()?.to_owned();
        let name = fields.next()?;
        let requirement = Requirement::ALL.into_iter().find(|r| r.name() == name)?;
        let why = fields.next()?.to_owned();
        Some(Self {
            binary,
            test,
            requirement,
            why,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_skip_can_be_read_back_from_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let skips = Requirement::ALL.map(|requirement| Skip {
            binary: "target/debug/deps/a-123".into(),
            test: "module::test".to_owned(),
            requirement,
            why: format!("{requirement:?} is missing"),
        });
        for skip in &skips {
            skip.append(&log).unwrap();
        }
        let text = fs::read_to_string(&log).unwrap();
        let read: Vec<_> = text
            .lines()
            .map(|line| Skip::parse(line).unwrap())
            .collect();
        assert_eq!(read, skips);
        assert_eq!(Skip::parse("SKIPPED test: why"), None);
    }

    #[test]
    fn the_thread_of_a_test_has_its_name() {
        let name = "skip::tests::the_thread_of_a_test_has_its_name";
        assert_eq!(thread::current().name(), Some(name));
    }
}
