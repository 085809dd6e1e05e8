use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use tch::kind::Element;
use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

use crate::call::{check, scalar_type, tensor_pointers, tensor_result};

/// A stream of libtorch.
#[repr(C)]
struct RawStream([u8; 0]);

/// An event of libtorch.
#[repr(C)]
struct RawEvent([u8; 0]);

unsafe extern "C" {
    fn topk_new_stream(index: c_int, result: *mut *mut RawStream) -> *mut c_char;
    fn topk_free_stream(stream: *mut RawStream);
    fn topk_free_event(event: *mut RawEvent);
    fn topk_staged(
        data: *const c_void,
        bytes: usize,
        sizes: *const i64,
        dims: usize,
        dtype: i8,
        pinned: bool,
        result: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn topk_upload(
        stream: *const RawStream,
        tensors: *const *const C_tensor,
        count: usize,
        results: *mut *mut C_tensor,
        event: *mut *mut RawEvent,
    ) -> *mut c_char;
    fn topk_await(
        event: *const RawEvent,
        tensors: *const *const C_tensor,
        count: usize,
    ) -> *mut c_char;
}

/// Copies tensors from host memory to a device while it computes: on a GPU, from page-locked memory and on a stream of
/// its own. On the CPU, nothing is copied.
#[derive(Debug)]
pub struct CopyStream {
    /// Null on the CPU.
    stream: *mut RawStream,
}

// SAFETY: the stream is an immutable number of libtorch's, and its functions may be called from any thread.
unsafe impl Send for CopyStream {}
// SAFETY: as above.
unsafe impl Sync for CopyStream {}

impl Drop for CopyStream {
    fn drop(&mut self) {
        // SAFETY: null, or made by `topk_new_stream` and owned by this.
        unsafe { topk_free_stream(self.stream) }
    }
}

impl CopyStream {
    /// A stream for copies to this device, whose library is [loaded](crate::select_device).
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn new(device: Device) -> Result<Self, TchError> {
        let mut stream = ptr::null_mut();
        if let Device::Cuda(index) = device {
            // SAFETY: the pointer outlives the call, which catches exceptions.
            unsafe { check(topk_new_stream(index as c_int, &mut stream)) }?;
        }
        Ok(Self { stream })
    }

    /// A tensor of this shape in host memory, from which [`upload`](Self::upload) copies without waiting, with these
    /// elements.
    ///
    /// # Errors
    /// If the shape has another number of elements, or memory is exhausted.
    ///
    /// # Panics
    /// For other elements than `u8`, `i64` and `f32`.
    pub fn stage<T: Element>(&self, elements: &[T], shape: &[i64]) -> Result<Tensor, TchError> {
        let mut result = ptr::null_mut();
        // SAFETY: both slices outlive the call, which copies as many bytes as the first has, and catches exceptions.
        unsafe {
            let error = topk_staged(
                elements.as_ptr().cast(),
                size_of_val(elements),
                shape.as_ptr(),
                shape.len(),
                scalar_type(T::KIND),
                !self.stream.is_null(),
                &mut result,
            );
            tensor_result(error, result)
        }
    }

    /// Starts copies of [staged](Self::stage) tensors to the device. Any thread may call this.
    ///
    /// # Errors
    /// If libtorch fails, such as without memory on the device.
    pub fn upload(&self, tensors: Vec<Tensor>) -> Result<Upload, TchError> {
        let mut event = ptr::null_mut();
        if self.stream.is_null() {
            return Ok(Upload { tensors, event });
        }
        let pointers = tensor_pointers(&tensors);
        let mut results = vec![ptr::null_mut(); tensors.len()];
        // SAFETY: all arrays have this many elements, and the tensors are live; the C++ side catches exceptions, and
        // makes new tensors and an event if there was none.
        let tensors = unsafe {
            check(topk_upload(
                self.stream,
                pointers.as_ptr(),
                pointers.len(),
                results.as_mut_ptr(),
                &mut event,
            ))?;
            results.into_iter().map(|result| Tensor::from_ptr(result))
        };
        Ok(Upload {
            tensors: tensors.collect(),
            event,
        })
    }
}

/// Tensors on the way to a device.
#[derive(Debug)]
pub struct Upload {
    tensors: Vec<Tensor>,
    /// Null on the CPU.
    event: *mut RawEvent,
}

// SAFETY: an event and tensors of libtorch may be used by another thread than the one that made them.
unsafe impl Send for Upload {}

impl Drop for Upload {
    fn drop(&mut self) {
        // SAFETY: null, or made by `topk_upload` and owned by this.
        unsafe { topk_free_event(self.event) }
    }
}

impl Upload {
    /// The tensors on the device, in the order of [`CopyStream::upload`], for operations on the calling thread's current
    /// stream. The device waits for the copies, and the caller does not.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn tensors(&self) -> Result<Vec<Tensor>, TchError> {
        if !self.event.is_null() {
            let pointers = tensor_pointers(&self.tensors);
            // SAFETY: the event and this many tensors are live; the C++ side catches exceptions.
            unsafe { check(topk_await(self.event, pointers.as_ptr(), pointers.len())) }?;
        }
        Ok(self.tensors.iter().map(Tensor::shallow_clone).collect())
    }
}
