use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use ort_sys::{OrtKernelContext, OrtValue};

use super::shapes::shape;
use super::{Api, Element, RuntimeError, call};

/// A tensor that a kernel reads.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a, T> {
    pub(crate) shape: Vec<i64>,
    /// Row-major.
    pub(crate) elements: &'a [T],
}

/// The inputs of a call.
#[derive(Debug)]
pub(crate) struct KernelInputs<'a> {
    api: Api,
    context: *const OrtKernelContext,
    call: PhantomData<&'a OrtKernelContext>,
}

impl<'a> KernelInputs<'a> {
    /// # Safety
    /// As for [`context`](super::context).
    pub(super) unsafe fn new(api: Api, context: *const OrtKernelContext) -> Self {
        let call = PhantomData;
        Self { api, context, call }
    }

    /// Reads an input, if the node has it.
    ///
    /// # Errors
    /// If it is not a tensor of this type, or its elements are misaligned.
    pub(crate) fn tensor<T: Element>(
        &self,
        index: usize,
    ) -> Result<Option<Tensor<'a, T>>, RuntimeError> {
        let api = self.api;
        let (mut count, mut value) = (0, ptr::null());
        // SAFETY: the context is valid by the promise of `new`; an index below the count of
        // inputs gives null or a value that lives as long.
        unsafe {
            let status = call!(
                api,
                KernelContext_GetInputCount(self.context, &raw mut count)
            );
            api.check(status)?;
            if index >= count {
                return Ok(None);
            }
            let status = call!(
                api,
                KernelContext_GetInput(self.context, index, &raw mut value)
            );
            api.check(status)?;
        }
        if value.is_null() {
            return Ok(None);
        }
        // SAFETY: the value is valid for `'a`, and nothing writes to the inputs of a node while its
        // kernel runs: outputs are other memory, since the operators allow no computation in place.
        unsafe {
            let shape = shape_of::<T>(api, value)?;
            let (data, length) = data::<T>(api, value.cast_mut(), &shape)?;
            let elements = slice::from_raw_parts(data.as_ptr(), length);
            Ok(Some(Tensor { shape, elements }))
        }
    }
}

/// The shape of a tensor whose elements are `T`.
///
/// # Safety
/// `value` must be valid, and belong to the ONNX Runtime of `api`.
unsafe fn shape_of<T: Element>(api: Api, value: *const OrtValue) -> Result<Vec<i64>, RuntimeError> {
    let mut info = ptr::null_mut();
    // An integer, because a later ONNX Runtime may have types that the enumeration lacks.
    let mut element = 0i32;
    // SAFETY: `value` is valid by the promise of the caller; `info` is ours to release.
    unsafe {
        api.check(call!(api, GetTensorTypeAndShape(value, &raw mut info)))?;
        let element_type = (&raw mut element).cast();
        let status = api.check(call!(api, GetTensorElementType(info, element_type)));
        let shape = status.and_then(|()| shape(api, info));
        call!(api, ReleaseTensorTypeAndShapeInfo(info));
        let shape = shape?;
        if element == T::TYPE as i32 {
            Ok(shape)
        } else {
            Err(RuntimeError(format!(
                "a tensor has elements of type {element}, expected {}",
                T::TYPE as i32
            )))
        }
    }
}

/// Address and number of the elements of a tensor.
///
/// # Safety
/// `value` must be a valid tensor of this shape and of type `T`, and belong to the ONNX Runtime of
/// `api`.
unsafe fn data<T: Element>(
    api: Api,
    value: *mut OrtValue,
    shape: &[i64],
) -> Result<(NonNull<T>, usize), RuntimeError> {
    let mut data = ptr::null_mut();
    // SAFETY: `value` is a valid tensor by the promise of the caller.
    unsafe { api.check(call!(api, GetTensorMutableData(value, &raw mut data)))? };
    let length = shape.iter().map(|&size| size as usize).product();
    match NonNull::new(data.cast::<T>()) {
        _ if length == 0 => Ok((NonNull::dangling(), 0)),
        Some(data) if data.is_aligned() => Ok((data, length)),
        _ => Err(RuntimeError(format!(
            "tensor data at {data:p} is misaligned for its element type"
        ))),
    }
}

/// The outputs of a call.
#[derive(Debug)]
pub(crate) struct KernelOutputs<'a> {
    api: Api,
    context: *mut OrtKernelContext,
    /// Indices of the outputs that were taken.
    taken: Vec<usize>,
    call: PhantomData<&'a OrtKernelContext>,
}

impl<'a> KernelOutputs<'a> {
    /// # Safety
    /// As for [`context`](super::context).
    pub(super) unsafe fn new(api: Api, context: *mut OrtKernelContext) -> Self {
        Self {
            api,
            context,
            taken: Vec::new(),
            call: PhantomData,
        }
    }

    /// Takes the memory of an output of this shape, if the output is requested. Its contents are
    /// unspecified.
    ///
    /// # Panics
    /// If it was taken before.
    pub(crate) fn tensor<T: Element>(
        &mut self,
        index: usize,
        shape: &[i64],
    ) -> Result<Option<&'a mut [T]>, RuntimeError> {
        assert!(!self.taken.contains(&index), "an output is taken once");
        self.taken.push(index);
        let api = self.api;
        let (mut count, mut value) = (0, ptr::null_mut());
        // SAFETY: the context is valid by the promise of `new`; an index below the count of
        // outputs gives null or a new tensor of this shape that lives as long.
        unsafe {
            let status = call!(
                api,
                KernelContext_GetOutputCount(self.context, &raw mut count)
            );
            api.check(status)?;
            if index >= count {
                return Ok(None);
            }
            let (dims, rank) = (shape.as_ptr(), shape.len());
            let status = call!(
                api,
                KernelContext_GetOutput(self.context, index, dims, rank, &raw mut value)
            );
            api.check(status)?;
        }
        if value.is_null() {
            return Ok(None);
        }
        // SAFETY: the tensor is valid for `'a`, `shape_of` checks its type, and by `taken` and
        // the promise of `new` this is the only reference to its memory, which has any bits in
        // it: any bits are values of `T`.
        unsafe {
            let shape = shape_of::<T>(api, value)?;
            let (data, length) = data::<T>(api, value, &shape)?;
            Ok(Some(slice::from_raw_parts_mut(data.as_ptr(), length)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;

    use ort_sys::OrtStatusPtr;
    use topk_ops::f16;

    use super::*;
    use crate::ffi::tests::table;

    #[test]
    fn misaligned_elements_are_an_error() {
        unsafe extern "system" fn odd(_: *mut OrtValue, data: *mut *mut c_void) -> OrtStatusPtr {
            // SAFETY: `data` is a place for a pointer.
            unsafe { data.write(ptr::without_provenance_mut(0x1002)) };
            OrtStatusPtr::default()
        }
        let mut table = table().clone();
        table.GetTensorMutableData = odd;
        let api = Api(NonNull::from(&table));
        // SAFETY: the function above does not read the value, and the elements are not read.
        unsafe {
            assert_eq!(data::<f16>(api, ptr::null_mut(), &[2, 3]).unwrap().1, 6);
            assert_eq!(data::<f32>(api, ptr::null_mut(), &[2, 0]).unwrap().1, 0);
            let error = data::<f32>(api, ptr::null_mut(), &[2, 3]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "tensor data at 0x1002 is misaligned for its element type"
            );
        }
    }
}
