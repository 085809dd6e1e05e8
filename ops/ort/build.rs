//! Keeps the library of operators loaded until the process ends. ONNX Runtime closes it with the last
//! session that uses it and opens it again for the next, and what it keeps for the whole process
//! would be made anew each time.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
