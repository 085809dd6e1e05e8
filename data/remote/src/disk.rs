//! Blocks on disk, shared by processes and kept over their end.
//!
//! A block is a file that appears under its name complete, with a checksum. When the blocks have more bytes than
//! allowed, those used longest ago are removed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use flate2::Crc;

use crate::RemoteError;

/// Bytes of the checksum after a block.
const CHECKSUM: usize = 4;

/// Part of the size that is written before the total is looked at again, by each process.
const STEP: u64 = 32;

/// Blocks used within this time are not marked as used again.
const RECENT: Duration = Duration::from_secs(60);

/// Unfinished files older than this belong to processes that were killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The folder of blocks.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    limit: u64,
    /// Bytes that may be written until the total is looked at.
    left: AtomicU64,
    unfinished: AtomicU64,
}

/// A file of the folder.
struct Found {
    used: SystemTime,
    size: u64,
    path: PathBuf,
}

impl Disk {
    /// Opens or makes the folder of blocks in a cache folder.
    pub fn open(cache: &Path, limit: u64) -> Result<Self, RemoteError> {
        let folder = cache.join("blocks");
        let failed = |error: io::Error| RemoteError::Cache {
            path: cache.to_owned(),
            reason: error.to_string(),
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let disk = Self {
            folder,
            limit,
            left: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
        };
        // So that a read-only folder is an error at the start.
        let probe = disk.unfinished_path();
        fs::write(&probe, b"")
            .and_then(|()| fs::remove_file(&probe))
            .map_err(failed)?;
        Ok(disk)
    }

    fn path(&self, id: &str, block: u64) -> PathBuf {
        self.folder.join(&id[..2]).join(id).join(block.to_string())
    }

    fn unfinished_path(&self) -> PathBuf {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        self.folder
            .join(format!("unfinished-{}-{number}", std::process::id()))
    }

    /// Reads a block of this many bytes in an empty buffer, if it is there and undamaged.
    pub fn get(&self, id: &str, block: u64, length: usize, buffer: &mut Vec<u8>) -> bool {
        let path = self.path(id, block);
        let mut read = || {
            let file = File::open(&path)?;
            (&file).take(length as u64).read_to_end(buffer)?;
            let mut checksum = Vec::new();
            (&file)
                .take(CHECKSUM as u64 + 1)
                .read_to_end(&mut checksum)?;
            io::Result::Ok(checksum)
        };
        let Ok(checksum) = read() else { return false };
        if buffer.len() != length || checksum != checksum_of(buffer) {
            let _ = fs::remove_file(&path);
            return false;
        }
        let used = fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .ok();
        let now = SystemTime::now();
        if used.is_none_or(|used| now.duration_since(used).is_ok_and(|age| age > RECENT)) {
            // Another process may have removed it meanwhile.
            let _ = File::open(&path).and_then(|file| file.set_modified(now));
        }
        true
    }

    /// Keeps a block.
    pub fn put(&self, id: &str, block: u64, bytes: &[u8]) -> io::Result<()> {
        let size = (bytes.len() + CHECKSUM) as u64;
        if size > self.limit {
            return Ok(());
        }
        let take = |left: u64| left.checked_sub(size);
        if self
            .left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_err()
        {
            self.make_room(size)?;
        }
        let path = self.path(id, block);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let unfinished = self.unfinished_path();
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.write_all(&checksum_of(bytes))?;
            // After a crash of the system the checksum finds what was not written.
            fs::rename(&unfinished, &path)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })
    }

    /// Removes the blocks used longest ago until there is room for `size` bytes and a step more.
    fn make_room(&self, size: u64) -> io::Result<()> {
        let lock = File::create(self.folder.join("lock"))?;
        // File systems without locks have no bound when several processes write at the same time.
        let _ = lock.lock();
        let step = self.limit / STEP;
        let mut found = Vec::new();
        let now = SystemTime::now();
        collect(&self.folder, now, &mut found);
        let mut total: u64 = found.iter().map(|file| file.size).sum();
        let allowed = self.limit.saturating_sub(size + 2 * step);
        if total > allowed {
            found.sort_unstable_by_key(|file| file.used);
            for file in found {
                if total <= allowed {
                    break;
                }
                if fs::remove_file(&file.path).is_ok() {
                    total -= file.size;
                    if let Some(parent) = file.path.parent() {
                        // Fails while it has other blocks.
                        let _ = fs::remove_dir(parent);
                    }
                }
            }
        }
        self.left.store(step, Ordering::Relaxed);
        Ok(())
    }
}

/// The blocks below a folder. Removes abandoned files.
fn collect(folder: &Path, now: SystemTime, found: &mut Vec<Found>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let path = entry.path();
        if metadata.is_dir() {
            collect(&path, now, found);
            continue;
        }
        let Ok(used) = metadata.modified() else {
            continue;
        };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("unfinished-") {
            if now.duration_since(used).is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(&path);
            }
        } else if name != "lock" {
            found.push(Found {
                used,
                size: metadata.len(),
                path,
            });
        }
    }
}

fn checksum_of(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef";

    fn get(disk: &Disk, block: u64, length: usize) -> Option<Vec<u8>> {
        let mut buffer = Vec::new();
        disk.get(ID, block, length, &mut buffer).then_some(buffer)
    }

    fn total(disk: &Disk) -> u64 {
        let mut found = Vec::new();
        collect(&disk.folder, SystemTime::now(), &mut found);
        found.iter().map(|file| file.size).sum()
    }

    #[test]
    fn blocks_are_kept_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), 1 << 20).unwrap();
        disk.put(ID, 3, b"contents").unwrap();
        let other = Disk::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(get(&other, 3, 8).unwrap(), b"contents");
        assert_eq!(get(&other, 4, 8), None);
        assert_eq!(get(&other, 3, 7), None, "another length is another block");
        disk.put(ID, 3, b"contents").unwrap();
        let path = disk.path(ID, 3);
        let mut bytes = fs::read(&path).unwrap();
        bytes[2] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(get(&disk, 3, 8), None);
        assert!(!path.exists());
    }

    #[test]
    fn the_oldest_blocks_make_room() {
        const LIMIT: u64 = 100_000;
        let folder = tempfile::tempdir().unwrap();
        let disks = [0, 1].map(|_| Disk::open(folder.path(), LIMIT).unwrap());
        let begin = SystemTime::now() - Duration::from_secs(10_000);
        for number in 0..200 {
            let disk = &disks[number as usize % 2];
            disk.put(ID, number, &[7; 1000]).unwrap();
            let file = File::open(disk.path(ID, number)).unwrap();
            file.set_modified(begin + Duration::from_secs(number))
                .unwrap();
            assert!(total(disk) <= LIMIT, "{number}: {}", total(disk));
        }
        assert!(total(&disks[0]) > LIMIT / 2);
        assert_eq!(get(&disks[0], 0, 1000), None);
        assert!(get(&disks[0], 199, 1000).is_some());
    }

    #[test]
    fn unfinished_files_of_killed_processes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), 1 << 20).unwrap();
        let [old, new] = ["unfinished-1-0", "unfinished-2-0"].map(|name| disk.folder.join(name));
        for path in [&old, &new] {
            fs::write(path, "part").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        File::options()
            .write(true)
            .open(&old)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        disk.put(ID, 0, b"contents").unwrap();
        assert!(!old.exists() && new.exists());
    }
}
