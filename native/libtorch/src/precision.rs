use std::ffi::c_char;

use tch::{Device, Kind};

use crate::call::{check, scalar_type};

/// `TopkAutocast` of libtorch.cpp; the type is libtorch's `ScalarType`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct State {
    enabled: bool,
    dtype: i8,
}

unsafe extern "C" {
    fn topk_start_autocast(cuda: bool, dtype: i8, before: *mut State) -> *mut c_char;
    safe fn topk_end_autocast(cuda: bool, before: State);
}

/// Runs `operations` with libtorch's autocast to `kind`, `BFloat16` or `Half`, on this thread: convolutions and matrix
/// products on the device run in that type, reductions and losses stay in `f32`, and parameters keep their type.
/// Afterwards, autocast is as it was before, including its type.
///
/// # Panics
/// For another type, or if libtorch fails, for example since it has no autocast for the device.
pub fn autocast<T>(device: Device, kind: Kind, operations: impl FnOnce() -> T) -> T {
    /// Ends autocast, also when `operations` panics.
    struct Guard {
        cuda: bool,
        before: State,
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            topk_end_autocast(self.cuda, self.before);
        }
    }

    let cuda = device.is_cuda();
    let mut before = State::default();
    // SAFETY: `before` outlives the call, which catches exceptions.
    let started = unsafe { check(topk_start_autocast(cuda, scalar_type(kind), &mut before)) };
    started.expect("libtorch has autocast for this device");
    let _guard = Guard { cuda, before };
    operations()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What autocast on GPUs is now, on this thread; needs no GPU.
    fn state() -> State {
        let mut state = State::default();
        // SAFETY: `state` outlives the call, which catches exceptions.
        unsafe { check(topk_start_autocast(true, 5, &mut state)) }.unwrap();
        topk_end_autocast(true, state);
        state
    }

    #[test]
    fn autocast_restores_the_type_of_before() {
        let before = state();
        // 5 is Half, 15 is BFloat16.
        let half = State {
            enabled: false,
            dtype: 5,
        };
        assert_eq!(before, half, "PyTorch's default on a GPU");
        autocast(Device::Cuda(0), Kind::BFloat16, || {
            let inside = state();
            assert!(inside.enabled);
            assert_eq!(inside.dtype, 15);
        });
        assert_eq!(state(), before);
    }
}
