//! NVIDIA's driver library, opened when it is first needed: the functions that the kernels take to be launched.
//!
//! Linking it would make programs fail to start where it is missing.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;
use thiserror::Error;

/// A call of the driver cannot be made, or failed.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum DriverError {
    /// The driver is not installed.
    #[error("NVIDIA's driver cannot be loaded: {0}. Install it, or compute the loss on the CPU")]
    NoDriver(String),
    /// The driver is too old.
    #[error("NVIDIA's driver lacks {0}: install version 520 or later (CUDA 11.8)")]
    TooOld(&'static str),
    /// A call failed.
    #[error("{function} failed: {name} ({description})")]
    Call {
        /// The driver's function.
        function: &'static str,
        /// Name of the error, such as `CUDA_ERROR_OUT_OF_MEMORY`.
        name: String,
        /// The driver's description of it.
        description: String,
    },
    /// The scores are on a device without a context, which a default stream needs.
    #[error(
        "device {device} has no CUDA context: use the device before (allocate memory on it), or make a context \
         of it current"
    )]
    NoContext {
        /// Index of the device.
        device: i32,
    },
}

/// A handle of the driver; only the driver dereferences it.
macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(transparent)]
        pub(crate) struct $name(pub(crate) *mut c_void);

        // SAFETY: the driver's functions may be called with it on any thread.
        unsafe impl Send for $name {}
    )*};
}

handles! {
    Context,
    LoadedModule,
    Function,
}

/// A stream of CUDA, on which work is done in order: a `CUstream` or `cudaStream_t`, which are the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(transparent)]
pub struct Stream(*mut c_void);

impl Stream {
    /// The default stream of the current context.
    pub const DEFAULT: Self = Self(ptr::null_mut());

    /// A stream that others created.
    ///
    /// PyTorch has it as `torch.cuda.current_stream().cuda_stream`, ONNX Runtime as `KernelContext_GetGPUComputeStream`.
    pub fn from_raw(stream: *mut c_void) -> Self {
        Self(stream)
    }

    /// Whether it is a default stream, of which each context has its own under the same handle.
    fn is_default(self) -> bool {
        // Null, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD.
        self.0.addr() <= 2
    }
}

type Status = c_int;
const MAX_DYNAMIC_SHARED_SIZE_BYTES: c_int = 8;
const MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: c_int = 97;
const POINTER_DEVICE_ORDINAL: c_int = 9;
const CAPTURE_MODE_RELAXED: c_int = 2;

macro_rules! functions {
    ($($name:ident($($argument:ty),*);)*) => {
        /// The driver's functions.
        #[allow(non_snake_case, reason = "the driver's names")]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Functions {
            $(pub(crate) $name: unsafe extern "system" fn($($argument),*) -> Status,)*
        }

        impl Functions {
            /// Looks them up.
            fn of(library: &Library) -> Result<Self, DriverError> {
                Ok(Self {
                    // SAFETY: the functions have these signatures in every driver that has them.
                    $($name: unsafe {
                        *library
                            .get(concat!(stringify!($name), "\0"))
                            .map_err(|_| DriverError::TooOld(stringify!($name)))?
                    },)*
                })
            }
        }
    };
}

functions! {
    cuInit(c_uint);
    cuGetErrorName(Status, *mut *const c_char);
    cuGetErrorString(Status, *mut *const c_char);
    cuCtxGetCurrent(*mut Context);
    cuCtxPushCurrent_v2(Context);
    cuCtxPopCurrent_v2(*mut Context);
    cuCtxGetDevice(*mut c_int);
    cuStreamGetCtx(Stream, *mut Context);
    cuPointerGetAttribute(*mut c_void, c_int, u64);
    cuDeviceGet(*mut c_int, c_int);
    cuDeviceGetAttribute(*mut c_int, c_int, c_int);
    cuDevicePrimaryCtxGetState(c_int, *mut c_uint, *mut c_int);
    cuDevicePrimaryCtxRetain(*mut Context, c_int);
    cuModuleLoadData(*mut LoadedModule, *const c_void);
    cuModuleGetFunction(*mut Function, LoadedModule, *const c_char);
    cuFuncSetAttribute(Function, c_int, c_int);
    cuThreadExchangeStreamCaptureMode(*mut c_int);
    cuLaunchKernel(
        Function, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Stream, *mut *mut c_void,
        *mut *mut c_void
    );
}

/// The driver of this machine.
#[derive(Debug)]
pub(crate) struct Driver {
    functions: Functions,
}

/// Calls a function and converts its status.
macro_rules! call {
    ($driver:expr, $function:ident($($argument:expr),* $(,)?)) => {
        $driver.check(stringify!($function), ($driver.functions.$function)($($argument),*))
    };
}

impl Driver {
    /// The driver, which is loaded once and stays.
    pub(crate) fn get() -> Result<&'static Self, DriverError> {
        static DRIVER: OnceLock<Result<Driver, DriverError>> = OnceLock::new();
        DRIVER
            .get_or_init(Self::load)
            .as_ref()
            .map_err(Clone::clone)
    }

    fn load() -> Result<Self, DriverError> {
        let name = if cfg!(windows) {
            "nvcuda.dll"
        } else {
            "libcuda.so.1"
        };
        // SAFETY: the driver's initialisers only set up its own state.
        let library =
            unsafe { Library::new(name) }.map_err(|error| DriverError::NoDriver(cause(&error)))?;
        let functions = Functions::of(&library);
        #[expect(clippy::mem_forget, reason = "the library stays loaded")]
        std::mem::forget(library);
        Self::with(functions?)
    }

    /// A driver with these functions.
    pub(crate) fn with(functions: Functions) -> Result<Self, DriverError> {
        let driver = Self { functions };
        // SAFETY: the first call, which may be repeated.
        unsafe { call!(driver, cuInit(0))? };
        Ok(driver)
    }

    fn check(&self, function: &'static str, status: Status) -> Result<(), DriverError> {
        if status == 0 {
            return Ok(());
        }
        let text = |get: unsafe extern "system" fn(Status, *mut *const c_char) -> Status| {
            let mut text = ptr::null();
            // SAFETY: `text` is a place for a pointer, which is to a static text unless the call fails.
            unsafe {
                if get(status, &raw mut text) != 0 || text.is_null() {
                    return format!("error {status}");
                }
                CStr::from_ptr(text).to_string_lossy().into_owned()
            }
        };
        Err(DriverError::Call {
            function,
            name: text(self.functions.cuGetErrorName),
            description: text(self.functions.cuGetErrorString),
        })
    }

    /// Runs `task` with the context current that a stream belongs to. The default streams belong to the current context
    /// if that is one of the device that owns the memory at `address`, and otherwise to that device's primary context,
    /// in which PyTorch and ONNX Runtime work. No context is created.
    ///
    /// # Safety
    /// The stream must be valid, and `address` be that of device memory.
    pub(crate) unsafe fn within<T, E: From<DriverError>>(
        &self,
        stream: Stream,
        address: *const c_void,
        task: impl FnOnce(Context) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut current = Context(ptr::null_mut());
        // SAFETY: places to write to; the stream is valid by the promise of the caller.
        let context = unsafe {
            call!(self, cuCtxGetCurrent(&raw mut current))?;
            if stream.is_default() {
                self.context_of_default(current, address)?
            } else {
                let mut context = Context(ptr::null_mut());
                call!(self, cuStreamGetCtx(stream, &raw mut context))?;
                context
            }
        };
        if context == current {
            return task(context);
        }
        /// Restores the context that was current, also after a panic.
        struct Popped<'a>(&'a Driver);

        impl Drop for Popped<'_> {
            fn drop(&mut self) {
                let mut popped = Context(ptr::null_mut());
                // SAFETY: a place to write to. The call fails only if the context was destroyed meanwhile.
                unsafe { (self.0.functions.cuCtxPopCurrent_v2)(&raw mut popped) };
            }
        }

        // SAFETY: the context is alive: the stream belongs to it, or the device's memory.
        unsafe { call!(self, cuCtxPushCurrent_v2(context))? };
        let _popped = Popped(self);
        task(context)
    }

    /// # Safety
    /// `address` must be that of device memory.
    unsafe fn context_of_default(
        &self,
        current: Context,
        address: *const c_void,
    ) -> Result<Context, DriverError> {
        let (mut device, mut of_current) = (0, -1);
        // SAFETY: places to write to; the attribute is an `int`. A device that owns memory exists, and its
        // primary context, once active, stays as long as others use it.
        unsafe {
            call!(
                self,
                cuPointerGetAttribute(
                    (&raw mut device).cast(),
                    POINTER_DEVICE_ORDINAL,
                    address.addr() as u64
                )
            )?;
            if !current.0.is_null() {
                call!(self, cuCtxGetDevice(&raw mut of_current))?;
            }
            let mut handle = 0;
            call!(self, cuDeviceGet(&raw mut handle, device))?;
            if of_current == handle {
                return Ok(current);
            }
            let (mut flags, mut active) = (0, 0);
            call!(
                self,
                cuDevicePrimaryCtxGetState(handle, &raw mut flags, &raw mut active)
            )?;
            if active == 0 {
                return Err(DriverError::NoContext { device });
            }
            let mut context = Context(ptr::null_mut());
            call!(self, cuDevicePrimaryCtxRetain(&raw mut context, handle))?;
            Ok(context)
        }
    }

    /// Bytes of shared memory that a block of the current context's device can opt in to.
    pub(crate) fn shared_memory(&self) -> Result<usize, DriverError> {
        let (mut device, mut bytes) = (0, 0);
        // SAFETY: places to write to.
        unsafe {
            call!(self, cuCtxGetDevice(&raw mut device))?;
            let attribute = MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
            call!(
                self,
                cuDeviceGetAttribute(&raw mut bytes, attribute, device)
            )?;
        }
        Ok(usize::try_from(bytes).unwrap_or(0))
    }

    /// Compiles PTX for the current context's device and returns one of its kernels, which may be launched with up to
    /// `shared` bytes of dynamic shared memory, if that is not 0. The module stays loaded.
    ///
    /// This also works while streams are captured into a graph.
    pub(crate) fn load_kernel(
        &self,
        ptx: &CStr,
        kernel: &CStr,
        shared: u32,
    ) -> Result<Function, DriverError> {
        let (mut module, mut function) = (LoadedModule(ptr::null_mut()), Function(ptr::null_mut()));
        let mut mode = CAPTURE_MODE_RELAXED;
        // SAFETY: places to write to and NUL-terminated texts. The mode of this thread is set back. It only decides
        // whether calls that might synchronise are errors during capture; loading a module does not use a stream.
        unsafe {
            call!(self, cuThreadExchangeStreamCaptureMode(&raw mut mode))?;
            let loaded = call!(self, cuModuleLoadData(&raw mut module, ptx.as_ptr().cast()))
                .and_then(|()| {
                    call!(
                        self,
                        cuModuleGetFunction(&raw mut function, module, kernel.as_ptr())
                    )
                })
                .and_then(|()| match c_int::try_from(shared) {
                    Ok(bytes) if bytes > 0 => {
                        let attribute = MAX_DYNAMIC_SHARED_SIZE_BYTES;
                        call!(self, cuFuncSetAttribute(function, attribute, bytes))
                    }
                    _ => Ok(()),
                });
            let restored = call!(self, cuThreadExchangeStreamCaptureMode(&raw mut mode));
            loaded.and(restored).map(|()| function)
        }
    }

    /// Launches a kernel with one parameter.
    ///
    /// # Safety
    /// The function must be of the current context, to which `stream` belongs; its only parameter must have the layout
    /// of `P`, and it must be sound to run it with this value.
    pub(crate) unsafe fn launch<P>(
        &self,
        function: Function,
        [grid, block, shared]: [u32; 3],
        stream: Stream,
        parameter: &P,
    ) -> Result<(), DriverError> {
        let mut parameters = [(&raw const *parameter).cast_mut().cast::<c_void>()];
        // SAFETY: the caller's promise. The driver copies the parameter before the call returns.
        unsafe {
            call!(
                self,
                cuLaunchKernel(
                    function,
                    grid,
                    1,
                    1,
                    block,
                    1,
                    1,
                    shared,
                    stream,
                    parameters.as_mut_ptr(),
                    ptr::null_mut(),
                )
            )
        }
    }
}

/// The dynamic linker's own message.
fn cause(error: &libloading::Error) -> String {
    use std::error::Error;
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
pub(crate) mod tests;
