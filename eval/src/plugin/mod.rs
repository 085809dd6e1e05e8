//! Execution providers that ONNX Runtime loads as plugins, from libraries of their own.

mod available;
mod device;
mod name;

use std::path::Path;

use topk_native::{ProviderLibrary, Runtime, RuntimeError};

pub(crate) use self::available::built_in;
pub(crate) use self::device::EpDevice;
pub(crate) use self::name::{PluginName, normalized};
use crate::provider::Provider;

/// A device of a plugin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PluginDevice {
    /// The name of the execution provider.
    pub(crate) name: PluginName,
    /// Index of the device among those of the provider, in ONNX Runtime's order.
    pub(crate) index: usize,
}

/// The library of OpenVINO's provider in builds of ONNX Runtime that have it, beside its own.
const OPENVINO: &str = "libonnxruntime_providers_openvino.so";

/// Whether ONNX Runtime was built with OpenVINO.
pub(crate) fn has_openvino(runtime: &Runtime) -> bool {
    runtime.path().with_file_name(OPENVINO).is_file()
}

/// Loads libraries that a user named, so that their devices can be selected.
///
/// # Errors
/// If one cannot be loaded.
pub(crate) fn register(
    runtime: &Runtime,
    libraries: &[impl AsRef<Path>],
) -> Result<(), RuntimeError> {
    for path in libraries {
        let path = path.as_ref();
        let library = ProviderLibrary::open(path).map_err(|error| {
            RuntimeError::new(format!("--provider-library {}: {error}", path.display()))
        })?;
        runtime.register(&library, false)?;
    }
    Ok(())
}

/// The device of a plugin that a provider is; none for those that are part of ONNX Runtime.
///
/// # Errors
/// A message, if the device or the plugin is not available.
pub(crate) fn device(
    runtime: &Runtime,
    provider: Provider,
) -> Result<Option<EpDevice<'_>>, String> {
    match provider {
        Provider::Plugin(plugin) => find(runtime, plugin).map(Some),
        Provider::OpenVino if !has_openvino(runtime) => {
            let name = PluginName::parse("openvino").expect("a short name");
            let found = find(runtime, PluginDevice { name, index: 0 });
            found.map(Some)
        }
        _ => Ok(None),
    }
}

/// The device of a plugin, whose library is loaded from an installed package unless it already is.
fn find(runtime: &Runtime, plugin: PluginDevice) -> Result<EpDevice<'_>, String> {
    let PluginDevice { name, index } = plugin;
    if let Some(found) = devices(runtime, name).nth(index) {
        return Ok(found);
    }
    let mut libraries = runtime.registered();
    libraries.extend(ProviderLibrary::installed(runtime.path()));
    let of_name = |library: &&ProviderLibrary| normalized(library.name()) == name.as_str();
    let library = libraries.iter().find(of_name);
    if let Some(library) = library {
        runtime
            .register(library, false)
            .map_err(|error| explained(&error.to_string()))?;
    }
    let count = devices(runtime, name).count();
    if let Some(found) = devices(runtime, name).nth(index) {
        return Ok(found);
    }
    if count > 0 {
        let plural = if count == 1 { "" } else { "s" };
        return Err(format!("it offers {count} device{plural}, counted from 0"));
    }
    match library {
        Some(library) => Err(format!(
            "its library, {}, offers no device on this machine{}",
            library.path().display(),
            if offers_virtual_devices(runtime, library, name) {
                ", only virtual ones, for which models can be compiled but not run"
            } else {
                ""
            }
        )),
        None => Err(unknown(runtime, &libraries)),
    }
}

/// The error for a name that no plugin has.
fn unknown(runtime: &Runtime, libraries: &[ProviderLibrary]) -> String {
    let mut known: Vec<String> = libraries
        .iter()
        .map(|library| normalized(library.name()))
        .collect();
    let loaded = all(runtime).map(|device| normalized(&device.provider()));
    known.extend(loaded.filter(|name| name != "cpu"));
    known.sort();
    known.dedup();
    let known = match known.is_empty() {
        true => "no plugin is installed".to_owned(),
        false => format!("the plugins are {}", known.join(", ")),
    };
    format!(
        "ONNX Runtime {} has no such provider here, and {known}: install the plugin's package into the environment of \
         ONNX Runtime, such as onnxruntime-ep-webgpu or onnxruntime-ep-openvino, or pass its library with \
         --provider-library",
        runtime.version()
    )
}

/// The error of a library that cannot be loaded, with its cause for those of drivers.
pub(crate) fn explained(error: &str) -> String {
    let drivers = [
        ("libcuda.so", "NVIDIA's driver"),
        ("libnvidia-ml.so", "NVIDIA's driver"),
        ("libvulkan.so", "Vulkan"),
        ("libze_loader.so", "Intel's Level Zero"),
    ];
    let missing = drivers.iter().find(|(file, _)| error.contains(file));
    match missing {
        Some((_, driver)) => format!("{error} ({driver} is not installed)"),
        None => error.to_owned(),
    }
}

/// Whether a library offers virtual devices of this name.
fn offers_virtual_devices(runtime: &Runtime, library: &ProviderLibrary, name: PluginName) -> bool {
    let registered = runtime.register(library, true);
    registered.is_ok() && all(runtime).any(|device| device.is_virtual() && device.is_of(name))
}

/// The devices of a provider on this machine.
fn devices(runtime: &Runtime, name: PluginName) -> impl Iterator<Item = EpDevice<'_>> {
    all(runtime).filter(move |device| device.is_of(name) && !device.is_virtual())
}

/// All devices that ONNX Runtime and the loaded plugins offer.
pub(crate) fn all(runtime: &Runtime) -> impl Iterator<Item = EpDevice<'_>> {
    runtime.environment().devices().map(EpDevice::new)
}

#[cfg(test)]
mod tests {
    use topk_onnx::proto::DataType;
    use topk_onnx::{Dim, GraphBuilder, attribute, model};

    use super::*;
    use crate::input::InputTensor;
    use crate::model::{Execution, Model};

    fn of(name: &str, index: usize) -> PluginDevice {
        let name = PluginName::parse(name).unwrap();
        PluginDevice { name, index }
    }

    #[test]
    fn devices_are_found_by_name_and_index() {
        let runtime = Runtime::load().unwrap();
        // The CPU provider offers its device as plugins do.
        let cpu = find(&runtime, of("cpu", 0)).unwrap();
        assert_eq!(cpu.provider(), "CPUExecutionProvider");
        assert_eq!(cpu.info().execution_provider, "CPUExecutionProvider");
        assert!(!cpu.is_virtual());
        let error = find(&runtime, of("cpu", 7)).err().unwrap();
        assert_eq!(error, "it offers 1 device, counted from 0");
        let error = find(&runtime, of("nothing", 0)).err().unwrap();
        assert!(error.contains("has no such provider here"), "{error}");
        assert!(error.contains("--provider-library"), "{error}");
    }

    #[test]
    fn a_model_runs_on_the_device_of_a_plugin() {
        let runtime = Runtime::load().unwrap();
        let side = Dim::Fixed(2);
        let mut graph = GraphBuilder::new("means");
        let shape = [Dim::Dynamic("batch"), Dim::Fixed(3), side, side];
        graph.input("images", DataType::Float, &shape, "");
        graph.node("GlobalAveragePool", "means", &["images"], []);
        let axis = [attribute::int("axis", 1)];
        graph.node("Flatten", "scores", &["means"], axis);
        let shape = [Dim::Dynamic("batch"), Dim::Fixed(3)];
        graph.output("scores", DataType::Float, &shape, "");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let file = model(graph.finish(), "", []);
        std::fs::write(&path, prost::Message::encode_to_vec(&file)).unwrap();

        let execution = Execution {
            provider: Provider::Plugin(of("cpu", 0)),
            ..Execution::default()
        };
        let mut model = Model::open(&runtime, &path, execution).unwrap();
        let images = InputTensor::f32((0..12).map(|value| value as f32).collect(), [2, 2]);
        assert_eq!(model.scores(&images).unwrap(), [1.5, 5.5, 9.5]);
        let plugin = model.plugin().unwrap();
        assert_eq!(plugin.execution_provider, "CPUExecutionProvider");
        assert_eq!(plugin.version.as_deref(), Some(runtime.version()));
        assert!(model.device().ends_with("(cpu:0)"), "{}", model.device());

        let execution = Execution {
            provider: Provider::Plugin(of("nothing", 0)),
            ..Execution::default()
        };
        let error = Model::open(&runtime, &path, execution).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("cannot use provider nothing:0: "),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_not_a_plugin_is_rejected() {
        let runtime = Runtime::load().unwrap();
        let error = register(&runtime, &["/missing/plugin.so"]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("--provider-library /missing/plugin.so: cannot read"),
            "{error}"
        );
        // A library, but not of a provider.
        let error = register(&runtime, &[runtime.path()]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("cannot load the execution provider in"),
            "{error}"
        );
    }

    #[test]
    fn missing_drivers_are_named() {
        let error = explained("libcuda.so.1: cannot open shared object file");
        assert!(error.ends_with("(NVIDIA's driver is not installed)"));
        assert_eq!(explained("anything"), "anything");
    }
}
