//! Compiles the C++ shims in `src`.

fn main() {
    topk_build_support::compile_with_libtorch("src/libtorch.cpp", "topk_libtorch");
    topk_build_support::compile_with_libtorch("src/optimizers.cpp", "topk_libtorch_optimizers");
    topk_build_support::compile_with_libtorch("src/streams.cpp", "topk_libtorch_streams");
    topk_build_support::compile_with_libtorch("src/graph.cpp", "topk_libtorch_graph");
}
