//! Results of C++ functions that catch exceptions: an error string, or null for success.

use std::ffi::{CStr, c_char, c_void};

use tch::{Kind, TchError, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

/// Converts the error string of a C++ call; null means success.
///
/// # Errors
/// [`TchError::Torch`] with the string, which is freed.
///
/// # Safety
/// `error` must be null or a string from `malloc` that nothing else uses.
pub unsafe fn check(error: *mut c_char) -> Result<(), TchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: by the promise of the caller.
    let message = unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        free(error.cast());
        message
    };
    Err(TchError::Torch(message))
}

/// Converts the result of a C++ call that returns an error string and, without an error, a new tensor.
///
/// # Errors
/// As for [`check`].
///
/// # Safety
/// As for [`check`]; and if `error` is null, `tensor` must be a tensor that nothing else owns.
pub unsafe fn tensor_result(error: *mut c_char, tensor: *mut C_tensor) -> Result<Tensor, TchError> {
    // SAFETY: by the promise of the caller.
    unsafe {
        check(error)?;
        Ok(Tensor::from_ptr(tensor))
    }
}

/// Pointers for C++, valid as long as the tensors.
pub(crate) fn tensor_pointers<'a>(
    tensors: impl IntoIterator<Item = &'a Tensor>,
) -> Vec<*const C_tensor> {
    tensors.into_iter().map(|tensor| tensor.as_ptr()).collect()
}

/// The number of libtorch's `ScalarType`; of the types that the interfaces of this crate take.
///
/// # Panics
/// For another type.
pub(crate) fn scalar_type(kind: Kind) -> i8 {
    match kind {
        Kind::Uint8 => 0,
        Kind::Int64 => 4,
        Kind::Half => 5,
        Kind::Float => 6,
        Kind::BFloat16 => 15,
        kind => panic!("no interface takes {kind:?}"),
    }
}
