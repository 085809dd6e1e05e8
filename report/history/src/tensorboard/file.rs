//! The files that TensorBoard reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::proto::{self, Event, SessionLog, Summary, Value, What};
use super::{EventsError, tfrecord};

/// Prefix of the names of event files.
const PREFIX: &str = "events.out.tfevents.";

/// A file to which events are appended.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Creates a file in a folder, and the folder if it does not exist. TensorBoard then does not show values of older
    /// files in the folder from the step `first` on.
    pub(super) fn create(folder: &Path, first: i64) -> Result<Self, EventsError> {
        let fail = |error| EventsError {
            path: folder.to_owned(),
            error,
        };
        fs::create_dir_all(folder).map_err(fail)?;
        let path = folder.join(name(folder).map_err(fail)?);
        let mut options = OpenOptions::new();
        let file = options.create_new(true).append(true).open(&path);
        let file = file.map_err(|error| EventsError {
            path: path.clone(),
            error,
        })?;
        let mut file = Self { path, file };
        let session = SessionLog {
            status: proto::START,
        };
        file.append(vec![
            (0, What::FileVersion("brain.Event:2".to_owned())),
            (first, What::SessionLog(session)),
        ])?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the values of steps.
    pub(super) fn write(&mut self, values: Vec<(i64, Vec<Value>)>) -> Result<(), EventsError> {
        let events = values.into_iter();
        self.append(
            events
                .map(|(step, value)| (step, What::Summary(Summary { value })))
                .collect(),
        )
    }

    fn append(&mut self, events: Vec<(i64, What)>) -> Result<(), EventsError> {
        let mut bytes = Vec::new();
        let wall_time = now();
        for (step, what) in events {
            let event = Event {
                wall_time,
                step,
                what: Some(what),
            };
            tfrecord::append(&mut bytes, &event.encode_to_vec());
        }
        self.file.write_all(&bytes).map_err(|error| EventsError {
            path: self.path.clone(),
            error,
        })
    }
}

/// A file name that sorts after those of older event files in the folder: TensorBoard reads them in this order.
fn name(folder: &Path) -> io::Result<String> {
    let mut seconds = now() as u64;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let older = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let older = older.and_then(|older| older.split('.').next()?.parse::<u64>().ok());
        seconds = seconds.max(older.map_or(0, |older| older.saturating_add(1)));
    }
    // The host only makes names distinct, so any text will do.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    Ok(format!(
        "{PREFIX}{seconds:010}.{host}.{}",
        std::process::id()
    ))
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
