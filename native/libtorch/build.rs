//! Compiles the C++ shims, `src/libtorch.cpp`.

fn main() {
    topk_build_support::compile_with_libtorch("src/libtorch.cpp", "topk_libtorch");
}
