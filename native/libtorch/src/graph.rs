use std::ffi::{c_char, c_int};
use std::ptr;

use tch::{Device, TchError};

use crate::call::check;

/// A graph of libtorch.
#[repr(C)]
struct RawGraph([u8; 0]);

unsafe extern "C" {
    safe fn topk_leave_default_stream(index: c_int) -> *mut c_char;
    safe fn topk_find_graph_functions() -> *mut c_char;
    fn topk_begin_graph(result: *mut *mut RawGraph) -> *mut c_char;
    fn topk_end_graph(graph: *mut RawGraph) -> *mut c_char;
    fn topk_replay_graph(graph: *mut RawGraph) -> *mut c_char;
    fn topk_free_graph(graph: *mut RawGraph);
}

/// Operations on a GPU that were recorded once and are started together, which takes the host as long as a single one.
///
/// They read and write the same memory at each replay: inputs that change are tensors, into which the caller copies.
/// Random numbers of libtorch are new ones at each replay.
#[derive(Debug)]
pub struct Graph {
    graph: *mut RawGraph,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `topk_begin_graph`, and owned by this.
        unsafe { topk_free_graph(self.graph) }
    }
}

impl Graph {
    /// Whether libtorch's CUDA library is loaded and has what graphs need.
    ///
    /// # Errors
    /// If not; the error names what is missing.
    pub fn check_support() -> Result<(), TchError> {
        // SAFETY: a string from `strdup`, or null.
        unsafe { check(topk_find_graph_functions()) }
    }

    /// Lets this thread compute on a stream that can be recorded, from now on. Does nothing on the CPU.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn prepare_thread(device: Device) -> Result<(), TchError> {
        match device {
            // SAFETY: a string from `strdup`, or null.
            Device::Cuda(index) => unsafe { check(topk_leave_default_stream(index as c_int)) },
            _ => Ok(()),
        }
    }

    /// Records operations on the current stream of this [prepared](Self::prepare_thread) thread, without running them.
    /// They must not wait for the GPU, and should have run a few times before.
    ///
    /// # Errors
    /// Those of `operations`, or if libtorch fails.
    pub fn record<E: From<TchError>>(
        operations: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        /// Ends the recording, also when `operations` panics.
        struct Recording {
            graph: Graph,
            ended: bool,
        }

        impl Recording {
            fn end(&mut self) -> Result<(), TchError> {
                self.ended = true;
                // SAFETY: the graph is live, and its recording has begun and not ended.
                unsafe { check(topk_end_graph(self.graph.graph)) }
            }
        }

        impl Drop for Recording {
            fn drop(&mut self) {
                if !self.ended {
                    let _ = self.end();
                }
            }
        }

        let mut graph = ptr::null_mut();
        // SAFETY: the pointer outlives the call, which catches exceptions.
        unsafe { check(topk_begin_graph(&mut graph)) }?;
        let mut recording = Recording {
            graph: Self { graph },
            ended: false,
        };
        operations()?;
        recording.end()?;
        let graph = std::mem::replace(&mut recording.graph.graph, ptr::null_mut());
        Ok(Self { graph })
    }

    /// Starts the operations on this thread's current stream.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn replay(&self) -> Result<(), TchError> {
        // SAFETY: the graph is live; the C++ side catches exceptions.
        unsafe { check(topk_replay_graph(self.graph)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_need_the_cuda_library() {
        // No test of this binary loads it.
        let error = Graph::check_support().unwrap_err().to_string();
        assert!(
            error.contains("libtorch's CUDA library has no function"),
            "{error}"
        );
        let recorded = Graph::record(|| Ok::<_, TchError>(()));
        assert!(recorded.is_err());
        Graph::prepare_thread(Device::Cpu).unwrap();
    }
}
