use std::ffi::c_char;

use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::check;

/// PyTorch's defaults (`torch.amp.GradScaler`).
const INITIAL_SCALE: f32 = 65536.0;
const GROWTH: f64 = 2.0;
const BACKOFF: f64 = 0.5;
/// Steps in a row with finite gradients after which the scale grows.
const INTERVAL: i64 = 2000;

unsafe extern "C" {
    fn topk_update_scale(
        scale: *const C_tensor,
        growth_tracker: *const C_tensor,
        skip: *const C_tensor,
        growth: f64,
        backoff: f64,
        interval: i64,
    ) -> *mut c_char;
}

/// The dynamic scale of a loss, as PyTorch's `GradScaler`: gradients in float16 underflow, so the loss is multiplied by
/// the largest power of two for which they do not overflow either. It starts at 65536, doubles after 2000 steps in a row
/// with finite gradients, and halves after a step without.
///
/// Everything stays on the device, and nothing waits for it. The [state](Self::state) is the scale and the number of
/// steps since it last changed.
#[derive(Debug)]
pub struct LossScaler {
    scale: Tensor,
    growth_tracker: Tensor,
}

impl LossScaler {
    /// A scaler at its initial scale.
    pub fn new(device: Device) -> Self {
        Self {
            scale: Tensor::from(INITIAL_SCALE).to_device(device),
            growth_tracker: Tensor::from(0i32).to_device(device),
        }
    }

    /// The scale, an `f32` scalar on the device: the loss is multiplied by it, and gradients are divided by it.
    pub fn scale(&self) -> &Tensor {
        &self.scale
    }

    /// Adapts the scale after a step, which was skipped if `skip`, an `f32` scalar on the device, is 1.
    ///
    /// # Errors
    /// If libtorch fails.
    ///
    /// # Panics
    /// If `skip` is not an `f32`.
    pub fn update(&mut self, skip: &Tensor) -> Result<(), TchError> {
        assert_eq!(skip.kind(), Kind::Float);
        // SAFETY: the tensors are live; the C++ side catches exceptions.
        unsafe {
            check(topk_update_scale(
                self.scale.as_ptr(),
                self.growth_tracker.as_ptr(),
                skip.as_ptr(),
                GROWTH,
                BACKOFF,
                INTERVAL,
            ))
        }
    }

    /// The scale, and the number of steps with finite gradients since it last changed. Waits for the device.
    pub fn state(&self) -> (f32, i32) {
        let scale = self.scale.double_value(&[]) as f32;
        (scale, self.growth_tracker.int64_value(&[]) as i32)
    }

    /// Restores a [state](Self::state).
    pub fn set_state(&mut self, (scale, steps): (f32, i32)) {
        self.scale.copy_(&Tensor::from(scale));
        self.growth_tracker.copy_(&Tensor::from(steps));
    }
}
