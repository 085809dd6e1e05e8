//! Keeps the operator library loaded until the process exits. ONNX Runtime would unload it with the last
//! session that uses it and load it again for the next, which would create its per-process data again
//! each time.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
