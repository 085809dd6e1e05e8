use tch::Device;

unsafe extern "C" {
    safe fn topk_start_autocast(cuda: bool) -> bool;
    safe fn topk_end_autocast(cuda: bool, before: bool);
}

/// Runs `operations` with libtorch's autocast to bfloat16 on this thread: convolutions and matrix products on the
/// device run in bfloat16, reductions and losses stay in `f32`, and parameters keep their type.
pub fn autocast<T>(device: Device, operations: impl FnOnce() -> T) -> T {
    /// Ends autocast, also when `operations` panics.
    struct Guard {
        cuda: bool,
        before: bool,
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            topk_end_autocast(self.cuda, self.before);
        }
    }

    let cuda = device.is_cuda();
    let _guard = Guard {
        cuda,
        before: topk_start_autocast(cuda),
    };
    operations()
}
