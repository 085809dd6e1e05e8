use std::ffi::c_char;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::{outcome, pointers};

unsafe extern "C" {
    fn topk_move_towards(
        averages: *const *const C_tensor,
        values: *const *const C_tensor,
        count: usize,
        weight: f64,
    ) -> *mut c_char;

    fn topk_copy_all(
        to: *const *const C_tensor,
        from: *const *const C_tensor,
        count: usize,
    ) -> *mut c_char;
}

/// Moves each average by `weight` of the way to its value: averages += weight · (values − averages).
///
/// # Errors
/// If types or shapes do not belong together.
///
/// # Panics
/// If there are not as many values as averages.
pub fn move_towards(averages: &[Tensor], values: &[Tensor], weight: f64) -> Result<(), TchError> {
    assert_eq!(averages.len(), values.len());
    let (averages, values) = (pointers(averages), pointers(values));
    // SAFETY: as many living tensors on each side; C++ catches exceptions.
    unsafe {
        outcome(topk_move_towards(
            averages.as_ptr(),
            values.as_ptr(),
            averages.len(),
            weight,
        ))
    }
}

/// Copies the values of each tensor into its partner.
///
/// # Errors
/// If shapes do not belong together.
///
/// # Panics
/// If there are not as many on both sides.
pub fn copy_all(to: &[Tensor], from: &[Tensor]) -> Result<(), TchError> {
    assert_eq!(to.len(), from.len());
    let (to, from) = (pointers(to), pointers(from));
    // SAFETY: as many living tensors on each side; C++ catches exceptions.
    unsafe { outcome(topk_copy_all(to.as_ptr(), from.as_ptr(), to.len())) }
}
