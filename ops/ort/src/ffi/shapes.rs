use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr;

use ort_sys::{
    ONNXTensorElementDataType, OrtOpAttrType, OrtShapeInferContext, OrtTensorTypeAndShapeInfo,
};

use super::{Api, RuntimeError, call};

/// A node during shape inference.
#[derive(Debug)]
pub(crate) struct ShapeInference<'a> {
    api: Api,
    context: *mut OrtShapeInferContext,
    node: PhantomData<&'a OrtShapeInferContext>,
}

impl<'a> ShapeInference<'a> {
    /// # Safety
    /// `context` must be valid for `'a`, and belong to the ONNX Runtime of `api`, which must be
    /// [`SHAPE_INFERENCE`](super::SHAPE_INFERENCE) or later.
    pub(crate) unsafe fn new(api: Api, context: *mut OrtShapeInferContext) -> Self {
        let node = PhantomData;
        Self { api, context, node }
    }

    /// Reads a string attribute of at most 7 bytes, if the node has it.
    pub(crate) fn short_string(&self, name: &CStr) -> Result<Option<String>, RuntimeError> {
        let api = self.api;
        let mut attribute = ptr::null();
        let mut text = [0u8; 8];
        let mut size = 0;
        // SAFETY: the context is valid by the promise of `new`, and so is the attribute. At most the 8 bytes
        // of `text` are written, and none for an attribute of another type.
        unsafe {
            let status = call!(
                api,
                ShapeInferContext_GetAttribute(self.context, name.as_ptr(), &raw mut attribute)
            );
            if api.check(status).is_err() {
                return Ok(None);
            }
            let (buffer, length) = (text.as_mut_ptr().cast(), text.len());
            let string = OrtOpAttrType::ORT_OP_ATTR_STRING;
            let status = call!(
                api,
                ReadOpAttr(attribute, string, buffer, length, &raw mut size)
            );
            api.check(status)?;
        }
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }

    /// The shape of an input, if it has this rank and each size is a number or has a name. (ONNX Runtime
    /// would take a size that is neither for the number −1.)
    pub(crate) fn input_shape(
        &self,
        input: usize,
        rank: usize,
    ) -> Result<Option<Vec<Dim<'a>>>, RuntimeError> {
        let api = self.api;
        let info = self.input(input)?;
        let mut names = vec![ptr::null::<c_char>(); rank];
        // SAFETY: `info` is valid, and owns the names, which are null or NUL-terminated, for `'a`.
        unsafe {
            let sizes = shape(api, info)?;
            if sizes.len() != rank {
                return Ok(None);
            }
            let status = call!(api, GetSymbolicDimensions(info, names.as_mut_ptr(), rank));
            api.check(status)?;
            let dims = sizes.into_iter().zip(names).map(|(size, name)| {
                let name = if name.is_null() {
                    c""
                } else {
                    CStr::from_ptr(name)
                };
                (size >= 0 || !name.is_empty()).then_some(Dim { size, name })
            });
            Ok(dims.collect())
        }
    }

    /// Sets the shape of an output, and its type to that of the first input.
    ///
    /// # Errors
    /// If the node lacks the output, or ONNX Runtime fails.
    pub(crate) fn set_output(&self, output: usize, shape: &[Dim<'_>]) -> Result<(), RuntimeError> {
        let api = self.api;
        let first = self.input(0)?;
        let mut info = ptr::null_mut();
        let mut element = ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let sizes: Vec<i64> = shape.iter().map(|dim| dim.size).collect();
        let mut names: Vec<_> = shape.iter().map(|dim| dim.name.as_ptr()).collect();
        let rank = shape.len();
        // SAFETY: the context is valid by the promise of `new`, and so is `first`; its type is one of
        // `elements`. `info` is new, and ours to release; it copies sizes and names, and the context
        // copies it.
        unsafe {
            api.check(call!(api, GetTensorElementType(first, &raw mut element)))?;
            api.check(call!(api, CreateTensorTypeAndShapeInfo(&raw mut info)))?;
            let (context, names) = (self.context, names.as_mut_ptr());
            let result = api
                .check(call!(api, SetTensorElementType(info, element)))
                .and_then(|()| api.check(call!(api, SetDimensions(info, sizes.as_ptr(), rank))))
                .and_then(|()| api.check(call!(api, SetSymbolicDimensions(info, names, rank))))
                .and_then(|()| {
                    let set = call!(
                        api,
                        ShapeInferContext_SetOutputTypeShape(context, output, info)
                    );
                    api.check(set)
                });
            call!(api, ReleaseTensorTypeAndShapeInfo(info));
            result
        }
    }

    /// Type and shape of an input; the context owns them.
    fn input(&self, input: usize) -> Result<*mut OrtTensorTypeAndShapeInfo, RuntimeError> {
        let mut info = ptr::null_mut();
        // SAFETY: the context is valid by the promise of `new`.
        unsafe {
            let status = call!(
                self.api,
                ShapeInferContext_GetInputTypeShape(self.context, input, &raw mut info)
            );
            self.api.check(status)?;
        }
        Ok(info)
    }
}

/// A dimension of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dim<'a> {
    /// Its size, if it has no name.
    pub(crate) size: i64,
    /// Its name, or empty.
    pub(crate) name: &'a CStr,
}

/// The shape in a tensor's type.
///
/// # Safety
/// `info` must be valid, and belong to the ONNX Runtime of `api`.
pub(super) unsafe fn shape(
    api: Api,
    info: *const OrtTensorTypeAndShapeInfo,
) -> Result<Vec<i64>, RuntimeError> {
    let mut rank = 0;
    // SAFETY: `info` is valid by the promise of the caller; the buffer has `rank` entries.
    unsafe {
        api.check(call!(api, GetDimensionsCount(info, &raw mut rank)))?;
        let mut shape = vec![0; rank];
        api.check(call!(api, GetDimensions(info, shape.as_mut_ptr(), rank)))?;
        Ok(shape)
    }
}
