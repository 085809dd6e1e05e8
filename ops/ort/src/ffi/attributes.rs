use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr;

use ort_sys::OrtKernelInfo;

use super::shapes::shape;
use super::{Api, RuntimeError, call};

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    String(String),
    /// A list, a tensor or a graph.
    Other,
}

/// A node for which a kernel is created.
#[derive(Debug)]
pub(crate) struct KernelInfo<'a> {
    api: Api,
    info: *const OrtKernelInfo,
    node: PhantomData<&'a OrtKernelInfo>,
}

impl<'a> KernelInfo<'a> {
    /// # Safety
    /// `info` must be valid for `'a`, and belong to the ONNX Runtime of `api`.
    pub(crate) unsafe fn new(api: Api, info: *const OrtKernelInfo) -> Self {
        let node = PhantomData;
        Self { api, info, node }
    }

    /// Reads an attribute, if the node has it.
    pub(crate) fn attribute(&self, name: &CStr) -> Result<Option<Attribute>, RuntimeError> {
        let Self { api, info, .. } = *self;
        let name = name.as_ptr();
        let (mut int, mut float, mut size) = (0, 0.0, 0);
        // SAFETY: `info` is valid by the promise of `new`, `name` is NUL-terminated and the others
        // are places to write to. A null pointer for the list or text requests only its size.
        unsafe {
            let status = call!(api, KernelInfoGetAttribute_int64(info, name, &raw mut int));
            if api.check(status).is_ok() {
                return Ok(Some(Attribute::Int(int)));
            }
            let status = call!(
                api,
                KernelInfoGetAttribute_float(info, name, &raw mut float)
            );
            if api.check(status).is_ok() {
                return Ok(Some(Attribute::Float(float)));
            }
            let null = ptr::null_mut();
            let status = call!(
                api,
                KernelInfoGetAttribute_string(info, name, null, &raw mut size)
            );
            if api.check(status).is_ok() {
                return self.text(name, size).map(Attribute::String).map(Some);
            }
            // For an attribute that is not a list, this returns an empty list.
            let null = ptr::null_mut();
            let status = call!(
                api,
                KernelInfoGetAttributeArray_int64(info, name, null, &raw mut size)
            );
            Ok(api.check(status).is_ok().then_some(Attribute::Other))
        }
    }

    /// Reads a string attribute of `size` bytes, including the NUL at its end.
    ///
    /// # Safety
    /// `name` must be a NUL-terminated string.
    unsafe fn text(&self, name: *const c_char, mut size: usize) -> Result<String, RuntimeError> {
        let mut text = vec![0u8; size];
        // SAFETY: as in `attribute`; the buffer has `size` bytes.
        unsafe {
            let buffer = text.as_mut_ptr().cast();
            let status = call!(
                self.api,
                KernelInfoGetAttribute_string(self.info, name, buffer, &raw mut size)
            );
            self.api.check(status)?;
        }
        text.pop();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The shape of an input as stated in the model, with −1 for unknown sizes; empty if no shape is stated.
    pub(crate) fn input_shape(&self, index: usize) -> Result<Vec<i64>, RuntimeError> {
        let api = self.api;
        let mut owner = ptr::null_mut();
        let mut info = ptr::null();
        // SAFETY: `self.info` is valid by the promise of `new`. The type is ours to release, and `info`,
        // which is null if the type is not a tensor, is a part of it.
        unsafe {
            let status = call!(
                api,
                KernelInfo_GetInputTypeInfo(self.info, index, &raw mut owner)
            );
            api.check(status)?;
            let status = call!(api, CastTypeInfoToTensorInfo(owner, &raw mut info));
            let shape = match api.check(status) {
                Ok(()) if info.is_null() => Ok(Vec::new()),
                Ok(()) => shape(api, info),
                Err(error) => Err(error),
            };
            call!(api, ReleaseTypeInfo(owner));
            shape
        }
    }
}
