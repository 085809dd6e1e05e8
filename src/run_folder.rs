use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;
use topk_export::DRAFT_PREFIX;
use topk_history::{EpochTime, Event, LOG, SUMMARY, TIMES};

use crate::checkpoints::is_name;
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

impl FolderError {
    /// The error of reading or writing a file.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// The folder of a run, locked against other processes.
///
/// Nothing in it changes until [`rewind`](Self::rewind). Without that, folders and files that opening it created are
/// removed again.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    log: File,
    times: File,
    /// Files and folders that opening created, the innermost first.
    created: Vec<PathBuf>,
    /// Whether the run has begun to write.
    begun: bool,
}

/// What a folder contains.
#[derive(Debug)]
pub(crate) enum Found {
    /// No run.
    New,
    /// A run with these settings that was killed before it saved a state.
    Started(Map<String, Value>),
    /// The state of a run.
    Saved(Box<State>),
}

impl RunFolder {
    /// Opens or creates the folder of a run.
    pub(crate) fn open(path: &Path) -> Result<(Self, Found), FolderError> {
        let fail = FolderError::io;
        let files = [TIMES, LOG].map(|name| path.join(name));
        let missing = files
            .iter()
            .map(PathBuf::as_path)
            .chain(path.ancestors())
            .filter(|path| !path.as_os_str().is_empty() && !path.exists());
        let created: Vec<PathBuf> = missing.map(Path::to_owned).collect();
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
        let log = loop {
            let log = open(LOG)?;
            match log.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(FolderError::Busy(path.to_owned())),
                Err(TryLockError::Error(error)) => return Err(fail(&path.join(LOG))(error)),
            }
            // Another process may have removed the file between opening and locking it.
            if is_file_at(&log, &path.join(LOG)) {
                break log;
            }
            fs::create_dir_all(path).map_err(fail(path))?;
        };
        let folder = Self {
            times: open(TIMES)?,
            log,
            path: path.to_owned(),
            created,
            begun: false,
        };
        let found = match State::read(path)? {
            Some(state) => Found::Saved(Box::new(state)),
            None => folder.started()?,
        };
        Ok((folder, found))
    }

    /// What a folder without a state contains.
    fn started(&self) -> Result<Found, FolderError> {
        let foreign = || FolderError::Foreign(self.path.clone());
        let mut line = String::new();
        let read = BufReader::new(&self.log).read_line(&mut line);
        read.map_err(|_| foreign())?;
        match serde_json::from_str(&line) {
            Ok(Event::Start(start)) => Ok(Found::Started(start.config)),
            // Empty, or the first line of a run that was killed while writing it.
            _ if line.is_empty() => Ok(Found::New),
            _ if !line.ends_with('\n')
                && (line.starts_with(LOG_START) || LOG_START.starts_with(&line)) =>
            {
                Ok(Found::New)
            }
            _ => Err(foreign()),
        }
    }

    /// Truncates the logs to these lengths, those at the saved state, and removes the temporary files of a process
    /// that was killed.
    pub(crate) fn rewind(&mut self, log_bytes: u64, times_bytes: u64) -> Result<(), FolderError> {
        self.begun = true;
        remove_temporary_files(&self.path)?;
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
                Err(error) => return Err(FolderError::io(&path)(error)),
            }
        }
        Ok(())
    }

    /// Replaces the contents of the logs.
    pub(crate) fn replace_logs(&mut self, log: &[u8], times: &[u8]) -> Result<(), FolderError> {
        self.rewind(0, 0)?;
        for (file, name, bytes) in [(&mut self.log, LOG, log), (&mut self.times, TIMES, times)] {
            append(file, bytes).map_err(FolderError::io(&self.path.join(name)))?;
        }
        Ok(())
    }

    /// The contents of the log.
    pub(crate) fn log_bytes(&self) -> Result<Vec<u8>, FolderError> {
        let path = self.path.join(LOG);
        fs::read(&path).map_err(FolderError::io(&path))
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
        append(&mut self.log, line.as_bytes()).map_err(FolderError::io(&self.path.join(LOG)))?;
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
        append(&mut self.times, line.as_bytes())
            .map_err(FolderError::io(&self.path.join(TIMES)))?;
        position.times_bytes += line.len() as u64;
        Ok(())
    }
}

/// Removes the temporary files of a process that was killed while writing.
fn remove_temporary_files(folder: &Path) -> Result<(), FolderError> {
    for entry in fs::read_dir(folder).map_err(FolderError::io(folder))? {
        let entry = entry.map_err(FolderError::io(folder))?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let is_ours = |name: &&str| {
            let checkpoint = name.split('.').next().filter(|name| is_name(name));
            let files = [STATE, PAGE, SUMMARY];
            files.iter().any(|file| name.starts_with(file)) || checkpoint.is_some()
        };
        if name.starts_with(DRAFT_PREFIX) {
            fs::remove_dir_all(&path).map_err(FolderError::io(&path))?;
        } else if name.strip_prefix('.').filter(is_ours).is_some() {
            fs::remove_file(&path).map_err(FolderError::io(&path))?;
        }
    }
    Ok(())
}

/// Writes a file atomically.
pub(crate) fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), FolderError> {
    topk_files::write(path, contents).map_err(FolderError::io(path))
}

fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_data()
}

/// Whether an open file is the one of this name.
#[cfg(unix)]
fn is_file_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(named)) => (file.dev(), file.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Other systems do not remove open files.
#[cfg(not(unix))]
fn is_file_at(_file: &File, _path: &Path) -> bool {
    true
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if self.begun {
            return;
        }
        // What cannot be removed is in nobody's way: an empty log is that of a run that has not started.
        for path in &self.created {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
    }
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
            ".checkpoint-12.safetensors.AbC123",
            ".summary.csv.AbC123",
            ".bestknown",
            ".notes",
            "notes",
        ] {
            fs::write(path.join(name), "").unwrap();
        }
        let (mut run, _) = RunFolder::open(path).unwrap();
        run.rewind(0, 0).unwrap();
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
    fn a_folder_is_locked_and_has_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        let (mut run, found) = RunFolder::open(&out).unwrap();
        assert!(matches!(found, Found::New));
        assert!(matches!(RunFolder::open(&out), Err(FolderError::Busy(_))));
        run.rewind(0, 0).unwrap();
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
        let log_bytes = || fs::metadata(out.join(LOG)).unwrap().len();
        let (mut run, found) = RunFolder::open(&out).unwrap();
        assert!(matches!(found, Found::Started(settings) if settings == config(0.1)));
        assert_eq!(log_bytes(), position.log_bytes);
        // Killed before it saved a state: it starts again.
        run.rewind(0, 0).unwrap();
        assert_eq!(log_bytes(), 0);
        drop(run);
        // Killed while it wrote the first line.
        for part in [&LOG_START[..3], LOG_START] {
            fs::write(out.join(LOG), part).unwrap();
            let (_, found) = RunFolder::open(&out).unwrap();
            assert!(matches!(found, Found::New), "{part}");
        }
    }

    #[test]
    fn a_folder_in_which_no_run_begins_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        drop(RunFolder::open(&folder.path().join("a/b")).unwrap());
        assert!(!folder.path().join("a").exists());
        fs::write(folder.path().join("notes"), "").unwrap();
        drop(RunFolder::open(folder.path()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_foreign_log_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(LOG);
        fs::write(&log, "dear diary\n").unwrap();
        let opened = RunFolder::open(folder.path());
        assert!(matches!(opened, Err(FolderError::Foreign(_))));
        assert_eq!(fs::read(&log).unwrap(), b"dear diary\n");
    }
}
