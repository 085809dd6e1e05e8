//! `cargo xtask dist`: builds the programs and packs them into a release archive.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use topk_testing::root;

use crate::native::{self, Libraries};
use crate::{cargo, licenses};

/// The programs, and the packages that they are built from.
const PROGRAMS: [(&str, &str); 4] = [
    ("topk-train", "topk-train"),
    ("topk-eval", "topk-eval"),
    ("topk-export", "topk-export"),
    ("topk-perf", "topk-perf"),
];

/// The package of the operator library for ONNX Runtime, and its file.
const OPERATORS: (&str, &str) = ("topk-ops-ort", "libtopk_ops_ort.so");

/// Files from the root of the repository.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

const INSTALL: &str = "\
# Installing this archive

Copy `bin`, `lib` and `share` to a prefix of your choice, such as `~/.local` or `/usr/local`.

- `topk-eval` loads ONNX Runtime {onnxruntime}, or a newer version, at run time. The Python package
  `onnxruntime` contains it, and a program in the `bin` folder of the same Python environment finds it:
  `pip install onnxruntime=={onnxruntime}`. Otherwise put `libonnxruntime.so` next to the program, or set
  `ORT_DYLIB_PATH` to the file, such as `onnxruntime/capi/libonnxruntime.so.{onnxruntime}` in
  `site-packages`.
- `topk-train` and `topk-export` also need libtorch {libtorch}: set `LD_LIBRARY_PATH` to its `lib`
  folder. The Python package `torch` contains it: `pip install torch=={libtorch}`, then `torch/lib` in
  `site-packages`.
- `topk-perf` needs neither.
- `lib/libtopk_ops_ort.so` has the losses as operators for ONNX Runtime.

`THIRD-PARTY-LICENSES.txt` has the licenses of all crates in the programs and the library.
";

pub(crate) fn run(profile: &str) -> Result<()> {
    native::set_up(Libraries::CPU)?;
    let mut build = cargo::cargo();
    build.args(["build", "--locked", "--profile", profile]);
    for package in packages() {
        build.args(["--package", package]);
    }
    cargo::run(&mut build)?;

    let target = cargo::target_dir()?;
    let built = target.join(profile_folder(profile));
    let name = format!("topk-{}-{}", env!("CARGO_PKG_VERSION"), cargo::host()?);
    let dist = target.join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }

    for (program, _) in PROGRAMS {
        let path = built.join(program);
        copy(&path, &folder.join("bin").join(program))?;
        generate(&path, &folder.join("share"))?;
    }
    copy(
        &built.join(OPERATORS.1),
        &folder.join("lib").join(OPERATORS.1),
    )?;
    for file in DOCUMENTS {
        copy(&root().join(file), &folder.join(file))?;
    }
    let (license, file) = licenses::WORDNET;
    copy(&root().join(file), &folder.join(license))?;
    write(&folder.join("INSTALL.md"), &install())?;
    let crates = licenses::linked_into(&packages(), &[])?;
    write(
        &folder.join(licenses::FILE),
        &licenses::document(&crates, "The programs and the library in this archive")?,
    )?;

    let archive = dist.join(format!("{name}.tar.gz"));
    pack(&folder, &name, &archive)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    let (hash, bytes) = topk_files::sha256(&archive)
        .with_context(|| format!("cannot read {}", archive.display()))?;
    // The format of `sha256sum --check`.
    let checksum = dist.join(format!("{name}.tar.gz.sha256"));
    write(&checksum, &format!("{hash}  {name}.tar.gz\n"))?;
    println!("{} ({:.1} MB)", archive.display(), bytes as f64 / 1e6);
    println!("{}", checksum.display());
    if let Some(line) = native::without_nccl() {
        println!("{line}");
    }
    Ok(())
}

fn packages() -> Vec<&'static str> {
    let programs = PROGRAMS.iter().map(|(_, package)| *package);
    programs.chain([OPERATORS.0]).collect()
}

/// The folder in cargo's target folder for a profile.
pub(crate) fn profile_folder(profile: &str) -> &str {
    match profile {
        "dev" => "debug",
        profile => profile,
    }
}

/// Lets a program write its man pages and completions, and moves them to where shells and `man` look.
pub(crate) fn generate(program: &Path, share: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    cargo::run(Command::new(program).arg("--generate").arg(folder.path()))?;
    for entry in fs::read_dir(&folder)? {
        let file = entry?.path();
        if let Some(path) = install_path(&file) {
            copy(&file, &share.join(path))?;
        }
    }
    Ok(())
}

/// The path below `share` of a generated file; `None` for shells without a standard folder.
fn install_path(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let stem = file.file_stem()?.to_str()?;
    Some(
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("1") => format!("man/man1/{name}").into(),
            Some("bash") => format!("bash-completion/completions/{stem}").into(),
            Some("fish") => format!("fish/vendor_completions.d/{name}").into(),
            Some("elv") => format!("elvish/lib/{name}").into(),
            None => format!("zsh/site-functions/{name}").into(),
            _ => return None,
        },
    )
}

fn install() -> String {
    INSTALL
        .replace("{onnxruntime}", topk_native::onnxruntime::VERSION)
        .replace("{libtorch}", topk_native::torch::VERSION)
}

/// Writes the files of a folder to an archive, sorted and without times and owners, so that the same
/// files give the same archive.
fn pack(folder: &Path, name: &str, archive: &Path) -> Result<()> {
    let file = File::create(archive)?;
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::best()));
    tar.mode(tar::HeaderMode::Deterministic);
    for file in files(folder)? {
        let path = Path::new(name).join(file.strip_prefix(folder)?);
        tar.append_path_with_name(&file, path)?;
    }
    tar.into_inner()?.finish()?.flush()?;
    Ok(())
}

/// All files in a folder and the folders in it, sorted.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    Ok(files)
}

/// Adds all files in a folder and the folders in it.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Copies a file; makes the folder that it is copied to.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    create_parent(to)?;
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Copies the Python files of a folder.
pub(crate) fn copy_python(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot read {}", from.display()))?
            .path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() && !path.ends_with("__pycache__") {
            copy_python(&path, &target)?;
        } else if path.extension() == Some(OsStr::new("py")) {
            copy(&path, &target)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    create_parent(path)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().expect("a file has a parent");
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_go_to_standard_folders() {
        for (file, expected) in [
            ("topk-eval.1", Some("man/man1/topk-eval.1")),
            ("topk-eval-compare.1", Some("man/man1/topk-eval-compare.1")),
            (
                "topk-eval.bash",
                Some("bash-completion/completions/topk-eval"),
            ),
            ("_topk-eval", Some("zsh/site-functions/_topk-eval")),
            (
                "topk-eval.fish",
                Some("fish/vendor_completions.d/topk-eval.fish"),
            ),
            ("_topk-eval.ps1", None),
        ] {
            assert_eq!(
                install_path(Path::new(file)),
                expected.map(PathBuf::from),
                "{file}"
            );
        }
    }

    #[test]
    fn an_archive_depends_only_on_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let pack_copy = |copy: &str| {
            let root = folder.path().join(copy);
            for file in ["bin/a", "b"] {
                write(&root.join(file), file).unwrap();
            }
            let archive = folder.path().join(format!("{copy}.tar.gz"));
            pack(&root, "name", &archive).unwrap();
            fs::read(archive).unwrap()
        };
        let archive = pack_copy("one");
        assert_eq!(archive, pack_copy("two"));

        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive.as_slice()));
        let paths: Vec<PathBuf> = tar
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().into_owned())
            .collect();
        assert_eq!(paths, ["name/b", "name/bin/a"].map(PathBuf::from));
    }
}
