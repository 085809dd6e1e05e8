//! Runs in memory that is bound to a session: images are copied to its device before a run, and scores are written
//! to memory that is allocated once.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, DynValue};

use crate::input::InputView;
use crate::worker::{Output, floats};

/// The memory of one batch of a session. With two for the same session, a batch is copied to the device, and the
/// scores of another are read, while the session runs a third.
///
/// In the order in which it is released: the session, which `binding` keeps, is last.
pub(crate) struct Binding {
    /// Number of images of the last run, and memory for as many scores, which is bound.
    scores: Option<(usize, DynValue)>,
    /// Allocates memory that the device reads images from and writes scores to.
    host: Allocator,
    binding: IoBinding,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Binding").field(&self.binding).finish()
    }
}

/// Memory of the host: pinned memory for the GPU with this index, which copies from and to it directly, or, without
/// one, ordinary memory.
///
/// # Errors
/// If the session has no such allocator.
pub(crate) fn host_memory(session: &Session, gpu: Option<i32>) -> ort::Result<Allocator> {
    let Some(gpu) = gpu else {
        return Ok(Allocator::default());
    };
    let pinned = MemoryInfo::new(
        AllocationDevice::CUDA_PINNED,
        gpu,
        AllocatorType::Device,
        MemoryType::CPUInput,
    )?;
    Allocator::new(session, pinned)
}

/// A session, for a run.
pub(crate) fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    // A session is not changed by a run.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Binding {
    /// Memory for a session that runs on the GPU with this index, or on the CPU.
    ///
    /// # Errors
    /// Those of ONNX Runtime.
    pub(crate) fn new(session: &Session, gpu: Option<i32>) -> ort::Result<Self> {
        Ok(Self {
            scores: None,
            host: host_memory(session, gpu)?,
            binding: session.create_binding()?,
        })
    }

    /// Allocates memory for images.
    pub(crate) fn host(&self) -> &Allocator {
        &self.host
    }

    /// Runs images, and returns the output and the time that the session was busy.
    ///
    /// # Errors
    /// Those of ONNX Runtime.
    pub(crate) fn run(
        &mut self,
        session: &Mutex<Session>,
        [input, output]: [&str; 2],
        images: InputView<'_>,
    ) -> ort::Result<(Output, Duration)> {
        // Copies the images, and returns when they are on the device. Another batch may be running.
        self.binding.bind_input(input, &images.value())?;
        let rows = images.rows();
        let known = self.scores.as_ref().is_some_and(|(size, _)| *size == rows);
        if !known {
            // The shape of the output is not known yet.
            self.scores = None;
            let memory = Allocator::default();
            self.binding
                .bind_output_to_device(output, memory.memory_info())?;
        }
        let mut running = lock(session);
        let start = Instant::now();
        // Both wait for everything on the device, which is only this batch while the session is locked.
        self.binding.synchronize_inputs()?;
        let outputs = running.run_binding(&self.binding)?;
        self.binding.synchronize_outputs()?;
        let busy = start.elapsed();
        if let Some((_, scores)) = &self.scores {
            drop(outputs);
            drop(running);
            return Ok((floats(scores)?, busy));
        }
        let found = &outputs[0];
        let (shape, values) = floats(found)?;
        let element = *found.data_type();
        drop(outputs);
        drop(running);
        let mut scores = DynTensor::new(&self.host, element, shape.clone())?.into_dyn();
        self.binding.bind_output(output, &mut scores)?;
        self.scores = Some((rows, scores));
        Ok(((shape, values), busy))
    }
}
