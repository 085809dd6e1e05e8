use tch::Device;
use thiserror::Error;
use topk_native::{LoadError, torch};

/// The GPU that was asked for cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// libtorch's CUDA part is absent or incomplete.
    #[error(
        "cuda:{index} was asked for, but libtorch's CUDA library cannot be loaded: {error}. Run \
         `cargo xtask setup --cuda` in the source folder, or use --device cpu"
    )]
    Load {
        /// Index asked for.
        index: usize,
        /// What the dynamic linker says.
        error: LoadError,
    },
    /// libtorch sees no such GPU.
    #[error(
        "cuda:{index} was asked for, but libtorch sees {count} GPUs{}. Use --device cpu or \
         another index; `cargo xtask doctor` looks at the driver",
        if *count == 0 { " (is NVIDIA's driver installed?)" } else { "" }
    )]
    NoGpu {
        /// Index asked for.
        index: usize,
        /// Number of GPUs that libtorch sees.
        count: i64,
    },
}

/// The libtorch device for what the user asked for. Loads libtorch's CUDA part where it may be used,
/// which must happen before the first tensor is made on a GPU.
///
/// # Errors
/// If a GPU was asked for by name and cannot be used. `auto` takes the CPU then.
pub fn select_device(choice: topk_native::Device) -> Result<Device, DeviceError> {
    let (index, required) = match choice {
        topk_native::Device::Cpu => return Ok(Device::Cpu),
        topk_native::Device::Auto => (0, false),
        topk_native::Device::Cuda(index) => (index, true),
    };
    let found = torch::load_cuda().map_err(|error| DeviceError::Load { index, error });
    let found = found.and_then(|()| {
        let count = tch::Cuda::device_count();
        if (index as i64) < count {
            Ok(Device::Cuda(index))
        } else {
            Err(DeviceError::NoGpu { index, count })
        }
    });
    match found {
        Err(_) if !required => Ok(Device::Cpu),
        found => found,
    }
}
