//! Compiles the C++ shims in `src`, and checks that they do not depend on the layout of Gloo's types.

use std::env;
use std::fs;
use std::path::Path;

use topk_build_support::Shim;

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
