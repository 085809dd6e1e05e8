//! Build script of every package whose programs or tests link libtorch: records where libtorch
//! lies in each of them, so that they start from any directory without `LD_LIBRARY_PATH`.

/// Records it.
pub fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_LIB");
    // Set by torch-sys; absent on systems (Windows) that have no run path.
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
