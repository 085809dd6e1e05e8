//! The kernels of each context, loaded when they are first needed.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use crate::CudaError;
use crate::driver::{Context, Driver, Function};
use crate::plan::{DeviceLimits, Launch, largest_dynamic};
use crate::ptx::{DamagedPtx, text};

/// The contexts that kernels were used in.
///
/// Contexts are never removed: those that PyTorch and ONNX Runtime work in exist as long as the process.
#[derive(Debug, Default)]
pub(crate) struct Kernels(Mutex<Vec<OfContext>>);

#[derive(Debug)]
struct OfContext {
    context: Context,
    limits: DeviceLimits,
    functions: Vec<(&'static str, Function)>,
}

impl Kernels {
    /// Those of this process.
    pub(crate) fn get() -> &'static Self {
        static KERNELS: Kernels = Kernels(Mutex::new(Vec::new()));
        &KERNELS
    }

    /// What the device of the current context can do.
    pub(crate) fn limits(
        &self,
        driver: &Driver,
        context: Context,
    ) -> Result<DeviceLimits, CudaError> {
        self.with(driver, context, |kernels| Ok(kernels.limits))
    }

    /// The kernel of a launch in the current context.
    pub(crate) fn function(
        &self,
        driver: &Driver,
        context: Context,
        launch: &Launch,
    ) -> Result<Function, CudaError> {
        self.with(driver, context, |kernels| {
            let mut functions = kernels.functions.iter();
            if let Some(&(_, function)) = functions.find(|(name, _)| *name == launch.kernel) {
                return Ok(function);
            }
            let no_nul = |_| DamagedPtx("it contains a NUL".to_owned());
            let ptx = CString::new(text(launch.module, launch.kernel)?).map_err(no_nul)?;
            let name = CString::new(launch.kernel).map_err(no_nul)?;
            let shared = match launch.shared {
                0 => 0,
                _ => largest_dynamic(kernels.limits),
            };
            let function = driver.load_kernel(&ptx, &name, shared)?;
            kernels.functions.push((launch.kernel, function));
            Ok(function)
        })
    }

    fn with<T>(
        &self,
        driver: &Driver,
        context: Context,
        task: impl FnOnce(&mut OfContext) -> Result<T, CudaError>,
    ) -> Result<T, CudaError> {
        let mut contexts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match contexts.iter().position(|of| of.context == context) {
            Some(index) => index,
            None => {
                let limits = DeviceLimits {
                    shared_memory: driver.shared_memory()?,
                };
                contexts.push(OfContext {
                    context,
                    limits,
                    functions: Vec::new(),
                });
                contexts.len() - 1
            }
        };
        task(&mut contexts[index])
    }
}
