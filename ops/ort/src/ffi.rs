//! ONNX Runtime's C API, as far as operators need it, behind a safe interface.

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ort_sys::{
    ONNXTensorElementDataType, OrtApi, OrtErrorCode, OrtKernelContext, OrtKernelInfo,
    OrtOpAttrType, OrtShapeInferContext, OrtStatusPtr, OrtTensorTypeAndShapeInfo, OrtValue,
};
use thiserror::Error;
use topk_ops::{Executor, bf16, f16};

/// Version of the API that is used: that of ONNX Runtime 1.17, which all later ones have too.
pub(crate) const API_VERSION: u32 = 17;

/// The first ONNX Runtime 1.x whose shape inference of operators is used: with 1.20, a node without an
/// optional output or with an empty name for an optional input ends the process.
pub(crate) const SHAPE_INFERENCE: u32 = 31;

/// Calls a function of the table.
macro_rules! call {
    ($api:expr, $function:ident($($argument:expr),* $(,)?)) => {
        // Only this entry is read: the table of an older ONNX Runtime ends before the last ones.
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

/// What ONNX Runtime could not do, or handed over and is not usable.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub(crate) struct RuntimeError(String);

impl Api {
    /// # Safety
    /// The table must be that of [`API_VERSION`] or a later one, and stay for the rest of the process.
    pub(crate) unsafe fn new(table: *const OrtApi) -> Option<Self> {
        NonNull::new(table.cast_mut()).map(Self)
    }

    /// The result that a status stands for. The status is released.
    ///
    /// # Safety
    /// It must come from a function of this API, which gives it to the caller.
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

    /// A new status, for ONNX Runtime to release.
    pub(crate) fn status(self, code: OrtErrorCode, message: &str) -> OrtStatusPtr {
        let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
        // SAFETY: the message is NUL-terminated, and copied by the call.
        unsafe { call!(self, CreateStatus(code, message.as_ptr())) }
    }

    /// What a callback returns: the status of its result, or of its panic.
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

/// Rust types that are elements of ONNX tensors.
///
/// # Safety
/// Elements of tensors of type `TYPE` must be laid out as `Self`, and all their bits be values of it.
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

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    String(String),
    /// A list, a tensor or a graph.
    Other,
}

/// A node that a kernel is made for.
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

    /// An attribute, if the node has it.
    pub(crate) fn attribute(&self, name: &CStr) -> Result<Option<Attribute>, RuntimeError> {
        let Self { api, info, .. } = *self;
        let name = name.as_ptr();
        let (mut int, mut float, mut size) = (0, 0.0, 0);
        // SAFETY: `info` is valid by the promise of `new`, `name` is NUL-terminated and the others
        // are places to write to. A null pointer for the list or text asks for its size alone.
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
            // Of an attribute that is no list this is an empty list.
            let null = ptr::null_mut();
            let status = call!(
                api,
                KernelInfoGetAttributeArray_int64(info, name, null, &raw mut size)
            );
            Ok(api.check(status).is_ok().then_some(Attribute::Other))
        }
    }

    /// The text of a string attribute, which takes `size` bytes with the NUL at its end.
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

    /// Shape of an input as far as the model states it, with −1 for sizes that it does not; empty if
    /// it states none.
    pub(crate) fn input_shape(&self, index: usize) -> Result<Vec<i64>, RuntimeError> {
        let api = self.api;
        let mut owner = ptr::null_mut();
        let mut info = ptr::null();
        // SAFETY: `self.info` is valid by the promise of `new`. The type is ours to release, and
        // `info`, which is null if it is no tensor, is a part of it.
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

/// # Safety
/// `info` must be valid, and belong to the ONNX Runtime of `api`.
unsafe fn shape(
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

/// A node whose outputs' shapes are asked for before it is computed.
#[derive(Debug)]
pub(crate) struct ShapeInference<'a> {
    api: Api,
    context: *mut OrtShapeInferContext,
    node: PhantomData<&'a OrtShapeInferContext>,
}

impl<'a> ShapeInference<'a> {
    /// # Safety
    /// `context` must be valid for `'a`, and belong to the ONNX Runtime of `api`, which must be
    /// [`SHAPE_INFERENCE`] or later.
    pub(crate) unsafe fn new(api: Api, context: *mut OrtShapeInferContext) -> Self {
        let node = PhantomData;
        Self { api, context, node }
    }

    /// A string attribute of at most 7 bytes, if the node has it.
    pub(crate) fn short_string(&self, name: &CStr) -> Result<Option<String>, RuntimeError> {
        let api = self.api;
        let mut attribute = ptr::null();
        let mut text = [0u8; 8];
        let mut size = 0;
        // SAFETY: the context is valid by the promise of `new`, and the attribute as long. What is
        // written to `text` are at most its 8 bytes; of an attribute of another type it is nothing.
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

    /// Shape of an input, if it has this rank and each of its sizes a number or a name. (ONNX Runtime
    /// would take a size that has neither for the number −1.)
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

    /// Gives an output a shape, and the type of the first input.
    ///
    /// # Errors
    /// If the node lacks the output, among others.
    pub(crate) fn set_output(&self, output: usize, shape: &[Dim<'_>]) -> Result<(), RuntimeError> {
        let api = self.api;
        let first = self.input(0)?;
        let mut info = ptr::null_mut();
        let mut element = ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let sizes: Vec<i64> = shape.iter().map(|dim| dim.size).collect();
        let mut names: Vec<_> = shape.iter().map(|dim| dim.name.as_ptr()).collect();
        let rank = shape.len();
        // SAFETY: the context is valid by the promise of `new`, and `first` as long; its type is one of
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

    /// An input's type and shape, which the context owns.
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

/// A size of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dim<'a> {
    /// What counts if there is no name.
    pub(crate) size: i64,
    /// Empty if it has none.
    pub(crate) name: &'a CStr,
}

/// Takes apart what a kernel is called with.
///
/// # Safety
/// `context` must be that of a kernel of the ONNX Runtime of `api`, be valid for `'a`, and be taken
/// apart only once.
pub(crate) unsafe fn context<'a>(
    api: Api,
    context: *mut OrtKernelContext,
) -> (Inputs<'a>, Outputs<'a>, IntraOpThreads<'a>) {
    let call = PhantomData;
    let inputs = Inputs { api, context, call };
    let outputs = Outputs {
        api,
        context,
        given: Vec::new(),
        call,
    };
    (inputs, outputs, IntraOpThreads { api, context, call })
}

/// A tensor that a kernel reads.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a, T> {
    pub(crate) shape: Vec<i64>,
    /// Row-major.
    pub(crate) elements: &'a [T],
}

/// The inputs of a call.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    api: Api,
    context: *const OrtKernelContext,
    call: PhantomData<&'a OrtKernelContext>,
}

impl<'a> Inputs<'a> {
    /// An input, if the node has it.
    ///
    /// # Errors
    /// If it is no tensor of this type, or its elements are not aligned in memory.
    pub(crate) fn tensor<T: Element>(
        &self,
        index: usize,
    ) -> Result<Option<Tensor<'a, T>>, RuntimeError> {
        let api = self.api;
        let (mut count, mut value) = (0, ptr::null());
        // SAFETY: the context is valid by the promise of `context`; an index below the count of
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

/// Shape of a tensor whose elements are `T`.
///
/// # Safety
/// `value` must be valid, and belong to the ONNX Runtime of `api`.
unsafe fn shape_of<T: Element>(api: Api, value: *const OrtValue) -> Result<Vec<i64>, RuntimeError> {
    let mut info = ptr::null_mut();
    // A number, because a later ONNX Runtime may have types that the enumeration lacks.
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
                "a tensor holds elements of type {element}, expected {}",
                T::TYPE as i32
            )))
        }
    }
}

/// Where the elements of a tensor lie, and how many they are.
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
            "the elements of a tensor lie at address {data:p}, which is not aligned for their type"
        ))),
    }
}

/// The outputs of a call.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    api: Api,
    context: *mut OrtKernelContext,
    /// Indices of the outputs that were given out.
    given: Vec<usize>,
    call: PhantomData<&'a OrtKernelContext>,
}

impl<'a> Outputs<'a> {
    /// Memory for an output of this shape, if it is asked for. It holds any numbers.
    ///
    /// # Panics
    /// If it was given before.
    pub(crate) fn tensor<T: Element>(
        &mut self,
        index: usize,
        shape: &[i64],
    ) -> Result<Option<&'a mut [T]>, RuntimeError> {
        assert!(!self.given.contains(&index), "an output is given once");
        self.given.push(index);
        let api = self.api;
        let (mut count, mut value) = (0, ptr::null_mut());
        // SAFETY: the context is valid by the promise of `context`; an index below the count of
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
        // SAFETY: the tensor is valid for `'a`, `shape_of` makes sure of its type, and by `given` and
        // the promise of `context` this is the only reference to its memory, which has any bits in
        // it: any bits are values of `T`.
        unsafe {
            let shape = shape_of::<T>(api, value)?;
            let (data, length) = data::<T>(api, value, &shape)?;
            Ok(Some(slice::from_raw_parts_mut(data.as_ptr(), length)))
        }
    }
}

/// The threads that ONNX Runtime has for the work within a node.
#[derive(Debug)]
pub(crate) struct IntraOpThreads<'a> {
    api: Api,
    context: *const OrtKernelContext,
    call: PhantomData<&'a OrtKernelContext>,
}

/// Tasks that the threads share.
struct Tasks<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    /// Which tasks were begun.
    begun: Vec<AtomicBool>,
    /// The first panic.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Tasks<'_> {
    /// Runs a task unless it was begun before.
    fn run(&self, index: usize) {
        if self.begun[index].swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.task)(index))) {
            let mut first = self.panic.lock().expect("nothing panics with it locked");
            first.get_or_insert(panic);
        }
    }
}

impl Executor for IntraOpThreads<'_> {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        unsafe extern "C" fn run(tasks: *mut c_void, index: usize) {
            // SAFETY: `for_each` passes its `Tasks`, which outlive the parallel loop.
            unsafe { (*tasks.cast::<Tasks<'_>>()).run(index) }
        }
        let shared = Tasks {
            task,
            begun: (0..tasks).map(|_| AtomicBool::new(false)).collect(),
            panic: Mutex::new(None),
        };
        let data = (&raw const shared).cast_mut().cast();
        // SAFETY: the context is valid by the promise of `context`; `run` is called with `data`, which
        // is only read and may be shared, and not after the call has returned.
        let result = unsafe {
            let status = call!(
                self.api,
                KernelContext_ParallelFor(self.context, run, tasks, 0, data)
            );
            self.api.check(status)
        };
        if result.is_err() {
            (0..tasks).for_each(|index| shared.run(index));
        }
        let panic = shared.panic.into_inner();
        if let Some(panic) = panic.expect("nothing panics with it locked") {
            resume_unwind(panic);
        }
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

    fn api() -> Api {
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

    #[test]
    fn elements_that_are_not_aligned_are_refused() {
        unsafe extern "system" fn odd(_: *mut OrtValue, data: *mut *mut c_void) -> OrtStatusPtr {
            // SAFETY: `data` is a place for a pointer.
            unsafe { data.write(ptr::without_provenance_mut(0x1002)) };
            OrtStatusPtr::default()
        }
        let mut table = table().clone();
        table.GetTensorMutableData = odd;
        let api = Api(NonNull::from(&table));
        // SAFETY: the function above does not look at the value, nor are the elements.
        unsafe {
            assert_eq!(data::<f16>(api, ptr::null_mut(), &[2, 3]).unwrap().1, 6);
            assert_eq!(data::<f32>(api, ptr::null_mut(), &[2, 0]).unwrap().1, 0);
            let error = data::<f32>(api, ptr::null_mut(), &[2, 3]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the elements of a tensor lie at address 0x1002, which is not aligned for their type"
            );
        }
    }

    unsafe extern "system" fn backwards(
        _: *const OrtKernelContext,
        run: unsafe extern "C" fn(*mut c_void, usize),
        total: usize,
        _: usize,
        data: *mut c_void,
    ) -> OrtStatusPtr {
        // SAFETY: it is called as the loop asks for.
        (0..total)
            .rev()
            .for_each(|index| unsafe { run(data, index) });
        OrtStatusPtr::default()
    }

    /// Runs two of the tasks and fails.
    unsafe extern "system" fn partly(
        context: *const OrtKernelContext,
        run: unsafe extern "C" fn(*mut c_void, usize),
        total: usize,
        batches: usize,
        data: *mut c_void,
    ) -> OrtStatusPtr {
        // SAFETY: as above.
        let _ = unsafe { backwards(context, run, total.min(2), batches, data) };
        api().status(OrtErrorCode::ORT_FAIL, "no threads")
    }

    #[test]
    fn every_task_runs_once() {
        for parallel_for in [backwards, partly] {
            let mut table = table().clone();
            table.KernelContext_ParallelFor = parallel_for;
            let threads = IntraOpThreads {
                api: Api(NonNull::from(&table)),
                context: ptr::null(),
                call: PhantomData,
            };
            for tasks in [0, 1, 2, 9] {
                let runs: Vec<_> = (0..tasks).map(|_| Mutex::new(0)).collect();
                threads.for_each(tasks, &|index| *runs[index].lock().unwrap() += 1);
                assert!(runs.iter().all(|runs| *runs.lock().unwrap() == 1));
            }
            let runs = Mutex::new(0);
            let panic = catch_unwind(AssertUnwindSafe(|| {
                threads.for_each(5, &|index| {
                    *runs.lock().unwrap() += 1;
                    if index == 1 {
                        resume_unwind(Box::new("task 1"));
                    }
                });
            }));
            assert_eq!(panic_text(&*panic.unwrap_err()), "task 1");
            assert_eq!(*runs.lock().unwrap(), 5);
        }
    }
}
