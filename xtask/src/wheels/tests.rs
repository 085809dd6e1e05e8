use std::env;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use topk_testing::{Packages, Requirement, root, skip};

use super::check::{Environment, try_program};
use super::*;
use crate::wheels::programs::Installed;
use crate::{cargo, dist};

fn package(name: &str) -> &'static ProgramWheel {
    let package = PACKAGES.iter().find(|package| package.name == name);
    match package.map(|package| &package.contents) {
        Some(Contents::Programs(content)) => content,
        _ => panic!("{name} is not a package of programs"),
    }
}

/// A program that writes a man page, and prints its arguments and where it looks for libraries.
const PROGRAM: &str = r#"#!/bin/sh
if [ "$1" = --generate ]; then
    echo page > "$2/$(basename "$0").1"
    exit
fi
echo "$(basename "$0") $*"
echo "LD_LIBRARY_PATH=$LD_LIBRARY_PATH ORT_DYLIB_PATH=$ORT_DYLIB_PATH"
"#;

/// A folder with such programs.
fn fake_programs(programs: &Programs) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in programs.packages {
        let path = folder.path().join(program);
        fs::write(&path, PROGRAM).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// The wheel of a package with such programs, without a run path.
fn fake_wheel(name: &str, out: &Path) -> PathBuf {
    let content = package(name);
    let programs = content.programs;
    let folder = fake_programs(programs);
    let mut distribution = distribution(name, content);
    let set_run_path = |program: &Path, run_path: &str| {
        assert_eq!(run_path, "$ORIGIN/../torch/lib");
        // The original stays as it is.
        assert!(!program.starts_with(folder.path()));
        Ok(())
    };
    programs
        .add_to(&mut distribution, folder.path(), set_run_path)
        .unwrap();
    distribution.write(out, "linux_x86_64").unwrap()
}

/// The text of a file in a wheel.
fn text(wheel: &Path, path: &str) -> String {
    let file = fs::File::open(wheel).unwrap();
    let mut zip = zip::ZipArchive::new(file).unwrap();
    let member = zip.by_name(path).unwrap();
    std::io::read_to_string(member).unwrap()
}

#[test]
fn wheels_have_programs_manuals_licenses_and_requirements() {
    let out = tempfile::tempdir().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for (name, programs, requirement) in [
        (
            "topk-eval",
            "topk_eval-V.data/scripts/topk-export",
            "onnxruntime>=1.31",
        ),
        (
            "topk-eval-gpu",
            "topk_eval_gpu-V.data/scripts/topk-eval",
            "onnxruntime-gpu[cuda,cudnn]>=1.31",
        ),
        ("topk-train", "topk_train/topk-train", "torch==2.11.0"),
    ] {
        let wheel = fake_wheel(name, out.path());
        assert_eq!(archive::check(&wheel).unwrap().name, name);
        assert_eq!(text(&wheel, &programs.replace('V', version)), PROGRAM);
        let stem = format!("{}-{version}", name.replace('-', "_"));
        let metadata = text(&wheel, &format!("{stem}.dist-info/METADATA"));
        assert!(metadata.contains(&format!("\nRequires-Dist: {requirement}\n")));
        assert!(metadata.contains("\nLicense-File: THIRD-PARTY-LICENSES.txt\n"));
        let licenses = format!("{stem}.dist-info/licenses/THIRD-PARTY-LICENSES.txt");
        let licenses = text(&wheel, &licenses);
        assert!(licenses.contains("\nort 2."));
        assert_eq!(licenses.contains("\ntch "), name == "topk-train");
        let program = Path::new(programs).file_name().unwrap().to_str().unwrap();
        let page = format!("{stem}.data/data/share/man/man1/{program}.1");
        assert_eq!(text(&wheel, &page), "page\n");
    }
}

#[test]
fn wheels_are_bounded_in_size() {
    for package in &PACKAGES {
        assert!(check_size(package, package.limit, true).is_ok());
        let error = check_size(package, package.limit + 1, true).unwrap_err();
        assert!(error.to_string().contains(package.name), "{error}");
        assert!(check_size(package, package.limit + 1, false).is_ok());
    }
}

#[test]
fn unknown_packages_are_errors() {
    let names = |only: &[&str]| -> Result<Vec<&str>> {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        Ok(chosen(&only)?.iter().map(|package| package.name).collect())
    };
    assert!(names(&[]).unwrap().len() >= 4);
    assert_eq!(names(&["topk-train"]).unwrap(), ["topk-train"]);
    let error = names(&["topk-evil"]).unwrap_err().to_string();
    assert!(error.starts_with("the package topk-evil does not exist: expected topk-eval,"));
}

/// A new environment; `None`, after a call of `skip`, if Python is not installed.
fn environment() -> Option<Environment> {
    let starts = Command::new("python3").arg("--version").output().is_ok();
    if !starts {
        skip(Requirement::Python, "python3 cannot be started");
        return None;
    }
    Some(Environment::new().unwrap())
}

/// The folder with the packages of an environment.
fn packages(environment: &Environment) -> PathBuf {
    let lib = fs::read_dir(environment.path("venv/lib")).unwrap();
    let python = lib.into_iter().next().unwrap().unwrap().path();
    python.join("site-packages")
}

const ALONE: [&str; 2] = ["--no-deps", "--no-index"];

#[test]
fn an_installed_program_uses_the_onnx_runtime_of_its_environment() {
    let installed = Packages::ALL
        .into_iter()
        .find(|packages| packages.name == "onnxruntime-1.31.1")
        .unwrap();
    if !installed.are_installed() {
        let why = "the Python package onnxruntime is not installed: run `cargo xtask test`";
        skip(Requirement::Python, why);
        return;
    }
    let Some(environment) = environment() else {
        return;
    };
    const EVALUATOR: Programs = Programs {
        packages: &["topk-eval"],
        features: &[],
        installed: Installed::Program { glibc: "2.28" },
    };
    // The test runs in target/debug/deps; programs are one folder up, where `cargo test --workspace` has built them.
    let test = env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap();
    if !folder.join("topk-eval").is_file() {
        cargo::run(cargo::cargo().args(["build", "--package", "topk-eval"])).unwrap();
    }
    let mut distribution = distribution("topk-eval", package("topk-eval"));
    let keep = |_: &Path, _: &str| unreachable!("programs outside packages have no run path");
    EVALUATOR.add_to(&mut distribution, folder, keep).unwrap();
    let wheel = distribution
        .write(&environment.path(""), "linux_x86_64")
        .unwrap();
    environment.install(&wheel, &ALONE).unwrap();
    assert!(
        environment
            .path("venv/share/man/man1/topk-eval.1")
            .is_file()
    );

    let onnxruntime = packages(&environment).join("onnxruntime");
    symlink(
        installed.folder().unwrap().join("onnxruntime"),
        &onnxruntime,
    )
    .unwrap();
    // As pipx and uv put programs into ~/.local/bin.
    symlink(
        environment.path("venv/bin/topk-eval"),
        environment.path("topk-eval"),
    )
    .unwrap();
    try_program(&environment, "topk-eval").unwrap();

    // What the program prints when it runs outside the environment, and its exit code.
    let data = root().join("tests/data/cifar100-sample");
    let evaluate = |program: &str| {
        let mut command = Command::new(environment.path(program));
        command.env_clear().current_dir("/");
        command.arg("--data").arg(&data).arg("--model");
        let output = command
            .arg(environment.path("model.onnx"))
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        // Lines are wrapped.
        let words: Vec<&str> = printed.split_whitespace().collect();
        (words.join(" "), output.status.code())
    };
    let library = onnxruntime.join("capi/libonnxruntime.so.1.31.1");
    let programs = ["venv/bin/topk-eval", "topk-eval"];
    for program in programs {
        let (printed, code) = evaluate(program);
        assert_eq!(code, Some(0), "{printed}");
        let line = format!("ONNX Runtime 1.31.1, {}", library.display());
        assert!(printed.contains(&line), "{printed}");
    }

    // A damaged one is reported, and the one that the program was built with is not used in its place.
    fs::remove_file(&onnxruntime).unwrap();
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    fs::write(&library, "damaged").unwrap();
    for program in programs {
        let (printed, code) = evaluate(program);
        assert_eq!(code, Some(1), "{printed}");
        assert!(
            printed.contains(&library.display().to_string()),
            "{printed}"
        );
    }
}

#[test]
fn topk_train_starts_with_the_torch_that_it_was_built_for() {
    let Some(environment) = environment() else {
        return;
    };
    let wheel = fake_wheel("topk-train", &environment.path(""));
    environment.install(&wheel, &ALONE).unwrap();
    let packages = packages(&environment);
    let python = environment.path("venv/bin/python");
    let output = |arguments: &[&str]| {
        let mut command = environment.program("topk-train");
        let output = command.args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        (text(output.stdout), text(output.stderr))
    };
    let advice = format!(
        "Install it with `{} -m pip install torch==2.11.0`",
        python.display()
    );

    let missing = environment.path("venv");
    let missing = missing.display();
    let expected = format!(
        "error: topk-train needs PyTorch 2.11.0, which is not installed in {missing}. {advice}"
    );
    assert_eq!(output(&[]), (String::new(), expected));

    // Fake installations of torch, with the folders that the launcher looks at.
    let install = |folder: &Path, version: &str| {
        let info = folder.join(format!("torch-{version}.dist-info"));
        fs::create_dir_all(&info).unwrap();
        let metadata = format!("Metadata-Version: 2.1\nName: torch\nVersion: {version}\n");
        fs::write(info.join("METADATA"), metadata).unwrap();
        fs::create_dir_all(folder.join("torch/lib")).unwrap();
        fs::write(folder.join("torch/__init__.py"), "raise ImportError").unwrap();
        info
    };
    let info = install(&packages, "2.12.1");
    let torch = packages.join("torch");
    let expected = format!(
        "error: topk-train needs PyTorch 2.11.0, but {} is version 2.12.1. {advice}",
        torch.display()
    );
    assert_eq!(output(&[]), (String::new(), expected));
    fs::remove_dir_all(info).unwrap();

    install(&packages, "2.11.0+cpu");
    let (printed, error) = output(&[]);
    assert_eq!(printed, "");
    assert!(error.contains("its installation is damaged"), "{error}");

    fs::write(torch.join("lib/libtorch_cpu.so"), "").unwrap();
    let expected = "topk-train --tau 1 --help\nLD_LIBRARY_PATH= ORT_DYLIB_PATH=";
    assert_eq!(
        output(&["--tau", "1", "--help"]),
        (expected.to_owned(), String::new())
    );

    // Packages in another folder, which only Python knows.
    let other = environment.path("other");
    fs::rename(packages.join("torch"), environment.path("torch")).unwrap();
    install(&other, "2.11.0");
    fs::write(other.join("torch/lib/libtorch_cpu.so"), "").unwrap();
    let capi = other.join("onnxruntime/capi");
    fs::create_dir_all(&capi).unwrap();
    fs::write(capi.join("libonnxruntime.so.1.31.1"), "").unwrap();
    fs::write(packages.join("other.pth"), other.display().to_string()).unwrap();
    let expected = format!(
        "topk-train \nLD_LIBRARY_PATH={} ORT_DYLIB_PATH={}",
        other.join("torch/lib").display(),
        capi.join("libonnxruntime.so.1.31.1").display()
    );
    assert_eq!(output(&[]), (expected, String::new()));
}

#[test]
fn files_of_the_launcher_are_complete() {
    let Installed::Launched { files, module, .. } = TRAINING.installed else {
        panic!("topk-train has no launcher");
    };
    let folder = root().join("xtask/src/wheels").join(module);
    let on_disk = dist::files(&folder).unwrap();
    let names: Vec<_> = on_disk
        .iter()
        .map(|path| path.file_name().unwrap())
        .collect();
    assert_eq!(
        names,
        files.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
}
