//! Devices as ONNX Runtime's execution providers offer them.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::fmt;
use std::ptr;

use ort::AsPointer;
use ort::device::Device;
use ort::memory::DeviceType;
use ort_sys::OrtKeyValuePairs;
use topk_results::PluginInfo;

use super::{PluginName, normalized};

/// A device that an execution provider runs on.
pub(crate) struct EpDevice<'e>(Device<'e>);

impl<'e> EpDevice<'e> {
    pub(super) fn new(device: Device<'e>) -> Self {
        Self(device)
    }

    /// The device, for a session.
    pub(crate) fn into_inner(self) -> Device<'e> {
        self.0
    }

    /// The execution provider by ONNX Runtime's name.
    pub(crate) fn provider(&self) -> String {
        self.0.ep().unwrap_or_default().to_owned()
    }

    pub(super) fn is_of(&self, name: PluginName) -> bool {
        normalized(&self.provider()) == name.as_str()
    }

    /// Whether models can only be compiled for it, as it is not a device of this machine.
    pub(crate) fn is_virtual(&self) -> bool {
        let metadata = self.hardware_metadata();
        metadata.get("is_virtual").is_some_and(|value| value == "1")
    }

    /// `CPU`, `GPU`, `NPU` or `FPGA`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.0.hardware_device().ty() {
            DeviceType::CPU => "CPU",
            DeviceType::GPU => "GPU",
            DeviceType::NPU => "NPU",
            DeviceType::FPGA => "FPGA",
        }
    }

    /// Vendor of the device.
    pub(crate) fn vendor(&self) -> String {
        let device = self.0.hardware_device();
        device.vendor().unwrap_or_default().to_owned()
    }

    /// The number of its model among those of the vendor.
    pub(crate) fn id(&self) -> u32 {
        self.0.hardware_device().id()
    }

    /// What the execution provider tells about itself.
    pub(crate) fn info(&self) -> PluginInfo {
        let mut metadata = self.metadata();
        PluginInfo {
            execution_provider: self.provider(),
            vendor: self.0.ep_vendor().unwrap_or_default().to_owned(),
            version: metadata.remove("version"),
            library: metadata.remove("library_path"),
        }
    }

    /// What the execution provider tells about the device, by its own keys.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        // SAFETY: the device is one of the environment's, which owns the pairs.
        unsafe { pairs((ort::api().EpDevice_EpMetadata)(self.0.ptr())) }
    }

    /// What the system tells about the device.
    pub(crate) fn hardware_metadata(&self) -> BTreeMap<String, String> {
        let device = self.0.hardware_device();
        // SAFETY: as above.
        unsafe { pairs((ort::api().HardwareDevice_Metadata)(device.ptr())) }
    }
}

/// The device in words, such as `Intel GPU 0x56a0`, or with its name where the system tells it.
impl fmt::Display for EpDevice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_virtual() {
            f.write_str("virtual ")?;
        }
        if let Some(name) = self.hardware_metadata().get("Description") {
            return f.write_str(name);
        }
        write!(f, "{} {}", self.vendor(), self.kind())?;
        match self.id() {
            0 => Ok(()),
            id => write!(f, " {id:#06x}"),
        }
    }
}

/// Copies pairs.
///
/// # Safety
/// `pairs` must be null, or pairs that live until this returns.
unsafe fn pairs(pairs: *const OrtKeyValuePairs) -> BTreeMap<String, String> {
    if pairs.is_null() {
        return BTreeMap::new();
    }
    let (mut keys, mut values, mut count) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the pairs are valid, as the caller promises. Both lists belong to them and have `count` C strings.
    unsafe {
        (ort::api().GetKeyValuePairs)(pairs, &mut keys, &mut values, &mut count);
        let text = |list: *const *const c_char, at: usize| {
            CStr::from_ptr(*list.add(at)).to_string_lossy().into_owned()
        };
        (0..count)
            .map(|at| (text(keys, at), text(values, at)))
            .collect()
    }
}
