//! What the sessions of a model run on.

use topk_native::Gpu;
use topk_results::GpuInfo;

use super::ModelOptions;
use crate::provider::Provider;

/// The different providers of the sessions of a model.
pub(super) fn providers(options: &ModelOptions, provider: Provider) -> Vec<Provider> {
    let mut devices = options.devices.clone();
    devices.dedup();
    match devices.is_empty() {
        true => vec![provider],
        false => devices,
    }
}

/// The GPUs of providers, with the different names of several.
pub(super) fn gpu_info(providers: &[Provider]) -> Option<GpuInfo> {
    let indices = providers.iter().filter_map(|provider| provider.gpu());
    let gpus: Vec<Gpu> = indices.map(|index| Gpu::of(index as usize)).collect();
    let mut names: Vec<String> = gpus.iter().filter_map(|gpu| gpu.name.clone()).collect();
    names.sort();
    names.dedup();
    let Gpu {
        driver,
        cuda,
        cudnn,
        ..
    } = gpus.into_iter().next()?;
    Some(GpuInfo {
        name: (!names.is_empty()).then(|| names.join(", ")),
        driver,
        cuda,
        cudnn,
    })
}
