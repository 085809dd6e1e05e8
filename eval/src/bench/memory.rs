//! How much memory a measurement takes.

use topk_native::{gpu_memory_in_use, peak_resident, resident, restart_peak};
use topk_results::bench::MemoryGrowth;

/// Memory before a measurement.
pub(super) struct MemoryBefore {
    /// Resident memory in bytes, if its peak can be determined.
    resident: Option<u64>,
    /// Index of the GPU, and its memory in use in bytes.
    gpu: Option<(usize, u64)>,
}

impl MemoryBefore {
    /// The memory of this process and of the GPU with this index, if any.
    pub(super) fn new(gpu: Option<i32>) -> Self {
        let gpu = gpu.and_then(|index| usize::try_from(index).ok());
        Self {
            // A peak of earlier measurements would hide that of this one.
            resident: restart_peak().ok().and_then(|()| resident()),
            gpu: gpu.and_then(|index| Some((index, gpu_memory_in_use(index)?))),
        }
    }

    /// The growth since, for a model that runs on the GPU with this index, if any.
    pub(super) fn growth(&self, gpu: Option<i32>) -> MemoryGrowth {
        let peak = self.resident.zip(peak_resident());
        let gpu = self
            .gpu
            .filter(|&(index, _)| gpu.is_some_and(|gpu| usize::try_from(gpu) == Ok(index)));
        let gpu =
            gpu.and_then(|(index, before)| Some(gpu_memory_in_use(index)?.saturating_sub(before)));
        MemoryGrowth {
            resident_bytes: peak.map(|(before, peak)| peak.saturating_sub(before)),
            gpu_bytes: gpu,
        }
    }
}
