use std::ffi::c_char;

use tch::TchError;

use crate::call::check;

/// How libtorch computes in `f32` on a GPU. None of it changes anything on the CPU, except that operations without a
/// deterministic implementation are errors there too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Numerics {
    /// Whether convolutions round their inputs to TF32, which has a significand of 11 bits.
    pub tf32_convolutions: bool,
    /// Whether matrix products do.
    pub tf32_products: bool,
    /// Whether only deterministic algorithms are used: the same operations give the same bits. Operations that have none
    /// are errors.
    pub deterministic: bool,
    /// Whether cuDNN times its algorithms for each new shape, and uses the fastest.
    pub cudnn_benchmark: bool,
}

unsafe extern "C" {
    safe fn topk_set_numerics(numerics: Numerics) -> *mut c_char;
    fn topk_numerics(result: *mut Numerics) -> *mut c_char;
}

impl Numerics {
    /// Sets them for the whole process. Call this before the first operation on a GPU: the workspace of cuBLAS, on which
    /// its determinism depends, is chosen then.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn apply(self) -> Result<(), TchError> {
        // SAFETY: a string from `strdup`, or null.
        unsafe { check(topk_set_numerics(self)) }
    }

    /// Those of the process.
    ///
    /// # Errors
    /// If libtorch fails, such as after other code has set them in a contradictory way.
    pub fn current() -> Result<Self, TchError> {
        let mut result = Self {
            tf32_convolutions: false,
            tf32_products: false,
            deterministic: false,
            cudnn_benchmark: false,
        };
        // SAFETY: `result` outlives the call, which catches exceptions.
        unsafe { check(topk_numerics(&mut result)) }?;
        Ok(result)
    }
}
