//! The part of ONNX Runtime's C API that operators need, behind a safe interface.

mod attributes;
mod shapes;
mod tensors;
mod threads;

pub(crate) use attributes::{Attribute, KernelInfo};
pub(crate) use shapes::{Dim, ShapeInference};
pub(crate) use tensors::{KernelInputs, KernelOutputs, Tensor};
pub(crate) use threads::IntraOpThreads;

use std::any::Any;
use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use ort_sys::{ONNXTensorElementDataType, OrtApi, OrtErrorCode, OrtKernelContext, OrtStatusPtr};
use thiserror::Error;
use topk_ops::{bf16, f16};

/// The API version in use, that of ONNX Runtime 1.17; all later releases support it.
pub(crate) const API_VERSION: u32 = 17;

/// The first ONNX Runtime 1.x in which the operators run on a GPU: kernels can allocate memory for work on its stream.
pub(crate) const CUDA: u32 = 18;

/// The first ONNX Runtime 1.x whose shape inference for custom operators is used. In 1.20, a node without
/// an optional output, or with an empty name for an optional input, crashes the process.
pub(crate) const SHAPE_INFERENCE: u32 = 31;

/// Calls a function of the table.
macro_rules! call {
    ($api:expr, $function:ident($($argument:expr),* $(,)?)) => {
        // Only this entry is read: the table of an older ONNX Runtime is shorter than the struct.
        ((*$api.0.as_ptr()).$function)($($argument),*)
    };
}
pub(crate) use call;

/// ONNX Runtime's table of functions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Api(pub(crate) NonNull<OrtApi>);

// SAFETY: ONNX Runtime never changes the table, and any thread may call its functions.
unsafe impl Send for Api {}
// SAFETY: as above.
unsafe impl Sync for Api {}

/// A call to ONNX Runtime failed or returned something unusable.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub(crate) struct RuntimeError(String);

impl Api {
    /// # Safety
    /// The table must be of version [`API_VERSION`] or later, of [`CUDA`] or later for the operators on a GPU, and stay valid for the rest of the process.
    pub(crate) unsafe fn new(table: *const OrtApi) -> Option<Self> {
        NonNull::new(table.cast_mut()).map(Self)
    }

    /// Converts a status to a result, and releases it.
    ///
    /// # Safety
    /// The status must come from a function of this API that transfers its ownership to the caller.
    pub(crate) unsafe fn check(self, status: OrtStatusPtr) -> Result<(), RuntimeError> {
        if status.0.is_null() {
            return Ok(());
        }
        // SAFETY: the status is valid until it is released, and so is its NUL-terminated message,
        // which is copied before.
        unsafe {
            let message = CStr::from_ptr(call!(self, GetErrorMessage(status.0)));
            let error = RuntimeError(format!("ONNX Runtime: {}", message.to_string_lossy()));
            call!(self, ReleaseStatus(status.0));
            Err(error)
        }
    }

    /// Creates a status, which ONNX Runtime releases.
    pub(crate) fn status(self, code: OrtErrorCode, message: &str) -> OrtStatusPtr {
        let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
        // SAFETY: the message is NUL-terminated, and copied by the call.
        unsafe { call!(self, CreateStatus(code, message.as_ptr())) }
    }

    /// Runs a callback and converts its result, or its panic, to a status.
    pub(crate) fn guard(self, callback: impl FnOnce() -> Result<(), String>) -> OrtStatusPtr {
        match catch_unwind(AssertUnwindSafe(callback)) {
            Ok(Ok(())) => OrtStatusPtr::default(),
            Ok(Err(message)) => self.status(OrtErrorCode::ORT_INVALID_ARGUMENT, &message),
            Err(panic) => {
                let message = format!("internal error in topk-ops-ort: {}", panic_text(&*panic));
                self.status(OrtErrorCode::ORT_RUNTIME_EXCEPTION, &message)
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied())
        .unwrap_or("a panic")
}

/// Rust types of the elements of ONNX tensors.
///
/// # Safety
/// Elements of tensors of type `TYPE` must have the layout of `Self`, and every bit pattern must be a
/// valid value of it.
pub(crate) unsafe trait Element: Copy + 'static {
    /// ONNX Runtime's name for the type.
    const TYPE: ONNXTensorElementDataType;
}

macro_rules! elements {
    ($($rust:ty => $onnx:ident,)*) => {$(
        // SAFETY: the C API documents the one as the other.
        unsafe impl Element for $rust {
            const TYPE: ONNXTensorElementDataType = ONNXTensorElementDataType::$onnx;
        }
    )*};
}

elements! {
    f32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    f64 => ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    f16 => ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    bf16 => ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    i64 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    i32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
}

/// Splits the context of a kernel call into inputs, outputs and threads.
///
/// # Safety
/// `context` must be that of a kernel of the ONNX Runtime of `api`, be valid for `'a`, and be split only
/// once.
pub(crate) unsafe fn context<'a>(
    api: Api,
    context: *mut OrtKernelContext,
) -> (KernelInputs<'a>, KernelOutputs<'a>, IntraOpThreads<'a>) {
    // SAFETY: by the promise of the caller.
    unsafe {
        (
            KernelInputs::new(api, context),
            KernelOutputs::new(api, context),
            IntraOpThreads::new(api, context),
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::OnceLock;

    pub(crate) fn table() -> &'static OrtApi {
        static LOADED: OnceLock<()> = OnceLock::new();
        LOADED.get_or_init(|| {
            let path = topk_native::onnxruntime::locate().unwrap();
            drop(ort::init_from(path).unwrap());
        });
        ort::api()
    }

    pub(super) fn api() -> Api {
        // SAFETY: the table of a later version, which stays.
        unsafe { Api::new(table()) }.unwrap()
    }

    fn message(status: OrtStatusPtr) -> String {
        // SAFETY: the status is new.
        unsafe { api().check(status) }.unwrap_err().0
    }

    #[test]
    fn errors_and_panics_become_statuses() {
        assert!(api().guard(|| Ok(())).0.is_null());
        let error = api().guard(|| Err("k\0 is wrong".to_owned()));
        assert_eq!(message(error), "ONNX Runtime: k\u{fffd} is wrong");
        let text = "ONNX Runtime: internal error in topk-ops-ort: no 5";
        let number = 5;
        assert_eq!(message(api().guard(|| panic!("no {number}"))), text);
        assert_eq!(message(api().guard(|| panic!("no 5"))), text);
    }
}
