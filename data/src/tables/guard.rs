use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use parquet::errors::{self, ParquetError};
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
        Ok(result) => result.map_err(|error| failed(path, error)),
        Err(_) => Err(damaged(path, "a page is damaged")),
    }
}

/// What an error of the library means.
fn failed(path: &Path, error: ParquetError) -> DataError {
    #[cfg(feature = "remote")]
    let error = match error {
        // An object that cannot be read is not damaged.
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => return DataError::io(path)(*error),
            Err(error) => ParquetError::External(error),
        },
        error => error,
    };
    damaged(path, error)
}

/// A file that is damaged for this reason.
pub(super) fn damaged(path: &Path, reason: impl ToString) -> DataError {
    DataError::Parquet {
        path: path.to_owned(),
        reason: excerpt(&reason.to_string()),
    }
}
