//! The losses of `topk-ops` as operators for ONNX Runtime.

mod ffi;
mod kernel;
mod operator;

pub use operator::RegisterCustomOps;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;

use crate::ffi::Api;
use crate::operator::Runtime;

/// Adds the operators to a session, without a library to load.
///
/// # Errors
/// If ONNX Runtime refuses them.
pub fn register(mut builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    let options = builder.ptr_mut();
    // SAFETY: the table of `ort`, which is that of a later version than is asked for, stays for the
    // rest of the process.
    let api = unsafe { Api::new(ort::api()) }.expect("a reference is not null");
    let runtime = Runtime {
        api,
        minor: ort::MINOR_VERSION,
    };
    // SAFETY: `ort` keeps the options valid as long as the builder, and has one ONNX Runtime.
    match unsafe { operator::add(runtime, options) } {
        Ok(()) => Ok(builder),
        Err(error) => Err(ort::Error::new(error.to_string())),
    }
}
