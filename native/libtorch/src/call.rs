use std::ffi::{CStr, c_char, c_void};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

/// What a call of C++ says, where a null pointer is success.
///
/// # Safety
/// Otherwise `error` must be a string made by `strdup` that nobody else has.
pub(crate) unsafe fn outcome(error: *mut c_char) -> Result<(), TchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller promises.
    let message = unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        free(error.cast());
        message
    };
    Err(TchError::Torch(message))
}

/// The new tensor that C++ put into `place`, which it did unless it failed.
///
/// # Safety
/// As [`outcome`]; and without an error `place` must be a tensor that nobody else owns.
pub(crate) unsafe fn made(error: *mut c_char, place: *mut C_tensor) -> Result<Tensor, TchError> {
    // SAFETY: as the caller promises.
    unsafe {
        outcome(error)?;
        Ok(Tensor::from_ptr(place))
    }
}

/// For C++; they are valid as long as the tensors.
pub(crate) fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const C_tensor> {
    tensors.into_iter().map(|tensor| tensor.as_ptr()).collect()
}
