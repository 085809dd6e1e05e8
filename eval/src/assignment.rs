//! Which execution provider runs which nodes of a session.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort_sys::OrtStatusPtr;

/// The setting without which a session does not know.
pub(crate) const RECORD: &str = "session.record_ep_graph_assignment_info";

/// Number of nodes by provider and operator.
pub type Assignment = BTreeMap<String, BTreeMap<String, usize>>;

/// The nodes of a session that was made with [`RECORD`], after optimization.
///
/// # Errors
/// ONNX Runtime's words, if it does not say.
pub(crate) fn assignment(session: &Session) -> Result<Assignment, String> {
    let api = ort::api();
    let check = |status: OrtStatusPtr| -> Result<(), String> {
        if status.0.is_null() {
            return Ok(());
        }
        // SAFETY: the status is one that ONNX Runtime has just made; its message is a C string that
        // lives as long as it, and it is released once.
        unsafe {
            let message = CStr::from_ptr((api.GetErrorMessage)(status.0));
            let message = message.to_string_lossy().into_owned();
            (api.ReleaseStatus)(status.0);
            Err(message)
        }
    };
    let mut subgraphs = ptr::null();
    let mut count = 0;
    // SAFETY: the session is alive; what it gives back belongs to it and stays as long as it, which is
    // longer than this function. Lists have the lengths that are given with them.
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
/// `first` must be valid for `'a` and `count` elements, unless there are none.
unsafe fn slice<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// # Safety
/// `text` must be a C string.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
