//! Folders of images.

use std::fs::{self, Metadata};
use std::path::Path;

use topk_files::excerpt;

use crate::{DataError, Warnings, storage};

/// torchvision's `IMG_EXTENSIONS`.
const EXTENSIONS: [&str; 9] = [
    "jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp",
];

/// Folders of file systems, archives and programs, which are not data.
const NOT_DATA: [&str; 7] = [
    "lost+found",
    "__MACOSX",
    "__pycache__",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
    "CVS",
];

/// Largest depth of nested folders.
const MAX_DEPTH: usize = 32;

/// Whether a file has the extension of an image.
pub(crate) fn is_image(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    EXTENSIONS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(extension))
}

/// The last part of a name with slashes.
pub(crate) fn file_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, file)| file)
}

/// Sort key of torchvision's `ImageFolder` for the images of a class: the folder, then the file name.
pub(crate) fn image_folder_order(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

/// Whether a file or folder with this name is left out: hidden ones, and folders that are not data.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || NOT_DATA.contains(&name)
}

/// The contents of a folder, without hidden files and folders that are not data, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub files: Vec<String>,
    pub folders: Vec<String>,
}

impl Entries {
    /// Lists a folder. Symbolic links count as their targets.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        if let Some((mut files, mut folders)) = storage::names(path)? {
            files.retain(|name| !name.starts_with('.'));
            folders.retain(|name| !is_hidden(name));
            return Ok(Self { files, folders });
        }
        let mut entries = Self::default();
        for entry in fs::read_dir(path).map_err(DataError::io(path))? {
            let entry = entry.map_err(DataError::io(path))?;
            let name = entry.file_name();
            let mut kind = entry.file_type().map_err(DataError::io(entry.path()))?;
            if kind.is_symlink() {
                // A link without a target is a file that cannot be read.
                let target = fs::metadata(entry.path());
                kind = target.map_or(kind, |metadata| metadata.file_type());
            }
            let lossy = name.to_string_lossy().into_owned();
            if is_hidden(&lossy) && (kind.is_dir() || lossy.starts_with('.')) {
                continue;
            }
            let name = match name.into_string() {
                Ok(name) => name,
                // Only the names of images are written into results.
                Err(_) if !kind.is_dir() && !is_image(&lossy) => lossy,
                Err(_) => {
                    return Err(DataError::NotUtf8 {
                        path: path.to_owned(),
                        name: excerpt(&lossy),
                    });
                }
            };
            if kind.is_dir() {
                entries.folders.push(name);
            } else {
                entries.files.push(name);
            }
        }
        entries.files.sort_unstable();
        entries.folders.sort_unstable();
        Ok(entries)
    }
}

/// Paths of the images below `root/folder`, relative to `root`, in the order of torchvision's
/// `make_dataset`: folders sorted by their whole path, and the files of each. A link to a folder that
/// contains it is not followed.
pub(crate) fn images(
    root: &Path,
    folder: &str,
    warnings: &mut Warnings,
) -> Result<Vec<String>, DataError> {
    let mut walk = Walk {
        root,
        warnings,
        folders: Vec::new(),
        above: Vec::new(),
    };
    walk.folder(folder)?;
    let mut folders = walk.folders;
    folders.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let images = folders
        .into_iter()
        .flat_map(|(folder, files)| files.into_iter().map(move |file| join(&folder, &file)));
    Ok(images.collect())
}

/// Whether there is an image below `folder`.
pub(crate) fn has_images(folder: &Path) -> Result<bool, DataError> {
    fn search(folder: &Path, depth: usize) -> Result<bool, DataError> {
        let entries = Entries::of(folder)?;
        if entries.files.iter().any(|file| is_image(file)) {
            return Ok(true);
        }
        for inner in &entries.folders {
            if depth > 0 && search(&folder.join(inner), depth - 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
    // The images of a class are in its folder or a few levels down; links to parents cost little here.
    const DEPTH: usize = 3;
    search(folder, DEPTH)
}

/// Path of a name in a folder, which is empty for the root.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

struct Walk<'a> {
    root: &'a Path,
    warnings: &'a mut Warnings,
    folders: Vec<(String, Vec<String>)>,
    above: Vec<(u64, u64)>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &str) -> Result<(), DataError> {
        let path = self.root.join(folder);
        let id = match storage::is_remote(&path) {
            // Prefixes have no links, so depth is their only bound.
            true => (0, self.above.len() as u64),
            false => {
                let id = fs::metadata(&path).map(|metadata| identity(&metadata));
                id.map_err(DataError::io(&path))?
            }
        };
        if self.above.contains(&id) || self.above.len() > MAX_DEPTH {
            self.warnings.loops.push(folder.to_owned());
            return Ok(());
        }
        let Entries { mut files, folders } = Entries::of(&path)?;
        let ignored = files.extract_if(.., |file| !is_image(file));
        self.warnings
            .ignored
            .extend(ignored.map(|file| join(folder, &file)));
        self.folders.push((folder.to_owned(), files));
        self.above.push(id);
        for inner in folders {
            self.folder(&join(folder, &inner))?;
        }
        self.above.pop();
        Ok(())
    }
}

/// Device and inode, which identify a folder.
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}
