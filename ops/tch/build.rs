//! Compiles the C++ that calls libtorch; see `src/autograd.rs`.

#[path = "../../native/libtorch.rs"]
mod libtorch;
#[path = "../../native/rpath.rs"]
mod rpath;

fn main() {
    libtorch::compile("src/autograd.cpp", "topk_autograd");
}
