//! For the build scripts of packages that link libtorch.

use std::env;
use std::fs;
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
///
/// Its contents rather than its path, which would be wrong once the checkout has moved.
const HEADER: &str = include_str!("../include/catch_exceptions.h");

/// Compiles a C++ file that includes libtorch's headers into a static library with this name, and sets the run
/// path. The file can include `catch_exceptions.h`.
///
/// # Panics
/// As [`Shim::compile`].
pub fn compile_with_libtorch(file: &str, name: &str) {
    Shim::new(file).compile(name);
}

/// A C++ file that includes libtorch's headers and `catch_exceptions.h`.
#[derive(Debug)]
pub struct Shim {
    file: PathBuf,
    build: cc::Build,
}

impl Shim {
    /// Compiles this file with the flags that libtorch's headers need, and sets the run path.
    ///
    /// # Panics
    /// If the package does not depend on torch-sys.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        set_run_path();
        println!("cargo:rerun-if-changed={}", file.display());
        println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
        println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
        let include = out_dir().join("include");
        fs::create_dir_all(&include)
            .and_then(|()| fs::write(include.join("catch_exceptions.h"), HEADER))
            .unwrap_or_else(|error| panic!("cannot write to {}: {error}", include.display()));
        let root = libtorch_root();
        let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .include(include)
            .include(root.join("include"))
            .include(root.join("include/torch/csrc/api/include"))
            .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
            // Warnings in libtorch's own headers cannot be fixed here.
            .warnings(false);
        // libtorch uses the threads of GNU's OpenMP, which torch-sys links. Without this flag, its headers run
        // single-threaded.
        let linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
        if linux && build.get_compiler().is_like_gnu() {
            build.flag("-fopenmp");
        }
        Self { file, build }
    }

    /// Adds a folder with headers.
    pub fn include(mut self, folder: impl AsRef<Path>) -> Self {
        self.build.include(folder);
        self
    }

    /// Defines a macro without a value.
    pub fn define(mut self, name: &str) -> Self {
        self.build.define(name, None);
        self
    }

    /// Compiles into a shared object `lib{name}.so`, linked to these libraries of libtorch, instead of into the package.
    /// Returns its path.
    ///
    /// # Panics
    /// If the file does not compile, or uses a symbol that the libraries lack.
    pub fn compile_shared_object(self, name: &str, libraries: &[&str]) -> PathBuf {
        let object = out_dir().join(format!("lib{name}.so"));
        let mut command = self.build.get_compiler().to_command();
        command
            .args(["-shared", "-Wl,-z,defs", "-Wl,--as-needed", "-o"])
            .arg(&object)
            .arg(&self.file)
            .arg("-L")
            .arg(libtorch_libraries());
        command.args(libraries.iter().map(|library| format!("-l{library}")));
        let status = command.status();
        assert!(
            status.as_ref().is_ok_and(|status| status.success()),
            "{command:?} failed: {status:?}"
        );
        object
    }

    /// Leaves out debug information.
    pub fn without_debug_information(mut self) -> Self {
        self.build.debug(false);
        self
    }

    /// Compiles into a static library with this name, which the package links.
    ///
    /// # Panics
    /// If the file does not compile.
    pub fn compile(mut self, name: &str) {
        self.build.file(&self.file).compile(name);
    }
}

/// The folder for what the build script makes.
fn out_dir() -> PathBuf {
    env::var_os("OUT_DIR").expect("cargo sets OUT_DIR").into()
}

/// The folder with libtorch's libraries.
///
/// # Panics
/// If the package does not depend on torch-sys.
pub fn libtorch_libraries() -> PathBuf {
    env::var_os("DEP_TCH_LIBTORCH_LIB")
        .expect("torch-sys sets DEP_TCH_LIBTORCH_LIB")
        .into()
}

/// The folder with libtorch's headers; the same lookup as in torch-sys.
fn libtorch_root() -> PathBuf {
    match env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => root.into(),
        None => libtorch_libraries().join(".."),
    }
}
