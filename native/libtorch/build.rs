//! Compiles what calls libtorch's C++: see `src/lib.rs`.

#[path = "../libtorch.rs"]
mod libtorch;
#[path = "../rpath.rs"]
mod rpath;

fn main() {
    libtorch::compile("src/libtorch.cpp", "topk_libtorch");
}
