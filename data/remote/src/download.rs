use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::RemoteError;
use crate::client::Client;
use crate::location::is_remote;

impl Client {
    /// A local file with the contents of an object, under its own name: a model, a checkpoint or a list. It is
    /// downloaded into the cache unless this version of it is there already.
    ///
    /// # Errors
    /// If the download fails, or neither the cache nor the home folder is known.
    pub fn download(self: &Arc<Self>, path: &Path) -> Result<PathBuf, RemoteError> {
        let object = self.open(path)?;
        let folder = self.files()?.join(&object.id);
        let failed = |error: io::Error| RemoteError::Cache {
            path: folder.clone(),
            reason: error.to_string(),
        };
        let name = Path::new(&object.location.key)
            .file_name()
            .unwrap_or_default();
        let target = folder.join(name);
        // The folder's name has the version, and files appear complete.
        if fs::metadata(&target).is_ok_and(|file| file.len() == object.size()) {
            return Ok(target);
        }
        fs::create_dir_all(&folder).map_err(failed)?;
        let unfinished = folder.join(format!("unfinished-{}", std::process::id()));
        let write = || -> Result<(), RemoteError> {
            let mut file = File::create(&unfinished).map_err(failed)?;
            let step = self.options.block as u64;
            let mut buffer = Vec::new();
            for start in (0..object.size()).step_by(self.options.block) {
                let end = object.size().min(start + step);
                object.read_range_ahead(end..end.saturating_add(8 * step));
                buffer.resize((end - start) as usize, 0);
                object.read_exact_at(&mut buffer, start)?;
                file.write_all(&buffer).map_err(failed)?;
            }
            file.sync_all().map_err(failed)?;
            fs::rename(&unfinished, &target).map_err(failed)
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written.map(|()| target)
    }

    /// A folder in the cache that has these downloads under these names, relative to it: of objects that refer to each
    /// other by their names. Each of their versions has a folder of its own.
    ///
    /// # Errors
    /// If the cache cannot be used.
    pub fn gather(&self, downloads: &[(PathBuf, PathBuf)]) -> Result<PathBuf, RemoteError> {
        let root = self.files()?;
        let mut id = topk_files::Hasher::default();
        for (name, download) in downloads {
            // The download's folder has its version.
            let of = download.strip_prefix(&root).unwrap_or(download);
            id.update(format!("{}\n{}\n", name.display(), of.display()));
        }
        let mut id = id.finish();
        id.truncate(32);
        let folder = root.join(&id);
        let size = |path: &Path| fs::metadata(path).map(|file| file.len()).ok();
        let complete = || {
            let mut names = downloads.iter();
            names.all(|(name, download)| size(&folder.join(name)) == size(download))
        };
        if complete() {
            return Ok(folder);
        }
        let unfinished = root.join(format!("unfinished-{id}-{}", std::process::id()));
        // It appears complete, so somebody has removed files.
        if folder.exists() && !complete() {
            let _ = fs::remove_dir_all(&folder);
        }
        let link = || -> io::Result<()> {
            for (name, download) in downloads {
                let target = unfinished.join(name);
                fs::create_dir_all(target.parent().unwrap_or(&unfinished))?;
                if fs::hard_link(download, &target).is_err() {
                    fs::copy(download, &target)?;
                }
            }
            fs::rename(&unfinished, &folder)
        };
        let linked = link();
        let _ = fs::remove_dir_all(&unfinished);
        match linked {
            // Another process may have been faster.
            Err(error) if !complete() => Err(RemoteError::Cache {
                path: folder,
                reason: error.to_string(),
            }),
            _ => Ok(folder),
        }
    }

    /// The folder of downloads.
    fn files(&self) -> Result<PathBuf, RemoteError> {
        let folder = self.folder().ok_or_else(|| RemoteError::Cache {
            path: PathBuf::from("~/.cache"),
            reason: "HOME and XDG_CACHE_HOME are not set; choose a folder with --cache".to_owned(),
        })?;
        Ok(folder.join("files"))
    }
}

/// The path itself if it is local, otherwise that of a download (see [`Client::download`]).
///
/// # Errors
/// Those of the download.
pub fn local(path: &Path) -> Result<PathBuf, RemoteError> {
    match is_remote(path) {
        true => Client::shared()?.download(path),
        false => Ok(path.to_owned()),
    }
}
