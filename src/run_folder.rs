use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;
use topk_export::DRAFT_PREFIX;
use topk_history::{BEST1, BESTK, EpochTime, Event, LOG, TIMES};

use crate::state::{Position, STATE, State, StateError};
use crate::train::PAGE;

/// The first bytes of a log.
const LOG_START: &str = r#"{"event":"start""#;

/// The folder of a run cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum FolderError {
    /// A file in it cannot be read or written.
    #[error("cannot read or write {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Another process holds the lock of the log.
    #[error("another process is training in {}: wait for it to finish, or choose another --out", .0.display())]
    Busy(PathBuf),
    /// Its files are not those of a run.
    #[error(
        "{} contains a {LOG} that topk-train did not write: choose another --out, or remove the folder",
        .0.display()
    )]
    Foreign(PathBuf),
    /// It contains a run with other settings.
    #[error(
        "{} belongs to a run with other settings ({differences}): choose another --out, or remove the folder",
        path.display()
    )]
    Other {
        /// The log.
        path: PathBuf,
        /// The settings that differ.
        differences: String,
    },
    /// The log is shorter than when the state was saved.
    #[error(
        "{} is shorter than when {STATE} was saved, so it has been changed since and the run cannot be \
         resumed. Remove the folder to start again",
        .0.display()
    )]
    Shortened(PathBuf),
    /// The state is damaged.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The folder of a run, locked against other processes.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    log: File,
    times: File,
}

impl RunFolder {
    /// Opens or creates the folder of a run with these settings; returns the saved state, if there is one.
    pub(crate) fn open(
        path: &Path,
        config: &Map<String, Value>,
    ) -> Result<(Self, Option<State>), FolderError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |error| FolderError::Io { path, error }
        };
        fs::create_dir_all(path).map_err(fail(path))?;
        let open = |name: &str| {
            let path = path.join(name);
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            file.map_err(fail(&path))
        };
        let log = open(LOG)?;
        match log.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(fail(&path.join(LOG))(error)),
        }
        let state = State::read(path)?;
        let (log_bytes, times_bytes) = match &state {
            Some(state) => {
                check_same_settings(&path.join(LOG), &state.position.config, config)?;
                (state.position.log_bytes, state.position.times_bytes)
            }
            None => {
                check_log(path, &log, config)?;
                (0, 0)
            }
        };
        remove_temporary_files(path)?;
        let mut folder = Self {
            log,
            times: open(TIMES)?,
            path: path.to_owned(),
        };
        if state.as_ref().is_none_or(|state| !state.position.finished) {
            folder.rewind(log_bytes, times_bytes)?;
        }
        Ok((folder, state))
    }

    /// Truncates the logs to their lengths at the saved state.
    fn rewind(&mut self, log_bytes: u64, times_bytes: u64) -> Result<(), FolderError> {
        for (file, name, bytes) in [
            (&mut self.log, LOG, log_bytes),
            (&mut self.times, TIMES, times_bytes),
        ] {
            let path = self.path.join(name);
            let mut cut = || {
                if file.metadata()?.len() < bytes {
                    return Ok(false);
                }
                file.set_len(bytes)?;
                file.seek(SeekFrom::Start(bytes))?;
                Ok(true)
            };
            match cut() {
                Ok(true) => {}
                Ok(false) => return Err(FolderError::Shortened(path)),
                Err(error) => return Err(FolderError::Io { path, error }),
            }
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line to the log, flushes it to the disk, and adds its length to the position.
    pub(crate) fn log(
        &mut self,
        event: &Event,
        position: &mut Position,
    ) -> Result<(), FolderError> {
        let line = event.to_line();
        append(&mut self.log, &line).map_err(|error| FolderError::Io {
            path: self.path.join(LOG),
            error,
        })?;
        position.log_bytes += line.len() as u64;
        Ok(())
    }

    /// Appends a line to the file of times, as [`Self::log`] does.
    pub(crate) fn time(
        &mut self,
        time: &EpochTime,
        position: &mut Position,
    ) -> Result<(), FolderError> {
        let line = time.to_line();
        append(&mut self.times, &line).map_err(|error| FolderError::Io {
            path: self.path.join(TIMES),
            error,
        })?;
        position.times_bytes += line.len() as u64;
        Ok(())
    }
}

/// Removes the temporary files of a process that was killed while writing.
fn remove_temporary_files(folder: &Path) -> Result<(), FolderError> {
    let fail = |path: PathBuf| move |error| FolderError::Io { path, error };
    for entry in fs::read_dir(folder).map_err(fail(folder.to_owned()))? {
        let entry = entry.map_err(fail(folder.to_owned()))?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let is_ours = |name: &&str| {
            let best = |best: &str| {
                name.strip_prefix(best)
                    .is_some_and(|rest| rest.starts_with('.'))
            };
            [STATE, PAGE].iter().any(|file| name.starts_with(file)) || best(BEST1) || best(BESTK)
        };
        if name.starts_with(DRAFT_PREFIX) {
            fs::remove_dir_all(&path).map_err(fail(path))?;
        } else if name.strip_prefix('.').filter(is_ours).is_some() {
            fs::remove_file(&path).map_err(fail(path))?;
        }
    }
    Ok(())
}

/// Writes a file atomically.
pub(crate) fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), FolderError> {
    topk_files::write(path, contents).map_err(|error| FolderError::Io {
        path: path.to_owned(),
        error,
    })
}

/// Checks that a log without a state is that of a run with these settings, killed before it saved a state.
fn check_log(folder: &Path, log: &File, config: &Map<String, Value>) -> Result<(), FolderError> {
    let mut line = String::new();
    let read = BufReader::new(log).read_line(&mut line);
    read.map_err(|_| FolderError::Foreign(folder.to_owned()))?;
    match serde_json::from_str(&line) {
        Ok(Event::Start(start)) => check_same_settings(&folder.join(LOG), &start.config, config),
        // Empty, or the first line of a run that was killed while writing it.
        _ if line.is_empty() => Ok(()),
        _ if !line.ends_with('\n') && line.starts_with(LOG_START) => Ok(()),
        _ => Err(FolderError::Foreign(folder.to_owned())),
    }
}

fn append(file: &mut File, line: &str) -> io::Result<()> {
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

fn check_same_settings(
    path: &Path,
    before: &Map<String, Value>,
    now: &Map<String, Value>,
) -> Result<(), FolderError> {
    let text = |value: Option<&Value>| match value {
        None => "not set".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let mut keys: Vec<&String> = before.keys().chain(now.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let differences: Vec<String> = keys
        .into_iter()
        .filter(|&key| before.get(key) != now.get(key))
        .map(|key| {
            format!(
                "--{key} was {}, now {}",
                text(before.get(key)),
                text(now.get(key))
            )
        })
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(FolderError::Other {
        path: path.to_owned(),
        differences: differences.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(lr: f64) -> Map<String, Value> {
        json!({"lr": lr, "loss": "svm"})
            .as_object()
            .unwrap()
            .clone()
    }

    #[test]
    fn temporary_files_of_a_killed_process_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join(".topk-export-AbC123")).unwrap();
        for name in [
            ".topk-export-AbC123/bestk.onnx",
            ".state.safetensors.AbC123",
            ".bestk.json.AbC123",
            ".run.html.AbC123",
            ".bestknown",
            ".notes",
            "notes",
        ] {
            fs::write(path.join(name), "").unwrap();
        }
        RunFolder::open(path, &config(0.1)).unwrap();
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [".bestknown", ".notes", "log.jsonl", "notes", "times.jsonl"]
        );
    }

    #[test]
    fn a_folder_is_locked_and_bound_to_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        let (mut run, state) = RunFolder::open(&out, &config(0.1)).unwrap();
        assert!(state.is_none());
        assert!(matches!(
            RunFolder::open(&out, &config(0.1)),
            Err(FolderError::Busy(_))
        ));
        let start = topk_history::Start {
            config: config(0.1),
            device: "cpu".into(),
            classes: 2,
            train_images: 3,
            val_images: 1,
            parameters: 5,
            decisions: Vec::new(),
        };
        let mut position = Position::start(config(0.1));
        run.log(&Event::Start(start), &mut position).unwrap();
        drop(run);
        let message = RunFolder::open(&out, &config(0.2)).unwrap_err().to_string();
        assert!(message.contains("--lr was 0.1, now 0.2"), "{message}");
        assert_eq!(
            fs::metadata(out.join(LOG)).unwrap().len(),
            position.log_bytes
        );
        // Killed before it saved a state: it starts again.
        drop(RunFolder::open(&out, &config(0.1)).unwrap());
        assert_eq!(fs::metadata(out.join(LOG)).unwrap().len(), 0);
    }

    #[test]
    fn a_foreign_log_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(LOG);
        fs::write(&log, "dear diary\n").unwrap();
        let opened = RunFolder::open(folder.path(), &config(0.1));
        assert!(matches!(opened, Err(FolderError::Foreign(_))));
        assert_eq!(fs::read(&log).unwrap(), b"dear diary\n");
    }
}
