use tch::Device;
use thiserror::Error;
use topk_native::{LoadError, torch};

/// The requested GPU cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// libtorch's CUDA part is absent or incomplete.
    #[error(
        "cuda:{index} was requested, but libtorch's CUDA library cannot be loaded: {error}. Install it \
         with `cargo xtask setup --cuda` in the source folder, or use the device `cpu`"
    )]
    Load {
        /// Requested index.
        index: usize,
        /// The dynamic linker's error.
        error: LoadError,
    },
    /// libtorch does not find a GPU of this index.
    #[error(
        "cuda:{index} was requested, but libtorch finds {}. Use the device `cpu` or another index; `cargo \
         xtask doctor` checks the driver",
        match count {
            0 => "no GPU (is NVIDIA's driver installed?)".to_owned(),
            1 => "1 GPU".to_owned(),
            count => format!("{count} GPUs"),
        }
    )]
    NoGpu {
        /// Requested index.
        index: usize,
        /// Number of GPUs that libtorch finds.
        count: i64,
    },
}

/// Selects the libtorch device for a choice of the user. Loads libtorch's CUDA library if it may be
/// needed; call this before creating the first tensor on a GPU.
///
/// # Errors
/// If a GPU was requested by name and cannot be used. `auto` falls back to the CPU.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_gpus_is_in_grammatical_number() {
        for (count, expected) in [
            (0, "finds no GPU (is NVIDIA's driver installed?). Use"),
            (1, "finds 1 GPU. Use"),
            (2, "finds 2 GPUs. Use"),
        ] {
            let error = DeviceError::NoGpu { index: 3, count }.to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
