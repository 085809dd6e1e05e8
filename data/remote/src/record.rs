//! Records of what listing an object reads: headers, names and labels, a small part of it. A record is kept on disk
//! by the object's version, so that listing the object again reads the record instead of the object.
//!
//! Listing reads the same ranges in the same order each time. A range that differs from the record ends its use.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::RemoteError;
use crate::client::Client;
use crate::object::Object;

/// The reads of listing an object.
pub struct Record {
    path: PathBuf,
    mode: Mutex<Mode>,
}

enum Mode {
    /// From a complete record.
    Replay(ZlibDecoder<BufReader<File>>),
    /// Into a new record. The lock lets other processes wait for it instead of reading the same.
    Add {
        record: ZlibEncoder<BufWriter<File>>,
        unfinished: PathBuf,
        _lock: Option<File>,
    },
    /// Neither.
    Off,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The record of what `purpose` reads of an object, if there is a folder for it. Change the purpose with the code
    /// that reads.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn record(
        &self,
        object: &Object,
        purpose: &str,
    ) -> Result<Option<Arc<Record>>, RemoteError> {
        let Some(folder) = self.folder() else {
            return Ok(None);
        };
        let folder = folder.join("lists");
        let failed = |error: io::Error| RemoteError::Cache {
            path: folder.clone(),
            reason: error.to_string(),
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let path = folder.join(format!("{}-{purpose}", object.id));
        let mode = match File::open(&path) {
            Ok(file) => Mode::Replay(ZlibDecoder::new(BufReader::new(file))),
            Err(_) => {
                let lock = File::create(path.with_extension("lock")).map_err(failed)?;
                let lock = lock.lock().is_ok().then_some(lock);
                match File::open(&path) {
                    Ok(file) => Mode::Replay(ZlibDecoder::new(BufReader::new(file))),
                    Err(_) => {
                        let unfinished = path.with_extension(std::process::id().to_string());
                        let file = File::create(&unfinished).map_err(failed)?;
                        let record = ZlibEncoder::new(BufWriter::new(file), Compression::fast());
                        Mode::Add {
                            record,
                            unfinished,
                            _lock: lock,
                        }
                    }
                }
            }
        };
        Ok(Some(Arc::new(Record {
            path,
            mode: Mutex::new(mode),
        })))
    }
}

impl Record {
    fn mode(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the buffer from the record, if this range is next in it.
    pub(crate) fn replay(&self, position: u64, buffer: &mut [u8]) -> bool {
        let mut mode = self.mode();
        let Mode::Replay(record) = &mut *mode else {
            return false;
        };
        let mut read = || -> io::Result<bool> {
            let mut header = [0; 16];
            record.read_exact(&mut header)?;
            if header != self::header(position, buffer.len()) {
                return Ok(false);
            }
            record.read_exact(buffer)?;
            Ok(true)
        };
        let found = read().unwrap_or(false);
        if !found {
            // It is damaged, or of other code; the next listing makes a new one.
            let _ = fs::remove_file(&self.path);
            *mode = Mode::Off;
        }
        found
    }

    pub(crate) fn add(&self, position: u64, bytes: &[u8]) {
        let mut mode = self.mode();
        let Mode::Add {
            record, unfinished, ..
        } = &mut *mode
        else {
            return;
        };
        let mut write = || {
            record.write_all(&header(position, bytes.len()))?;
            record.write_all(bytes)
        };
        if write().is_err() {
            // Such as on a full disk: listing works without.
            let _ = fs::remove_file(unfinished);
            *mode = Mode::Off;
        }
    }

    /// Keeps the record. Call it when listing has succeeded.
    pub fn finish(&self) {
        let mut mode = self.mode();
        if let Mode::Add {
            record, unfinished, ..
        } = &mut *mode
        {
            let finished = record.try_finish().and_then(|()| record.get_mut().flush());
            let kept = finished.and_then(|()| fs::rename(&*unfinished, &self.path));
            if kept.is_err() {
                let _ = fs::remove_file(unfinished);
            }
            let _ = fs::remove_file(self.path.with_extension("lock"));
        }
        *mode = Mode::Off;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Mode::Add { unfinished, .. } = &*self.mode() {
            let _ = fs::remove_file(unfinished);
            let _ = fs::remove_file(self.path.with_extension("lock"));
        }
    }
}

fn header(position: u64, length: usize) -> [u8; 16] {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&position.to_le_bytes());
    header[8..].copy_from_slice(&(length as u64).to_le_bytes());
    header
}
