//! For the build scripts of packages that link libtorch.

use std::env;
use std::path::{Path, PathBuf};

/// Sets the run path of programs and tests to libtorch's folder, so that they start from any directory without
/// `LD_LIBRARY_PATH`. Does nothing in a package that does not depend on torch-sys.
pub fn set_run_path() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_LIB");
    // Set by torch-sys, except on Windows, which has no run path.
    if let Ok(lib) = env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}

/// Header for all C++ files: how exceptions become error messages.
const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/catch_exceptions.h");

/// Compiles a C++ file that includes libtorch's headers into a static library with this name, and sets the run
/// path. The file can include `catch_exceptions.h`.
///
/// # Panics
/// If the package does not depend on torch-sys, or the file does not compile.
pub fn compile_with_libtorch(file: &str, name: &str) {
    set_run_path();
    println!("cargo:rerun-if-changed={file}");
    println!("cargo:rerun-if-changed={HEADER}");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys sets DEP_TCH_LIBTORCH_LIB");
    // The same lookup as in torch-sys.
    let root = match env::var("LIBTORCH_INCLUDE") {
        Ok(root) => PathBuf::from(root),
        Err(_) => PathBuf::from(lib).join(".."),
    };
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .include(Path::new(HEADER).with_file_name(""))
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        // Warnings in libtorch's own headers cannot be fixed here.
        .warnings(false)
        .file(file);
    // libtorch uses the threads of GNU's OpenMP, which torch-sys links. Without this flag, its headers run
    // single-threaded.
    let linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if linux && build.get_compiler().is_like_gnu() {
        build.flag("-fopenmp");
    }
    build.compile(name);
}
