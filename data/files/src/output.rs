use std::fs::{self, File, OpenOptions};
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;

/// A file to write.
///
/// A regular file appears under its name at [`commit`](Self::commit), complete, and replaces one of that name,
/// whose mode it keeps; without a commit nothing changes. If the name is a symbolic link, the target of the
/// link is replaced.
///
/// Other files, such as devices, pipes and the file that standard output is redirected to, are not replaced:
/// the contents are kept in memory and written to them at the commit. The name `-` is that of standard output; a file of
/// this name is `./-`.
#[derive(Debug)]
pub struct OutputFile(Kind);

#[derive(Debug)]
enum Kind {
    Replaced(AtomicWriteFile),
    InPlace {
        file: File,
        contents: Cursor<Vec<u8>>,
    },
    Stdout(Cursor<Vec<u8>>),
}

/// Most bytes of a regular file that one system call writes. Linux caches longer writes in pages of 2 MiB, and a virtual
/// machine that returns free pages of this size to its host waits until it has them again: for 100 MB, 120 ms instead of
/// 20 ms.
pub(crate) const MAX_WRITE: usize = 1 << 20;

/// The name of standard output.
const STDOUT: &str = "-";

impl OutputFile {
    /// Prepares to write a file.
    ///
    /// # Errors
    /// If the file cannot be written, such as if its folder does not exist or is read-only, or if it is a
    /// folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(match destination(path)? {
            Destination::Replaced(path) => Kind::Replaced(AtomicWriteFile::open(path)?),
            Destination::Stdout => Kind::Stdout(Cursor::default()),
            Destination::Standard(stream) => Kind::in_place(stream),
            Destination::InPlace => Kind::in_place(OpenOptions::new().append(true).open(path)?),
        }))
    }

    /// Fails if [`open`](Self::open) would fail. Changes nothing.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); a pipe is not opened, because its reader would see it end.
    pub fn check(path: &Path) -> io::Result<()> {
        match destination(path)? {
            Destination::Replaced(path) => AtomicWriteFile::open(path)?.discard(),
            Destination::Stdout | Destination::Standard(_) => Ok(()),
            Destination::InPlace if is_pipe(&fs::metadata(path)?) => Ok(()),
            Destination::InPlace => OpenOptions::new().append(true).open(path).map(drop),
        }
    }

    /// Whether the file of this name would be replaced, and so can be written several times; otherwise it is a
    /// device, a pipe or standard output.
    pub fn is_replaced(path: &Path) -> bool {
        matches!(destination(path), Ok(Destination::Replaced(_)))
    }

    /// Whether this is the file, pipe or terminal that standard output goes to.
    pub fn is_stdout(path: &Path) -> bool {
        if path == Path::new(STDOUT) {
            return true;
        }
        fs::metadata(path).is_ok_and(|file| {
            standard_stream(&file, io::stdout()).is_ok_and(|stream| stream.is_some())
        })
    }

    /// Makes the contents visible.
    ///
    /// # Errors
    /// If the file cannot be written or renamed. A regular file is unchanged then.
    pub fn commit(self) -> io::Result<()> {
        match self.0 {
            Kind::Replaced(file) => file.commit(),
            Kind::InPlace { mut file, contents } => {
                file.write_all(contents.get_ref())?;
                file.flush()
            }
            Kind::Stdout(contents) => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(contents.get_ref())?;
                stdout.flush()
            }
        }
    }
}

impl Kind {
    fn in_place(file: File) -> Self {
        Self::InPlace {
            file,
            contents: Cursor::default(),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Replaced(file) => file.write(&bytes[..bytes.len().min(MAX_WRITE)]),
            Kind::InPlace { contents, .. } | Kind::Stdout(contents) => contents.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Replaced(file) => file.flush(),
            Kind::InPlace { contents, .. } | Kind::Stdout(contents) => contents.flush(),
        }
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match &mut self.0 {
            Kind::Replaced(file) => file.seek(position),
            Kind::InPlace { contents, .. } | Kind::Stdout(contents) => contents.seek(position),
        }
    }
}

/// How a path is written.
enum Destination {
    /// By replacing the regular file of this path, which may not exist yet.
    Replaced(PathBuf),
    /// To standard output, by its name.
    Stdout,
    /// To standard output or standard error, which this path leads to.
    Standard(File),
    /// By opening the path and writing to it.
    InPlace,
}

fn destination(path: &Path) -> io::Result<Destination> {
    if path == Path::new(STDOUT) {
        return Ok(Destination::Stdout);
    }
    let file = match fs::metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Destination::Replaced(missing_target(path)?));
        }
        Err(error) => return Err(error),
    };
    if file.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    // A redirected standard output must not be replaced: what is printed later would be lost.
    let standard = standard_stream(&file, io::stdout())?;
    if let Some(stream) = standard.or(standard_stream(&file, io::stderr())?) {
        return Ok(Destination::Standard(stream));
    }
    if !file.is_file() {
        return Ok(Destination::InPlace);
    }
    // A path below /proc/self/fd may lead to a file that was renamed or deleted.
    match fs::canonicalize(path) {
        Ok(target) if fs::metadata(&target).is_ok_and(|found| is_same(&found, &file)) => {
            Ok(Destination::Replaced(target))
        }
        _ => Ok(Destination::InPlace),
    }
}

/// Follows links to a file that does not exist yet.
fn missing_target(path: &Path) -> io::Result<PathBuf> {
    /// As many as Linux follows.
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

#[cfg(unix)]
fn is_same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(unix)]
fn is_pipe(file: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file.file_type().is_fifo()
}

/// A duplicate of a standard stream, if it goes to this file.
#[cfg(unix)]
fn standard_stream(
    file: &fs::Metadata,
    stream: impl std::os::fd::AsFd,
) -> io::Result<Option<File>> {
    // A program may be started with its standard streams closed.
    let Ok(stream) = stream.as_fd().try_clone_to_owned() else {
        return Ok(None);
    };
    let stream = File::from(stream);
    Ok(is_same(&stream.metadata()?, file).then_some(stream))
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

#[cfg(not(unix))]
fn standard_stream<S>(_: &fs::Metadata, _: S) -> io::Result<Option<File>> {
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::process::Command;
    use std::thread;

    fn write(path: &Path, contents: &str) -> io::Result<()> {
        OutputFile::check(path)?;
        let mut file = OutputFile::open(path)?;
        file.write_all(contents.as_bytes())?;
        file.commit()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_target_of_a_link_is_written_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let [target, link, second] =
            ["target", "link", "second"].map(|name| folder.path().join(name));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("target", &link).unwrap();
        symlink(&link, &second).unwrap();
        write(&second, "new").unwrap();
        assert!(link.is_symlink() && second.is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(mode(&target), 0o640);
    }

    #[test]
    fn a_hyphen_is_standard_output() {
        let stdout = Path::new("-");
        OutputFile::check(stdout).unwrap();
        assert!(OutputFile::is_stdout(stdout) && !OutputFile::is_replaced(stdout));
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("-"), "a file").unwrap();
        assert!(OutputFile::is_replaced(&folder.path().join("-")));
    }

    #[test]
    fn a_link_to_a_file_that_does_not_exist_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        fs::create_dir(folder.path().join("inner")).unwrap();
        symlink("inner/target", &link).unwrap();
        write(&link, "new").unwrap();
        assert!(link.is_symlink());
        let target = folder.path().join("inner/target");
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(mode(&target) & 0o111, 0);
        symlink("loop", folder.path().join("loop")).unwrap();
        write(&folder.path().join("loop"), "").unwrap_err();
    }

    #[test]
    fn pipes_and_devices_are_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let writer = thread::spawn({
            let pipe = pipe.clone();
            move || write(&pipe, "through the pipe")
        });
        let mut text = String::new();
        File::open(&pipe)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(text, "through the pipe");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());

        let before = fs::metadata("/dev/null").unwrap();
        let link = folder.path().join("null.json");
        symlink("/dev/null", &link).unwrap();
        // Not the device itself: if this test failed as root, the machine would lose it.
        write(&link, "nothing").unwrap();
        assert!(
            !OutputFile::is_replaced(&link) && !OutputFile::is_replaced(Path::new("/dev/null"))
        );
        let after = fs::symlink_metadata("/dev/null").unwrap();
        assert!(after.file_type().is_char_device());
        assert_eq!((before.dev(), before.ino()), (after.dev(), after.ino()));
        assert!(link.is_symlink());
    }

    #[test]
    fn a_descriptor_of_a_deleted_file_is_written() {
        use std::os::fd::AsRawFd;
        let mut file = tempfile::tempfile().unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        write(Path::new(&path), "new").unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "new");
    }

    #[test]
    fn what_cannot_be_written_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("missing/file")] {
            OutputFile::check(&path).unwrap_err();
            OutputFile::open(&path).unwrap_err();
        }
        let file = folder.path().join("file");
        OutputFile::check(&file).unwrap();
        drop(OutputFile::open(&file).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
