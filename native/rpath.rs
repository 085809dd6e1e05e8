//! Build script of the packages whose programs or tests link libtorch: sets their run path to libtorch's
//! folder, so that they start from any directory without `LD_LIBRARY_PATH`.

/// Emits the linker flags.
pub fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_LIB");
    // Set by torch-sys, except on Windows, which has no run path.
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
