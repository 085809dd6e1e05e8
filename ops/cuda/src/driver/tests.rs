//! A driver that records what it is told, without a device.

use std::cell::RefCell;

use super::*;
use crate::arguments::Arguments;

/// What a thread did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// The functions that were called, with what distinguishes the calls.
    pub(crate) calls: Vec<String>,
    pub(crate) launches: Vec<(String, [u32; 3], Arguments)>,
    /// The contexts that are current, the last one at the top.
    current: Vec<usize>,
    /// Kernels, by the number of their handle minus 1.
    functions: Vec<String>,
    /// The function that fails, and its error.
    fails: Option<(&'static str, Status)>,
    no_primary_context: bool,
}

thread_local! {
    static LOG: RefCell<Log> = RefCell::default();
}

/// The log of this thread, which begins anew.
pub(crate) fn take_log() -> Log {
    LOG.with_borrow_mut(|log| {
        let taken = log.clone();
        log.calls.clear();
        log.launches.clear();
        taken
    })
}

pub(crate) fn fail(function: &'static str, status: Status) {
    LOG.with_borrow_mut(|log| log.fails = Some((function, status)));
}

/// The context of the stream with handle 0x500 is 0x50, that of device 0 is 0xd0, and of device 1 0xd1. Memory of
/// device 1 begins at 0x10000.
fn record(function: &'static str, detail: &str) -> Status {
    LOG.with_borrow_mut(|log| {
        log.calls.push(format!("{function}{detail}"));
        match log.fails {
            Some((fails, status)) if fails == function => status,
            _ => 0,
        }
    })
}

fn handle(address: usize) -> *mut c_void {
    ptr::without_provenance_mut(address)
}

/// The device of a context.
fn device_of(context: usize) -> c_int {
    (context == 0xd1).into()
}

unsafe extern "system" fn init(_: c_uint) -> Status {
    record("cuInit", "")
}

unsafe extern "system" fn name(status: Status, text: *mut *const c_char) -> Status {
    let known = if status == 2 {
        c"CUDA_ERROR_OUT_OF_MEMORY"
    } else {
        return 1;
    };
    // SAFETY: a place for a pointer.
    unsafe { text.write(known.as_ptr()) };
    0
}

unsafe extern "system" fn description(_: Status, text: *mut *const c_char) -> Status {
    // SAFETY: a place for a pointer.
    unsafe { text.write(c"out of memory".as_ptr()) };
    0
}

unsafe extern "system" fn current(context: *mut Context) -> Status {
    let top = LOG.with_borrow(|log| log.current.last().copied().unwrap_or(0));
    // SAFETY: a place for a handle.
    unsafe { context.write(Context(handle(top))) };
    0
}

unsafe extern "system" fn push(context: Context) -> Status {
    LOG.with_borrow_mut(|log| log.current.push(context.0.addr()));
    record("push", &format!(" {:x}", context.0.addr()))
}

unsafe extern "system" fn pop(_: *mut Context) -> Status {
    LOG.with_borrow_mut(|log| log.current.pop());
    record("pop", "")
}

unsafe extern "system" fn current_device(device: *mut c_int) -> Status {
    let top = LOG.with_borrow(|log| log.current.last().copied().unwrap());
    // SAFETY: a place for a number.
    unsafe { device.write(device_of(top)) };
    0
}

unsafe extern "system" fn stream_context(stream: Stream, context: *mut Context) -> Status {
    assert_eq!(stream.0.addr(), 0x500);
    // SAFETY: a place for a handle.
    unsafe { context.write(Context(handle(0x50))) };
    0
}

unsafe extern "system" fn pointer(data: *mut c_void, attribute: c_int, address: u64) -> Status {
    assert_eq!(attribute, 9);
    // SAFETY: a place for an `int`.
    unsafe { data.cast::<c_int>().write((address >= 0x10000).into()) };
    0
}

unsafe extern "system" fn device(device: *mut c_int, ordinal: c_int) -> Status {
    // SAFETY: a place for a number.
    unsafe { device.write(ordinal) };
    0
}

unsafe extern "system" fn attribute(value: *mut c_int, attribute: c_int, _: c_int) -> Status {
    assert_eq!(attribute, 97);
    // SAFETY: a place for a number.
    unsafe { value.write(101_376) };
    record("attribute", "")
}

unsafe extern "system" fn primary_state(
    _: c_int,
    flags: *mut c_uint,
    active: *mut c_int,
) -> Status {
    let inactive = LOG.with_borrow(|log| log.no_primary_context);
    // SAFETY: places for numbers.
    unsafe {
        flags.write(0);
        active.write((!inactive).into());
    }
    0
}

unsafe extern "system" fn primary(context: *mut Context, device: c_int) -> Status {
    // SAFETY: a place for a handle.
    unsafe { context.write(Context(handle(0xd0 + device as usize))) };
    record("primary", "")
}

unsafe extern "system" fn load(module: *mut LoadedModule, ptx: *const c_void) -> Status {
    // SAFETY: the text is NUL-terminated, and `module` a place for a handle.
    let text = unsafe {
        module.write(LoadedModule(handle(0x77)));
        CStr::from_ptr(ptx.cast()).to_str().unwrap()
    };
    assert!(text.starts_with(".version "));
    record("load", &format!(" {}", text.matches(".entry").count()))
}

unsafe extern "system" fn function(
    function: *mut Function,
    _: LoadedModule,
    name: *const c_char,
) -> Status {
    // SAFETY: the name is NUL-terminated, and `function` a place for a handle.
    unsafe {
        let name = CStr::from_ptr(name).to_str().unwrap().to_owned();
        let number = LOG.with_borrow_mut(|log| {
            log.functions.push(name);
            log.functions.len()
        });
        function.write(Function(handle(number)));
    }
    record("function", "")
}

unsafe extern "system" fn function_attribute(_: Function, which: c_int, value: c_int) -> Status {
    assert_eq!(which, 8);
    record("opt in", &format!(" {value}"))
}

unsafe extern "system" fn capture_mode(mode: *mut c_int) -> Status {
    // SAFETY: a place for a number; the mode before was global.
    let new = unsafe { std::mem::replace(&mut *mode, 0) };
    record("mode", &format!(" {new}"))
}

unsafe extern "system" fn launch(
    function: Function,
    grid: c_uint,
    _: c_uint,
    _: c_uint,
    block: c_uint,
    _: c_uint,
    _: c_uint,
    shared: c_uint,
    _: Stream,
    parameters: *mut *mut c_void,
    _: *mut *mut c_void,
) -> Status {
    // SAFETY: kernels take `Arguments`.
    let arguments = unsafe { *parameters.read().cast::<Arguments>() };
    LOG.with_borrow_mut(|log| {
        let name = log.functions[function.0.addr() - 1].clone();
        log.launches.push((name, [grid, block, shared], arguments));
    });
    record("launch", "")
}

/// The recording driver.
pub(crate) fn recorder() -> Driver {
    Driver::with(Functions {
        cuInit: init,
        cuGetErrorName: name,
        cuGetErrorString: description,
        cuCtxGetCurrent: current,
        cuCtxPushCurrent_v2: push,
        cuCtxPopCurrent_v2: pop,
        cuCtxGetDevice: current_device,
        cuStreamGetCtx: stream_context,
        cuPointerGetAttribute: pointer,
        cuDeviceGet: device,
        cuDeviceGetAttribute: attribute,
        cuDevicePrimaryCtxGetState: primary_state,
        cuDevicePrimaryCtxRetain: primary,
        cuModuleLoadData: load,
        cuModuleGetFunction: function,
        cuFuncSetAttribute: function_attribute,
        cuThreadExchangeStreamCaptureMode: capture_mode,
        cuLaunchKernel: launch,
    })
    .unwrap()
}

/// The context in which a task runs, and the calls.
fn context(driver: &Driver, stream: usize, address: usize) -> (usize, Vec<String>) {
    take_log();
    // SAFETY: the recorder does not use them.
    let found: Result<usize, DriverError> = unsafe {
        driver.within(Stream(handle(stream)), handle(address), |context| {
            let top = LOG.with_borrow(|log| log.current.last().copied());
            assert_eq!(top, Some(context.0.addr()), "it is current");
            Ok(context.0.addr())
        })
    };
    (found.unwrap(), take_log().calls)
}

#[test]
fn kernels_run_in_the_context_of_the_stream() {
    let driver = recorder();
    assert_eq!(context(&driver, 0x500, 0x100).1, ["push 50", "pop"]);
    // No context is current: that of the memory's device.
    assert_eq!(context(&driver, 0, 0x100).1, ["primary", "push d0", "pop"]);
    assert_eq!(context(&driver, 2, 0x10000).0, 0xd1);
    // That of the same device is current; another stream's is made current for the call only.
    LOG.with_borrow_mut(|log| log.current.push(0xc0));
    assert_eq!(context(&driver, 0, 0x100), (0xc0, vec![]));
    assert_eq!(context(&driver, 0x500, 0x100).1, ["push 50", "pop"]);
    assert_eq!(
        context(&driver, 0, 0x10000).1,
        ["primary", "push d1", "pop"]
    );
    assert_eq!(LOG.with_borrow(|log| log.current.clone()), [0xc0]);
}

#[test]
fn a_context_is_never_created() {
    let driver = recorder();
    LOG.with_borrow_mut(|log| log.no_primary_context = true);
    take_log();
    // SAFETY: the recorder does not use them.
    let error = unsafe {
        driver.within(
            Stream::DEFAULT,
            handle(0x100),
            |_| Ok::<(), DriverError>(()),
        )
    };
    assert_eq!(error, Err(DriverError::NoContext { device: 0 }));
    assert!(take_log().calls.is_empty());
}

#[test]
fn failed_calls_are_named() {
    let driver = recorder();
    fail("load", 2);
    take_log();
    let error = driver.load_kernel(c".version 7.8", c"k", 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cuModuleLoadData failed: CUDA_ERROR_OUT_OF_MEMORY (out of memory)"
    );
    // The mode is set back.
    assert_eq!(take_log().calls, ["mode 2", "load 0", "mode 0"]);
    fail("function", 99);
    let error = driver.load_kernel(c".version 7.8", c"k", 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cuModuleGetFunction failed: error 99 (out of memory)"
    );
    fail("cuInit", 2);
    assert!(Driver::with(driver.functions).is_err());
}

#[test]
fn a_missing_driver_is_an_error() {
    if let Err(error) = Driver::get() {
        let text = error.to_string();
        assert!(
            text.starts_with("NVIDIA's driver cannot be loaded: libcuda.so.1"),
            "{text}"
        );
    }
}
