//! Sets the run path to libtorch's folder.

fn main() {
    topk_build_support::set_run_path();
}
