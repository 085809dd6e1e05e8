//! The execution providers of ONNX Runtime and the devices that they offer on this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use topk_native::{Gpu, ProviderLibrary, Runtime, onnxruntime};

use crate::model::processors;
use crate::plugin::{self, EpDevice, normalized};
use crate::provider;

/// The version of the JSON. It increases with every change that older readers would misunderstand.
const FORMAT: u32 = 1;

/// Plugins that are Python packages: name, ONNX Runtime's name, and package.
const PACKAGES: [(&str, &str, &str); 3] = [
    (
        "openvino",
        "OpenVINOExecutionProvider",
        "onnxruntime-ep-openvino",
    ),
    ("webgpu", "WebGpuExecutionProvider", "onnxruntime-ep-webgpu"),
    (
        "nvtensorrtrtx",
        "NvTensorRTRTXExecutionProvider",
        "onnxruntime-ep-nv-tensorrt-rtx",
    ),
];

/// What can run models on this machine.
#[derive(Debug, Serialize)]
pub(crate) struct DeviceList {
    format: u32,
    onnxruntime: Library,
    cpu: String,
    cores: usize,
    os: String,
    /// All execution providers, also those that are missing.
    pub(crate) providers: Vec<ProviderEntry>,
}

/// The library of ONNX Runtime.
#[derive(Debug, Serialize)]
struct Library {
    version: String,
    path: PathBuf,
}

/// An execution provider.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ProviderEntry {
    /// The name for `--provider`; none of providers that `topk-eval` does not use.
    pub(crate) name: Option<String>,
    /// ONNX Runtime's name.
    execution_provider: String,
    /// Whether it is loaded from a library of its own, and not part of ONNX Runtime.
    plugin: bool,
    /// Whether a model can run on it.
    pub(crate) available: bool,
    /// Why it is not available, or what to know about it.
    pub(crate) reason: Option<String>,
    /// Its version, where it has one of its own.
    version: Option<String>,
    /// Its library, if it is a plugin.
    library: Option<PathBuf>,
    /// What it runs on.
    pub(crate) devices: Vec<DeviceEntry>,
}

/// A device.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DeviceEntry {
    /// What selects it, such as `cuda:0`; none of virtual devices.
    pub(crate) provider: Option<String>,
    /// `CPU`, `GPU`, `NPU` or `FPGA`.
    kind: String,
    /// Its name, as far as known.
    name: String,
    /// Its vendor.
    vendor: Option<String>,
    /// Whether models can only be compiled for it, as it is not a device of this machine.
    #[serde(rename = "virtual")]
    is_virtual: bool,
    /// Versions of the driver and of libraries, as far as known.
    versions: BTreeMap<String, String>,
    /// What the provider and the system tell about it, by their keys.
    metadata: BTreeMap<String, String>,
}

impl DeviceList {
    /// The providers of ONNX Runtime, of the libraries that were already loaded as plugins, and of those of installed
    /// packages, which this loads.
    pub(crate) fn new(runtime: &Runtime, given: &[ProviderLibrary]) -> Self {
        let gpus = nvidia_gpus(runtime);
        let mut providers = vec![cpu()];
        providers.push(nvidia(
            ["cuda", "CUDAExecutionProvider"],
            &gpus,
            provider::gpu_libraries(runtime).map(|()| None),
        ));
        let tensorrt = provider::gpu_libraries(runtime).and_then(|()| {
            let version = onnxruntime::load_tensorrt(runtime.path());
            version.map(Some).map_err(|error| error.to_string())
        });
        providers.push(nvidia(
            ["tensorrt", "TensorrtExecutionProvider"],
            &gpus,
            tensorrt,
        ));
        if plugin::has_openvino(runtime) {
            providers.push(ProviderEntry {
                name: Some("openvino".to_owned()),
                execution_provider: "OpenVINOExecutionProvider".to_owned(),
                available: true,
                reason: Some("runs on OpenVINO's default device".to_owned()),
                ..ProviderEntry::default()
            });
        }
        for other in plugin::built_in() {
            let known = |entry: &ProviderEntry| entry.execution_provider == other;
            if !providers.iter().any(known) {
                providers.push(ProviderEntry {
                    execution_provider: other,
                    reason: Some(
                        "in this build of ONNX Runtime, but not used by topk-eval".to_owned(),
                    ),
                    ..ProviderEntry::default()
                });
            }
        }
        let mut libraries = given.to_vec();
        libraries.extend(ProviderLibrary::installed(runtime.path()));
        libraries.sort();
        libraries.dedup();
        for library in &libraries {
            providers.extend(plugin_entries(runtime, library));
        }
        for (name, execution_provider, package) in PACKAGES {
            let known = |entry: &ProviderEntry| entry.name.as_deref() == Some(name);
            if !providers.iter().any(known) {
                providers.push(ProviderEntry {
                    name: Some(name.to_owned()),
                    execution_provider: execution_provider.to_owned(),
                    plugin: true,
                    reason: Some(format!(
                        "not installed: install the package {package} into the environment of ONNX Runtime, or pass \
                         its library with --provider-library"
                    )),
                    ..ProviderEntry::default()
                });
            }
        }
        Self {
            format: FORMAT,
            onnxruntime: Library {
                version: runtime.version().to_owned(),
                path: runtime.path().to_owned(),
            },
            cpu: topk_native::processor(),
            cores: processors(),
            os: topk_native::platform(),
            providers,
        }
    }
}

fn cpu() -> ProviderEntry {
    ProviderEntry {
        name: Some("cpu".to_owned()),
        execution_provider: "CPUExecutionProvider".to_owned(),
        available: true,
        devices: vec![DeviceEntry {
            provider: Some("cpu".to_owned()),
            kind: "CPU".to_owned(),
            name: topk_native::processor(),
            ..DeviceEntry::default()
        }],
        ..ProviderEntry::default()
    }
}

/// All NVIDIA GPUs that this process may use.
fn nvidia_gpus(runtime: &Runtime) -> Vec<Gpu> {
    // Versions are those of the libraries that ONNX Runtime loads. What is missing is reported per provider.
    let _ = provider::gpu_libraries(runtime);
    let gpus = (0..).map(Gpu::of);
    gpus.take_while(|gpu| gpu.name.is_some()).collect()
}

/// A provider for NVIDIA GPUs that is part of ONNX Runtime. `version` is its own, if it has one, or why it is missing.
fn nvidia(
    [name, execution_provider]: [&str; 2],
    gpus: &[Gpu],
    version: Result<Option<String>, String>,
) -> ProviderEntry {
    let entry = ProviderEntry {
        name: Some(name.to_owned()),
        execution_provider: execution_provider.to_owned(),
        ..ProviderEntry::default()
    };
    let version = match version {
        Ok(version) if !gpus.is_empty() => version,
        Ok(_) => {
            return ProviderEntry {
                reason: Some("no NVIDIA GPU was found".to_owned()),
                ..entry
            };
        }
        Err(reason) => {
            return ProviderEntry {
                reason: Some(reason),
                ..entry
            };
        }
    };
    let devices = gpus.iter().enumerate().map(|(index, gpu)| {
        let versions = [
            ("driver", &gpu.driver),
            ("cuda", &gpu.cuda),
            ("cudnn", &gpu.cudnn),
        ];
        let known =
            |(name, version): (&str, &Option<String>)| Some((name.to_owned(), version.clone()?));
        DeviceEntry {
            provider: Some(format!("{name}:{index}")),
            kind: "GPU".to_owned(),
            name: gpu.name.clone().unwrap_or_default(),
            vendor: Some("NVIDIA".to_owned()),
            versions: versions.into_iter().filter_map(known).collect(),
            ..DeviceEntry::default()
        }
    });
    ProviderEntry {
        available: true,
        version,
        devices: devices.collect(),
        ..entry
    }
}

/// The providers in the library of a plugin: usually one.
fn plugin_entries(runtime: &Runtime, library: &ProviderLibrary) -> Vec<ProviderEntry> {
    let name = normalized(library.name());
    let known = PACKAGES.iter().find(|package| package.0 == name);
    let entry = |execution_provider: &str| ProviderEntry {
        name: Some(normalized(execution_provider)),
        execution_provider: execution_provider.to_owned(),
        plugin: true,
        library: Some(library.path().to_owned()),
        ..ProviderEntry::default()
    };
    let alone = || entry(known.map_or(library.name(), |known| known.1));
    if let Err(error) = runtime.register(library, false) {
        return vec![ProviderEntry {
            reason: Some(plugin::explained(&error.to_string())),
            ..alone()
        }];
    }
    let mut devices = devices_of(runtime, library);
    if devices.is_empty() && runtime.register(library, true).is_ok() {
        // Those of other machines show at least which provider it is.
        devices = devices_of(runtime, library);
    }
    let mut entries: Vec<ProviderEntry> = Vec::new();
    for device in devices {
        let info = device.info();
        let provider = info.execution_provider;
        let at = entries
            .iter()
            .position(|entry| entry.execution_provider == provider);
        let at = at.unwrap_or_else(|| {
            entries.push(ProviderEntry {
                version: info.version,
                ..entry(&provider)
            });
            entries.len() - 1
        });
        let found = &mut entries[at];
        let is_virtual = device.is_virtual();
        let index = found.devices.len();
        found.available |= !is_virtual;
        found
            .devices
            .push(device_entry(&device, (!is_virtual).then_some(index)));
    }
    if entries.is_empty() {
        entries.push(alone());
    }
    for entry in &mut entries {
        if !entry.available {
            let only = match entry.devices.is_empty() {
                true => "",
                false => ", only virtual ones: models can be compiled for them, but not run",
            };
            entry.reason = Some(format!("it offers no device on this machine{only}"));
        }
    }
    entries
}

/// The devices of a library. One that does not tell its path is recognised by its name.
fn devices_of<'e>(runtime: &'e Runtime, library: &ProviderLibrary) -> Vec<EpDevice<'e>> {
    let name = normalized(library.name());
    let of = |device: &EpDevice<'_>| match device.info().library {
        Some(path) => PathBuf::from(&path).canonicalize().unwrap_or(path.into()) == library.path(),
        None => normalized(&device.provider()) == name,
    };
    plugin::all(runtime).filter(of).collect()
}

/// A device of a plugin; `index` counts those that are not virtual.
fn device_entry(device: &EpDevice<'_>, index: Option<usize>) -> DeviceEntry {
    let mut metadata = device.metadata();
    metadata.remove("version");
    metadata.remove("library_path");
    metadata.extend(device.hardware_metadata());
    let name = normalized(&device.provider());
    DeviceEntry {
        provider: index.map(|index| format!("{name}:{index}")),
        kind: device.kind().to_owned(),
        name: device.to_string(),
        vendor: Some(device.vendor()).filter(|vendor| !vendor.is_empty()),
        is_virtual: device.is_virtual(),
        metadata,
        ..DeviceEntry::default()
    }
}

impl ProviderEntry {
    /// The provider in one line for each device, or one with the reason why there is none.
    pub(crate) fn lines(&self) -> Vec<String> {
        let name = self.name.as_deref().unwrap_or("other");
        let mut about = self.execution_provider.clone();
        if let Some(version) = &self.version {
            about += &format!(" {version}");
        }
        if let Some(library) = &self.library {
            about += &format!(", {}", library.display());
        }
        let missing = !self.available && self.name.is_some();
        let state = if missing { " (missing)" } else { "" };
        let mut lines = vec![format!("{name}{state}: {about}")];
        for device in &self.devices {
            let mut line = format!("  {}", device.provider.as_deref().unwrap_or("none"));
            line += &format!("  {}", device.name);
            for (name, version) in &device.versions {
                line += &format!(", {name} {version}");
            }
            lines.push(line);
        }
        lines.extend(self.reason.iter().map(|reason| format!("  {reason}")));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_available_and_the_others_have_a_reason() {
        let runtime = Runtime::load().unwrap();
        let list = DeviceList::new(&runtime, &[]);
        let cpu = &list.providers[0];
        assert!(cpu.available && cpu.devices.len() == 1);
        for entry in &list.providers {
            assert!(entry.available || entry.reason.is_some(), "{entry:?}");
            let mut selectable = entry.devices.iter().filter_map(|of| of.provider.as_ref());
            assert!(entry.available || selectable.next().is_none(), "{entry:?}");
        }
        let names: Vec<&str> = list
            .providers
            .iter()
            .filter_map(|entry| entry.name.as_deref())
            .collect();
        for name in [
            "cpu",
            "cuda",
            "tensorrt",
            "openvino",
            "webgpu",
            "nvtensorrtrtx",
        ] {
            assert_eq!(
                names.iter().filter(|other| **other == name).count(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn gpus_are_listed_with_their_versions() {
        let gpu = Gpu {
            name: Some("NVIDIA A".to_owned()),
            driver: Some("580.1".to_owned()),
            cuda: Some("13.0".to_owned()),
            cudnn: None,
        };
        let names = ["cuda", "CUDAExecutionProvider"];
        let entry = nvidia(names, std::slice::from_ref(&gpu), Ok(None));
        assert_eq!(
            entry.lines(),
            [
                "cuda: CUDAExecutionProvider",
                "  cuda:0  NVIDIA A, cuda 13.0, driver 580.1"
            ]
        );
        let entry = nvidia(names, &[gpu], Err("no driver".to_owned()));
        assert!(!entry.available && entry.devices.is_empty());
        assert_eq!(entry.lines()[1], "  no driver");
        let entry = nvidia(names, &[], Ok(None));
        assert_eq!(entry.reason.as_deref(), Some("no NVIDIA GPU was found"));
    }
}
