//! C++ programs that tests compile.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Requirement, skip};

/// A C++17 compiler, with flags.
#[derive(Clone, Debug, Hash)]
pub struct Cpp {
    compiler: OsString,
    flags: Vec<String>,
}

/// Errors that these find end the program.
const SANITIZERS: [&str; 3] = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
];

impl Cpp {
    /// The compiler named by the environment variable `CXX`, or `c++`, with the address and
    /// undefined-behaviour sanitizers. `None`, after a call of [`skip()`], if it cannot build programs with them.
    pub fn with_sanitizers() -> Option<Self> {
        Self::with_flags(&SANITIZERS).or_else(|| {
            skip(
                Requirement::Cpp,
                "no C++ compiler with the address and undefined-behaviour sanitizers was found: install g++ or \
                 clang with its runtime libraries, or set CXX",
            );
            None
        })
    }

    /// The same without sanitizers.
    pub fn plain() -> Option<Self> {
        Self::with_flags(&[]).or_else(|| {
            skip(
                Requirement::Cpp,
                "no C++ compiler was found: install g++ or clang, or set CXX",
            );
            None
        })
    }

    /// Whether this machine has what [`Cpp::with_sanitizers`] needs.
    pub fn is_available() -> bool {
        Self::with_flags(&SANITIZERS).is_some()
    }

    /// `None` if a small program does not compile and link with these flags.
    fn with_flags(flags: &[&str]) -> Option<Self> {
        let cpp = Self {
            compiler: env::var_os("CXX").unwrap_or_else(|| "c++".into()),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        };
        let folder = tempfile::tempdir().ok()?;
        let source = folder.path().join("empty.cpp");
        std::fs::write(&source, "int main() {}\n").ok()?;
        let output = cpp
            .command()
            .arg(&source)
            .arg("-o")
            .arg(folder.path().join("empty"))
            .output()
            .ok()?;
        output.status.success().then_some(cpp)
    }

    /// Adds a flag for compiling and linking.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.compiler);
        command.arg("-std=c++17").args(&self.flags);
        command
    }

    /// Compiles files, all at the same time, and links them into a program, or into a shared library with the flag
    /// `-shared`.
    ///
    /// # Panics
    ///
    /// If a file does not compile, or linking fails, with the compiler's messages.
    pub fn build(&self, sources: &[PathBuf], to: &Path) {
        let folder =
            tempfile::tempdir().expect("the system's folder for temporary files is writable");
        let object = |source: &Path| {
            let name = source.file_stem().expect("sources are files");
            folder.path().join(name).with_extension("o")
        };
        let started: Vec<Child> = sources
            .iter()
            .map(|source| {
                let mut command = self.command();
                command
                    // Which warnings there are changes from compiler to compiler.
                    .args(["-w", "-c"])
                    .arg(source)
                    .arg("-o")
                    .arg(object(source))
                    .stderr(Stdio::piped());
                command
                    .spawn()
                    .expect("the compiler has been started before")
            })
            .collect();
        for (child, source) in started.into_iter().zip(sources) {
            let output = child.wait_with_output().expect("the compiler ends");
            assert!(
                output.status.success(),
                "{} does not compile:\n{}",
                source.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        crate::run(
            self.command()
                .args(sources.iter().map(|source| object(source)))
                .args(["-ldl", "-pthread", "-o"])
                .arg(to),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles and starts a program that reads past the end of an array, and returns its messages.
    fn overrun(cpp: &Cpp) -> String {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("overrun.cpp");
        let text =
            "int main(int count, char **) { int *a = new int[2]; return a[count + 1] == 7; }\n";
        std::fs::write(&source, text).unwrap();
        let program = folder.path().join("overrun");
        cpp.clone().flag("-O0").build(&[source], &program);
        let output = Command::new(program).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[test]
    fn sanitizers_see_an_overrun() {
        if let Some(cpp) = Cpp::with_sanitizers() {
            let messages = overrun(&cpp);
            assert!(messages.contains("heap-buffer-overflow"), "{messages}");
        }
    }

    #[test]
    #[should_panic(expected = "wrong.cpp does not compile")]
    fn errors_of_the_compiler_are_shown() {
        let Some(cpp) = Cpp::plain() else {
            panic!("wrong.cpp does not compile without a compiler either");
        };
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("wrong.cpp");
        std::fs::write(&source, "int main() { return wrong; }\n").unwrap();
        cpp.build(&[source], &folder.path().join("wrong"));
    }
}
