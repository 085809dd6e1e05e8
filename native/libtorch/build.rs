//! Compiles the C++ shims, `src/libtorch.cpp`.

#[path = "../libtorch.rs"]
mod libtorch;
#[path = "../rpath.rs"]
mod rpath;

fn main() {
    libtorch::compile("src/libtorch.cpp", "topk_libtorch");
}
