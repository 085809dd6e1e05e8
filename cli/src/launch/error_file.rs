use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use thiserror::Error;

/// The error file of a rank cannot be written.
#[derive(Debug, Error)]
#[error("cannot write the error file {path} of torchrun: {error}")]
pub struct ErrorFileError {
    path: PathBuf,
    error: io::Error,
}

/// Writes the error of a process to the file that `TORCHELASTIC_ERROR_FILE` names, for `torchrun`'s summary.
///
/// `torchrun` shows the text under `py_callstack` as the cause, and takes the rank with the smallest time, in seconds
/// since 1970, for the one that failed first.
///
/// # Errors
/// If the file cannot be written.
pub fn write_error_file(path: &Path, message: &str) -> Result<(), ErrorFileError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let content = json!({
        "message": {
            "message": message,
            "extraInfo": {
                "py_callstack": message,
                "timestamp": now.map_or(0, |time| time.as_secs()).to_string(),
            },
        },
    });
    fs::write(path, content.to_string()).map_err(|error| ErrorFileError {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_file_has_what_torchrun_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.json");
        let message = "cannot read \"a.jpg\":\nno such file";
        write_error_file(&path, message).unwrap();
        let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let value = &value["message"];
        assert_eq!(value["message"], message);
        assert_eq!(value["extraInfo"]["py_callstack"], message);
        let time = value["extraInfo"]["timestamp"].as_str().unwrap();
        assert!(time.parse::<u64>().unwrap() > 1_700_000_000, "{time}");

        let missing = folder.path().join("missing/error.json");
        let error = write_error_file(&missing, message).unwrap_err().to_string();
        assert!(error.contains("missing/error.json"), "{error}");
    }
}
