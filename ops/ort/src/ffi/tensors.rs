use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use ort_sys::{OrtAllocator, OrtKernelContext, OrtValue};

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

    /// An input, if the node has it.
    fn value(&self, index: usize) -> Result<Option<*const OrtValue>, RuntimeError> {
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
        Ok((!value.is_null()).then_some(value))
    }

    /// Reads an input, if the node has it.
    ///
    /// # Errors
    /// If it is not a tensor of this type, or its elements are misaligned.
    pub(crate) fn tensor<T: Element>(
        &self,
        index: usize,
    ) -> Result<Option<Tensor<'a, T>>, RuntimeError> {
        let Some(value) = self.value(index)? else {
            return Ok(None);
        };
        // SAFETY: the value is valid for `'a`, and nothing writes to the inputs of a node while its
        // kernel runs: outputs are other memory, since the operators allow no computation in place.
        unsafe {
            let shape = shape_of::<T>(self.api, value)?;
            let (data, length) = data::<T>(self.api, value.cast_mut(), &shape)?;
            let elements = slice::from_raw_parts(data.as_ptr(), length);
            Ok(Some(Tensor { shape, elements }))
        }
    }

    /// The shape and the address of an input in device memory, if the node has it.
    ///
    /// # Errors
    /// As for [`tensor`](Self::tensor).
    pub(crate) fn device_tensor<T: Element>(
        &self,
        index: usize,
    ) -> Result<Option<DeviceTensor<T>>, RuntimeError> {
        let Some(value) = self.value(index)? else {
            return Ok(None);
        };
        // SAFETY: the value is valid for `'a`.
        unsafe {
            let shape = shape_of::<T>(self.api, value)?;
            let (data, _) = data::<T>(self.api, value.cast_mut(), &shape)?;
            let data = data.as_ptr().cast_const();
            Ok(Some(DeviceTensor { shape, data }))
        }
    }

    /// ONNX Runtime's stream on the GPU, on which its own kernels work.
    pub(crate) fn stream(&self) -> Result<*mut c_void, RuntimeError> {
        let mut stream = ptr::null_mut();
        // SAFETY: the context is valid by the promise of `new`.
        unsafe {
            let status = call!(
                self.api,
                KernelContext_GetGPUComputeStream(self.context, &raw mut stream)
            );
            self.api.check(status)?;
        }
        Ok(stream)
    }

    /// Allocates memory beside that of an input, for work on the stream. The allocator gives it to others when it is
    /// dropped, which work on this stream later, or wait for it.
    pub(crate) fn scratch(&self, beside: usize, bytes: usize) -> Result<Scratch<'a>, RuntimeError> {
        let api = self.api;
        let value = self.value(beside)?;
        let value = value.ok_or_else(|| RuntimeError("an input is missing".to_owned()))?;
        let mut scratch = Scratch {
            api,
            memory: ptr::null_mut(),
            allocator: ptr::null_mut(),
            call: PhantomData,
        };
        if bytes == 0 {
            return Ok(scratch);
        }
        let mut location = ptr::null();
        // SAFETY: the context and the value are valid by the promise of `new`, and the location is a part of the value.
        // This is called only where the table has these functions.
        unsafe {
            let status = call!(api, GetTensorMemoryInfo(value, &raw mut location));
            api.check(status)?;
            let allocator = &raw mut scratch.allocator;
            let status = call!(
                api,
                KernelContext_GetAllocator(self.context, location, allocator)
            );
            api.check(status)?;
            let memory = &raw mut scratch.memory;
            let status = call!(
                api,
                KernelContext_GetScratchBuffer(self.context, location, bytes, memory)
            );
            api.check(status)?;
        }
        Ok(scratch)
    }
}

/// A tensor in device memory.
#[derive(Clone, Debug)]
pub(crate) struct DeviceTensor<T> {
    pub(crate) shape: Vec<i64>,
    /// Row-major. An empty tensor may have any address here.
    pub(crate) data: *const T,
}

/// Memory for the time of a call.
#[derive(Debug)]
pub(crate) struct Scratch<'a> {
    api: Api,
    memory: *mut c_void,
    allocator: *mut OrtAllocator,
    call: PhantomData<&'a OrtKernelContext>,
}

impl Scratch<'_> {
    /// Its address; null if it has no bytes.
    pub(crate) fn address(&self) -> *mut c_void {
        self.memory
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if self.allocator.is_null() {
            return;
        }
        // SAFETY: the allocator is ours to release, and allocated the memory.
        unsafe {
            if let Some(free) = (*self.allocator).Free
                && !self.memory.is_null()
            {
                free(self.allocator, self.memory);
            }
            call!(self.api, ReleaseAllocator(self.allocator));
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

    /// Takes an output of this shape, if it is requested.
    ///
    /// # Panics
    /// If it was taken before.
    fn value(
        &mut self,
        index: usize,
        shape: &[i64],
    ) -> Result<Option<*mut OrtValue>, RuntimeError> {
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
        Ok((!value.is_null()).then_some(value))
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
        let Some(value) = self.value(index, shape)? else {
            return Ok(None);
        };
        // SAFETY: the tensor is valid for `'a`, `shape_of` checks its type, and by `taken` and
        // the promise of `new` this is the only reference to its memory, which has any bits in
        // it: any bits are values of `T`.
        unsafe {
            let shape = shape_of::<T>(self.api, value)?;
            let (data, length) = data::<T>(self.api, value, &shape)?;
            Ok(Some(slice::from_raw_parts_mut(data.as_ptr(), length)))
        }
    }

    /// Takes the address of an output in device memory, if the output is requested; dangling if it has no elements.
    ///
    /// # Panics
    /// As for [`tensor`](Self::tensor).
    pub(crate) fn device_tensor<T: Element>(
        &mut self,
        index: usize,
        shape: &[i64],
    ) -> Result<Option<*mut T>, RuntimeError> {
        let Some(value) = self.value(index, shape)? else {
            return Ok(None);
        };
        // SAFETY: the tensor is valid for `'a`, and `shape_of` checks its type.
        unsafe {
            let shape = shape_of::<T>(self.api, value)?;
            let (data, _) = data::<T>(self.api, value, &shape)?;
            Ok(Some(data.as_ptr()))
        }
    }
}

#[cfg(test)]
mod tests {
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
