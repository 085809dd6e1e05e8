//! Compiles what calls libtorch's C++: see `src/lib.rs`.

#[path = "../native/libtorch.rs"]
mod libtorch;
#[path = "../native/rpath.rs"]
mod rpath;

fn main() {
    libtorch::compile("src/libtorch.cpp", "topk_libtorch");
}
