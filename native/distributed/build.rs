//! Compiles the C++ shims in `src`, and checks that they do not depend on the layout of Gloo's types. If CUDA's headers
//! are there, compiles NCCL's part into a shared object, which becomes data of the program.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use topk_build_support::{Shim, libtorch_libraries};

fn main() {
    println!("cargo:rerun-if-changed=src/c10d.h");
    println!("cargo:rerun-if-changed=gloo-declarations");
    for name in ["store", "group", "reducer", "batch_norm"] {
        let library = format!("topk_distributed_{name}");
        Shim::new(format!("src/{name}.cpp"))
            .include("src")
            .include("gloo-declarations")
            // Without it, libtorch's header declares nothing.
            .define("USE_C10D_GLOO")
            // Debug information has names of Gloo that the compiled code does not use.
            .without_debug_information()
            .compile(&library);
        check_symbols(&library);
    }
    compile_nccl();
}

/// Headers that `ProcessGroupNCCL.hpp` includes, one of each package that has some.
const CUDA_HEADERS: [&str; 7] = [
    "cuda_runtime.h",
    "crt/host_config.h",
    "nv/target",
    "cublas_v2.h",
    "cusolverDn.h",
    "cusparse.h",
    "nccl.h",
];

/// The version of NCCL that libtorch was built with. The layout of its options depends on it.
const NCCL_VERSION: [(&str, &str); 2] = [("NCCL_MAJOR", "2"), ("NCCL_MINOR", "28")];

/// Compiles NCCL's part, or says why not; the program then has no such part, and reports it when it is needed.
fn compile_nccl() {
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    println!("cargo:rerun-if-changed=src/nccl.cpp");
    let libraries = libtorch_libraries();
    // Where CUDA's part would be added.
    println!("cargo:rerun-if-changed={}", libraries.display());
    let folders = include_folders(&libraries);
    for folder in &folders {
        println!("cargo:rerun-if-changed={}", folder.display());
    }
    let object = match missing_for_nccl(&libraries, &folders) {
        None => {
            let mut shim = Shim::new("src/nccl.cpp")
                .define("USE_C10D_NCCL")
                .include("src");
            for folder in &folders {
                shim = shim.include(folder);
            }
            shim.without_debug_information()
                .compile_shared_object("topk_nccl", &["torch_cuda", "torch_cpu", "c10"])
        }
        Some(missing) => {
            // Where libtorch is for the CPU only, nobody expects NCCL.
            if libraries.join(LIBTORCH_CUDA).is_file() {
                println!("cargo:warning=several GPUs cannot be used, because {missing}");
            }
            let folder = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
            let empty = Path::new(&folder).join("libtopk_nccl.so");
            fs::write(&empty, []).unwrap_or_else(|error| panic!("{}: {error}", empty.display()));
            empty
        }
    };
    println!("cargo:rustc-env=TOPK_NCCL_OBJECT={}", object.display());
}

const LIBTORCH_CUDA: &str = "libtorch_cuda.so";

/// Where CUDA's headers may be: the user's choice, and NVIDIA's Python packages beside libtorch, where `cargo xtask setup
/// --cuda` installs them too.
fn include_folders(libraries: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("CUDA_HOME")
        .map(|home| Path::new(&home).join("include"))
        .into_iter()
        .collect();
    if let Some(packages) = libraries.parent().and_then(Path::parent) {
        folders.push(packages.join("nvidia/cu13/include"));
        folders.push(packages.join("nvidia/nccl/include"));
    }
    // In toolkits, it is a folder of its own.
    let standard: Vec<PathBuf> = folders.iter().map(|folder| folder.join("cccl")).collect();
    folders.extend(standard);
    folders.retain(|folder| folder.is_dir());
    folders
}

/// What NCCL's part lacks.
fn missing_for_nccl(libraries: &Path, folders: &[PathBuf]) -> Option<String> {
    if !libraries.join(LIBTORCH_CUDA).is_file() {
        return Some(format!("libtorch has no {LIBTORCH_CUDA}"));
    }
    let find = |header: &str| {
        folders
            .iter()
            .map(|folder| folder.join(header))
            .find(|file| file.is_file())
    };
    if let Some(header) = CUDA_HEADERS
        .into_iter()
        .find(|header| find(header).is_none())
    {
        return Some(format!(
            "the header {header} was not found: run `cargo xtask setup --cuda`, or set CUDA_HOME"
        ));
    }
    let header = fs::read_to_string(find("nccl.h")?).unwrap_or_default();
    let fits = NCCL_VERSION.iter().all(|(name, number)| {
        let mut lines = header.lines();
        lines.any(|line| line.split_whitespace().eq(["#define", name, number]))
    });
    let [(_, major), (_, minor)] = NCCL_VERSION;
    (!fits)
        .then(|| format!("nccl.h is not of version {major}.{minor}, which libtorch was built with"))
}

/// Stops the build if a shim has code or tables that depend on a type of Gloo: see `gloo-declarations/README.md`.
///
/// # Panics
/// In this case.
fn check_symbols(library: &str) {
    let folder = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let file = Path::new(&folder).join(format!("lib{library}.a"));
    let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for name in bytes.split(|&byte| byte == 0 || byte == b'\n') {
        let Ok(name) = str::from_utf8(name) else {
            continue;
        };
        // Functions, vtables and type information in namespace gloo; classes of libtorch that derive from Gloo's.
        let gloo = [
            "_ZN4gloo",
            "_ZNK4gloo",
            "_ZTVN4gloo",
            "_ZTIN4gloo",
            "_ZTSN4gloo",
        ];
        let depends = gloo.iter().any(|prefix| name.starts_with(prefix))
            || (name.starts_with("_Z")
                && (name.contains("GlooStore") || name.contains("AsyncWork")));
        assert!(
            !depends,
            "src/*.cpp use `{name}` of Gloo, which this crate only declares: see gloo-declarations/README.md"
        );
    }
}
