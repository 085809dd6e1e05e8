//! The assignment of nodes to execution providers.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort_sys::OrtStatusPtr;

/// The session setting that records the assignment.
pub(crate) const RECORD: &str = "session.record_ep_graph_assignment_info";

/// Number of nodes by provider and operator.
pub type Assignment = BTreeMap<String, BTreeMap<String, usize>>;

/// The assignment of the optimized nodes of a session that was created with [`RECORD`].
///
/// # Errors
/// ONNX Runtime's message, if the assignment is not available.
pub(crate) fn assignment(session: &Session) -> Result<Assignment, String> {
    let api = ort::api();
    let check = |status: OrtStatusPtr| -> Result<(), String> {
        if status.0.is_null() {
            return Ok(());
        }
        // SAFETY: ONNX Runtime has just created the status; its message is a C string that lives as long as
        // the status, which is released once.
        unsafe {
            let message = CStr::from_ptr((api.GetErrorMessage)(status.0));
            let message = message.to_string_lossy().into_owned();
            (api.ReleaseStatus)(status.0);
            Err(message)
        }
    };
    let mut subgraphs = ptr::null();
    let mut count = 0;
    // SAFETY: the session outlives this function and owns everything that is returned. Lists have the
    // returned lengths.
    let subgraphs = unsafe {
        check((api.Session_GetEpGraphAssignmentInfo)(
            session.ptr(),
            &mut subgraphs,
            &mut count,
        ))?;
        slice(subgraphs, count)
    };
    let mut assignment = Assignment::new();
    for &subgraph in subgraphs {
        let (mut name, mut nodes, mut count) = (ptr::null(), ptr::null(), 0);
        // SAFETY: as above.
        let (provider, nodes) = unsafe {
            check((api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name))?;
            check((api.EpAssignedSubgraph_GetNodes)(
                subgraph, &mut nodes, &mut count,
            ))?;
            (text(name), slice(nodes, count))
        };
        let operators = assignment.entry(provider).or_default();
        for &node in nodes {
            let mut name = ptr::null();
            // SAFETY: as above.
            let operator = unsafe {
                check((api.EpAssignedNode_GetOperatorType)(node, &mut name))?;
                text(name)
            };
            *operators.entry(operator).or_default() += 1;
        }
    }
    Ok(assignment)
}

/// # Safety
/// `first` must be valid for `count` elements and for `'a`, unless `count` is 0.
unsafe fn slice<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: guaranteed by the caller.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// # Safety
/// `text` must be a C string.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: guaranteed by the caller.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
