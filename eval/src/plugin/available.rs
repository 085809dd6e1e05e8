//! The execution providers that ONNX Runtime was built with.

use std::ffi::CStr;
use std::ptr;

/// Their names by ONNX Runtime, whether or not they can be used here; none if ONNX Runtime does not tell them.
pub(crate) fn built_in() -> Vec<String> {
    let api = ort::api();
    let (mut names, mut count) = (ptr::null_mut(), 0);
    // SAFETY: on success, the list has `count` C strings; it is released once, after they have been copied. A status is
    // released once.
    unsafe {
        let status = (api.GetAvailableProviders)(&mut names, &mut count);
        if !status.0.is_null() {
            (api.ReleaseStatus)(status.0);
            return Vec::new();
        }
        let name = |at: usize| CStr::from_ptr(*names.add(at)).to_string_lossy();
        let length = usize::try_from(count).unwrap_or(0);
        let found = (0..length).map(|at| name(at).into_owned()).collect();
        let status = (api.ReleaseAvailableProviders)(names, count);
        if !status.0.is_null() {
            (api.ReleaseStatus)(status.0);
        }
        found
    }
}
