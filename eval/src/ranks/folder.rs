//! The folder in which ranks leave files for each other.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{self, Path, PathBuf};

use serde::{Deserialize, Serialize};
use topk_cli::launch::Launch;
use topk_files::Hasher;

use super::error::RanksError;

/// The largest sign of life or message that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A sign of life, which its process writes again and again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Sign {
    /// Changes each time.
    pub(super) beat: u64,
    /// Distinguishes two processes with the same rank.
    pub(super) process: String,
    pub(super) world_size: usize,
    /// Number of images that the rank has evaluated.
    pub(super) images: usize,
    /// Hash of the indices that all ranks together evaluate, once known.
    pub(super) plan: Option<String>,
}

/// How rank 0 has ended a run.
#[derive(Deserialize, Serialize)]
pub(super) struct End {
    /// Its error; none if the results are merged.
    pub(super) error: Option<String>,
}

/// The files of a rank.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Its [`Sign`].
    Alive,
    /// Its results so far.
    Partial,
    /// Its results.
    Results,
    /// Its error.
    Failed,
    /// The logits of the model with this index.
    Logits(usize),
}

impl Kind {
    fn extension(self) -> String {
        match self {
            Self::Alive => "alive".to_owned(),
            Self::Partial => "partial".to_owned(),
            Self::Results => "results".to_owned(),
            Self::Failed => "failed".to_owned(),
            Self::Logits(model) => format!("logits-{model}"),
        }
    }

    fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension {
            "alive" => Self::Alive,
            "partial" => Self::Partial,
            "results" => Self::Results,
            "failed" => Self::Failed,
            _ => Self::Logits(extension.strip_prefix("logits-")?.parse().ok()?),
        })
    }
}

/// A folder for the files of a run. The names of the files contain the identifier of the run, which its rank 0 has
/// drawn, so that files of an earlier run are never taken for its own.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Whether it is in a folder that others can write to.
    private: bool,
}

impl Folder {
    /// The folder for a run: in `rendezvous`, beside `output`, or for ranks of one machine a temporary one.
    ///
    /// # Errors
    /// If the ranks of several machines have neither.
    pub(super) fn of(
        launch: &Launch,
        rendezvous: Option<&Path>,
        output: Option<&Path>,
    ) -> Result<Self, RanksError> {
        let in_folder = |folder: &Path, private| Self {
            path: folder.join(format!("topk-eval-{}", key(launch))),
            private,
        };
        let folder = match (rendezvous, output) {
            (Some(folder), _) => in_folder(folder, false),
            (None, Some(output)) => {
                let mut name = output.file_name().map(OsString::from).unwrap_or_default();
                name.push(".ranks");
                Self {
                    path: output.with_file_name(name),
                    private: false,
                }
            }
            (None, None) if launch.is_on_one_machine() => in_folder(&std::env::temp_dir(), true),
            (None, None) => return Err(RanksError::NoFolder),
        };
        let path = path::absolute(&folder.path).unwrap_or(folder.path);
        Ok(Self { path, ..folder })
    }

    /// An error of the file system.
    pub(super) fn error(&self, error: &io::Error) -> RanksError {
        RanksError::Folder {
            folder: self.path.clone(),
            reason: error.to_string(),
        }
    }

    /// Creates the folder, unless it exists.
    pub(super) fn create(&self) -> io::Result<()> {
        match self.private {
            true => create_private(&self.path),
            false => fs::create_dir_all(&self.path),
        }
    }

    pub(super) fn file(&self, run: &str, rank: usize, kind: Kind) -> PathBuf {
        let extension = kind.extension();
        self.path.join(format!("rank-{rank}.{run}.{extension}"))
    }

    fn end(&self, run: &str) -> PathBuf {
        self.path.join(format!("run.{run}.ended"))
    }

    /// The signs of life of all ranks and runs.
    pub(super) fn signs(&self) -> io::Result<Vec<(usize, String, Sign)>> {
        let mut signs = Vec::new();
        for Found { path, run, name } in self.files()? {
            if let Name::OfRank(rank, Kind::Alive) = name {
                // It is written in place, so that it may be incomplete.
                let sign = read(&path).and_then(|bytes| serde_json::from_slice(&bytes).ok());
                signs.extend(sign.map(|sign| (rank, run, sign)));
            }
        }
        Ok(signs)
    }

    /// The files of this module.
    fn files(&self) -> io::Result<Vec<Found>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let named = entry.file_name().to_str().and_then(parse);
            files.extend(named.map(|(run, name)| Found {
                path: entry.path(),
                run,
                name,
            }));
        }
        Ok(files)
    }

    /// Writes a sign of life, in place: nothing of value is lost if that is interrupted.
    pub(super) fn sign(&self, run: &str, rank: usize, sign: &Sign) -> io::Result<()> {
        let bytes = serde_json::to_vec(sign)?;
        File::create(self.file(run, rank, Kind::Alive))?.write_all(&bytes)
    }

    /// Withdraws it.
    pub(super) fn sign_out(&self, run: &str, rank: usize) {
        let _ = fs::remove_file(self.file(run, rank, Kind::Alive));
    }

    /// Writes a file that appears complete.
    pub(super) fn write(&self, run: &str, rank: usize, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        topk_files::write(&self.file(run, rank, kind), bytes)
    }

    /// The error that a rank has left.
    pub(super) fn failure(&self, run: &str, rank: usize) -> Option<String> {
        let bytes = read(&self.file(run, rank, Kind::Failed))?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) fn write_end(&self, run: &str, end: &End) -> io::Result<()> {
        topk_files::write(&self.end(run), &serde_json::to_vec(end)?)
    }

    pub(super) fn read_end(&self, run: &str) -> Option<End> {
        serde_json::from_slice(&read(&self.end(run))?).ok()
    }

    /// Removes the files of a rank, and the folder if nothing else is in it.
    pub(super) fn remove_rank(&self, run: &str, rank: usize) {
        for file in self.files().unwrap_or_default() {
            if file.run == run && matches!(file.name, Name::OfRank(of, _) if of == rank) {
                let _ = fs::remove_file(file.path);
            }
        }
        let _ = fs::remove_dir(&self.path);
    }

    /// Removes the files of a run, and those of other runs unless one of them lives; then the folder, if nothing else
    /// is in it. Returns whether there were other runs.
    pub(super) fn clear(&self, run: &str, others: bool) -> bool {
        let mut found = false;
        for file in self.files().unwrap_or_default() {
            if file.run == run || others {
                found |= file.run != run;
                let _ = fs::remove_file(file.path);
            }
        }
        let _ = fs::remove_dir(&self.path);
        found
    }
}

/// A file of a run.
struct Found {
    path: PathBuf,
    run: String,
    name: Name,
}

enum Name {
    OfRank(usize, Kind),
    End,
    /// One of the others before it was renamed, by a process that was killed.
    Temporary,
}

/// Parses the name of a file into the run and what it is.
fn parse(name: &str) -> Option<(String, Name)> {
    if let Some(temporary) = name.strip_prefix('.') {
        let (name, _) = temporary.rsplit_once('.')?;
        return parse(name).map(|(run, _)| (run, Name::Temporary));
    }
    let mut parts = name.split('.');
    let (first, run, extension) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || run.is_empty() {
        return None;
    }
    let name = match first.strip_prefix("rank-") {
        None => (first == "run" && extension == "ended").then_some(Name::End)?,
        Some(rank) => {
            let kind = Kind::of_extension(extension)?;
            Name::OfRank(rank.parse().ok()?, kind)
        }
    };
    Some((run.to_owned(), name))
}

/// The contents of a small file, if it can be read.
fn read(path: &Path) -> Option<Vec<u8>> {
    topk_files::read_limited(path, MAX_BYTES).ok()?
}

/// What distinguishes runs that are launched at the same time.
fn key(launch: &Launch) -> String {
    let mut hash = Hasher::default();
    let run = launch.run_id.as_deref().unwrap_or_default();
    for part in [&launch.master_addr, &launch.master_port.to_string(), run] {
        hash.update(format!("{}:{part}", part.len()));
    }
    hash.finish()[..16].to_owned()
}

/// Creates a folder that only this user can use, or checks that it is one.
#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    let found = fs::symlink_metadata(path)?;
    let own = found.uid() == rustix::process::getuid().as_raw();
    let private = found.permissions().mode() & 0o077 == 0;
    match found.is_dir() && private && own {
        true => Ok(()),
        false => Err(io::Error::other(
            "it exists, but is not a folder of this user alone; remove it, or pass --rendezvous-dir",
        )),
    }
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::example_launch;

    fn launch(local: usize) -> Launch {
        Launch {
            local_rank: 1,
            local_world_size: Some(local),
            ..example_launch()
        }
    }

    #[test]
    fn the_folder_is_where_all_ranks_find_it() {
        let of = |local, rendezvous, output| {
            let folder = Folder::of(&launch(local), rendezvous, output)?;
            Ok::<_, RanksError>((folder.path.display().to_string(), folder.private))
        };
        let (rendezvous, output) = (Some(Path::new("/shared")), Some(Path::new("/out/a.json")));
        let (path, private) = of(1, rendezvous, output).unwrap();
        assert!(path.starts_with("/shared/topk-eval-"), "{path}");
        assert!(!private);
        assert_eq!(
            of(1, None, output),
            Ok(("/out/a.json.ranks".to_owned(), false))
        );
        assert_eq!(of(1, None, None), Err(RanksError::NoFolder));
        let (path, private) = of(2, None, None).unwrap();
        assert!(
            path.starts_with(std::env::temp_dir().to_str().unwrap()),
            "{path}"
        );
        assert!(private);
        let other = Launch {
            run_id: Some("night".to_owned()),
            ..launch(2)
        };
        assert_ne!(key(&other), key(&launch(2)));
    }

    #[test]
    fn other_files_are_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder {
            path: temp.path().join("ranks"),
            private: false,
        };
        folder.create().unwrap();
        folder.sign("a1", 1, &Sign::default()).unwrap();
        folder.write("b2", 0, Kind::Results, b"{}").unwrap();
        folder.write_end("b2", &End { error: None }).unwrap();
        folder.write("b2", 1, Kind::Logits(2), b"").unwrap();
        fs::write(folder.path.join(".rank-1.b2.partial.x7Qw2k"), "").unwrap();
        for other in [
            "rank-1.alive",
            "rank-x.a1.alive",
            "rank-1.a1.json",
            "rank-1.a1.logits-x",
            "notes.txt",
        ] {
            fs::write(folder.path.join(other), "").unwrap();
        }
        let signs = folder.signs().unwrap();
        assert_eq!(signs, [(1, "a1".to_owned(), Sign::default())]);
        assert!(!folder.clear("a1", false));
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 9);
        assert!(folder.clear("a1", true));
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 5);
    }

    #[test]
    #[cfg(unix)]
    fn a_temporary_folder_of_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ranks");
        create_private(&path).unwrap();
        create_private(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = create_private(&path).unwrap_err().to_string();
        assert!(error.contains("not a folder of this user alone"), "{error}");
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(create_private(&link).is_err());
    }
}
