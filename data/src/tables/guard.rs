use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use parquet::errors;
use topk_files::excerpt;

use crate::DataError;

/// Calls the parquet library, which panics on some kinds of damage, such as lengths beyond the end of a page.
/// The message of the panic is printed, because only a hook of the whole process could suppress it. Readers
/// used in the call must not be used after an error.
pub(super) fn guarded<T>(
    path: &Path,
    call: impl FnOnce() -> errors::Result<T>,
) -> Result<T, DataError> {
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| damaged(path, error)),
        Err(_) => Err(damaged(path, "a page is damaged")),
    }
}

/// A file that is damaged for this reason.
pub(super) fn damaged(path: &Path, reason: impl ToString) -> DataError {
    DataError::Parquet {
        path: path.to_owned(),
        reason: excerpt(&reason.to_string()),
    }
}
