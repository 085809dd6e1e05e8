//! Memory of the first device of this machine, through the driver library.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

use libloading::os::unix::{Library, RTLD_NOW, Symbol};

/// The first device, whose primary context stays current on this thread.
pub struct Device {
    driver: Library,
}

/// An array on the device.
pub struct Array<'a> {
    device: &'a Device,
    address: u64,
    bytes: usize,
}

impl Device {
    /// The reason why there is none is an error.
    pub fn open() -> Result<Self, String> {
        // SAFETY: the driver's initialisers only set up its own state.
        let driver = unsafe { Library::open(Some("libcuda.so.1"), RTLD_NOW) }
            .map_err(|_| "NVIDIA's driver is not installed".to_owned())?;
        let device = Self { driver };
        let (mut index, mut context) = (0, ptr::null_mut());
        // SAFETY: the functions have these signatures in every driver. The pointers are to variables that outlive the calls.
        unsafe {
            let initialize: Symbol<unsafe extern "C" fn(c_uint) -> c_int> = device.get(b"cuInit\0");
            let get: Symbol<unsafe extern "C" fn(*mut c_int, c_int) -> c_int> =
                device.get(b"cuDeviceGet\0");
            let retain: Symbol<unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int> =
                device.get(b"cuDevicePrimaryCtxRetain\0");
            let push: Symbol<unsafe extern "C" fn(*mut c_void) -> c_int> =
                device.get(b"cuCtxPushCurrent_v2\0");
            if initialize(0) != 0 || get(&raw mut index, 0) != 0 {
                return Err("this machine has no NVIDIA GPU".to_owned());
            }
            assert_eq!(retain(&raw mut context, index), 0);
            assert_eq!(push(context), 0);
        }
        Ok(device)
    }

    /// # Safety
    /// `T` must be the function's type.
    unsafe fn get<T>(&self, name: &[u8]) -> Symbol<T> {
        // SAFETY: the caller's promise.
        unsafe { self.driver.get(name) }.expect("every driver has the function")
    }

    /// Copies bytes to the device.
    pub fn array(&self, bytes: &[u8]) -> Array<'_> {
        let mut address = 0;
        // SAFETY: as above. At least one byte is allocated, and as many bytes are copied as both have.
        unsafe {
            let allocate: Symbol<unsafe extern "C" fn(*mut u64, usize) -> c_int> =
                self.get(b"cuMemAlloc_v2\0");
            let copy: Symbol<unsafe extern "C" fn(u64, *const c_void, usize) -> c_int> =
                self.get(b"cuMemcpyHtoD_v2\0");
            assert_eq!(allocate(&raw mut address, bytes.len().max(1)), 0);
            assert_eq!(copy(address, bytes.as_ptr().cast(), bytes.len()), 0);
        }
        Array {
            device: self,
            address,
            bytes: bytes.len(),
        }
    }
}

impl Array<'_> {
    pub fn pointer<T>(&self) -> *mut T {
        ptr::with_exposed_provenance_mut(self.address as usize)
    }

    /// Waits for all work of the default stream, and copies the array back.
    pub fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes];
        // SAFETY: as many bytes are copied as both have.
        unsafe {
            let copy: Symbol<unsafe extern "C" fn(*mut c_void, u64, usize) -> c_int> =
                self.device.get(b"cuMemcpyDtoH_v2\0");
            assert_eq!(copy(bytes.as_mut_ptr().cast(), self.address, self.bytes), 0);
        }
        bytes
    }
}

impl Drop for Array<'_> {
    fn drop(&mut self) {
        // SAFETY: the array was allocated, and is not used afterwards.
        unsafe {
            let free: Symbol<unsafe extern "C" fn(u64) -> c_int> =
                self.device.get(b"cuMemFree_v2\0");
            free(self.address);
        }
    }
}
