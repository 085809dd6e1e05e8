//! Compiles the C++ that calls libtorch; see `src/autograd.rs`.

fn main() {
    topk_build_support::compile_with_libtorch("src/autograd.cpp", "topk_autograd");
}
