//! Python wheels as a source of prebuilt libraries: fetched by pip, checked, and unpacked in part.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// One pinned wheel and the part of it that is wanted.
pub(crate) struct Wheel {
    /// Name of the file on the package index: `name-version-python-abi-platform.whl`.
    pub(crate) file: &'static str,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) sha256: &'static str,
    /// Name of the wanted part, where a wheel is used for several; empty for the only one.
    pub(crate) part: &'static str,
    /// Whether to unpack the member of this path.
    pub(crate) wanted: fn(&str) -> bool,
}

impl Wheel {
    /// Name and version as pip writes them, `name==version`.
    fn requirement(&self) -> String {
        let mut parts = self.file.split('-');
        let name = parts.next().unwrap_or_default().replace('_', "-");
        format!("{name}=={}", parts.next().unwrap_or_default())
    }

    /// The newest of the platforms that the file name lists.
    fn platform(&self) -> &str {
        let tags = self
            .file
            .trim_end_matches(".whl")
            .rsplit('-')
            .next()
            .unwrap_or_default();
        tags.rsplit('.').next().unwrap_or_default()
    }

    /// The file that says that the wanted part is there, whole.
    fn stamp(&self, dir: &Path) -> PathBuf {
        let separator = if self.part.is_empty() { "" } else { "." };
        dir.join("installed")
            .join(format!("{}{separator}{}", self.file, self.part))
    }

    /// Whether the wanted part lies unpacked in `dir`.
    pub(crate) fn is_installed(&self, dir: &Path) -> bool {
        fs::read_to_string(self.stamp(dir)).is_ok_and(|sha256| sha256 == self.sha256)
    }

    /// Makes sure that the wanted part lies unpacked in `dir`; does nothing if it does already.
    ///
    /// The download stays in `dir/download` until it is unpacked, so that an interrupted set-up
    /// goes on where it was; a stamp is written last of all.
    pub(crate) fn install(&self, dir: &Path) -> Result<()> {
        if self.is_installed(dir) {
            return Ok(());
        }
        let downloads = dir.join("download");
        fs::create_dir_all(&downloads)
            .with_context(|| format!("cannot create {}", downloads.display()))?;
        let file = downloads.join(self.file);
        if !(file.is_file() && sha256(&file)? == self.sha256) {
            self.download(&downloads)?;
            let found = sha256(&file)?;
            ensure!(
                found == self.sha256,
                "{} has SHA-256 {found}, expected {}: remove it and run this again",
                file.display(),
                self.sha256
            );
        }
        println!("unpacking {}", self.file);
        self.unpack(&file, dir)
            .with_context(|| format!("cannot unpack {}", file.display()))?;
        let stamp = self.stamp(dir);
        write(&stamp, self.sha256.as_bytes())
            .with_context(|| format!("cannot write {}", stamp.display()))?;
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }

    fn download(&self, to: &Path) -> Result<()> {
        let requirement = self.requirement();
        println!("fetching {requirement}");
        let status = Command::new("python3")
            .args([
                "-m",
                "pip",
                "download",
                "--disable-pip-version-check",
                "--no-deps",
            ])
            .args([
                "--only-binary=:all:",
                "--python-version=3.12",
                "--implementation=cp",
            ])
            .args(["--abi=cp312", "--platform", self.platform(), "--dest"])
            .arg(to)
            .arg(&requirement)
            .status()
            .context("cannot start python3: the set-up needs Python 3 with pip")?;
        if !status.success() {
            bail!(
                "pip could not fetch {requirement} (its own message is above). If pip itself is \
                 missing, install it (Debian: apt install python3-pip). If this machine is \
                 offline, fetch the file {} elsewhere, put it into {} and run this again: what \
                 is there already is not fetched twice",
                self.file,
                to.display()
            );
        }
        Ok(())
    }

    fn unpack(&self, file: &Path, dir: &Path) -> Result<()> {
        let mut archive = zip::ZipArchive::new(io::BufReader::new(File::open(file)?))?;
        for i in 0..archive.len() {
            let mut member = archive.by_index(i)?;
            if member.is_dir() || !(self.wanted)(&member.name()?) {
                continue;
            }
            let path = member
                .enclosed_name()
                .context("a member's path leaves the folder")?;
            write(&dir.join(path), &mut member)?;
        }
        Ok(())
    }
}

/// Writes a file, with the folders above it.
fn write(path: &Path, mut content: impl Read) -> io::Result<()> {
    fs::create_dir_all(path.parent().expect("the path of a file"))?;
    io::copy(&mut content, &mut File::create(path)?)?;
    Ok(())
}

fn sha256(path: &PathBuf) -> Result<String> {
    let name = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(name)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).with_context(name)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEEL: Wheel = Wheel {
        file: "a_name-1.2.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "",
        part: "",
        wanted: |_| true,
    };

    #[test]
    fn the_file_name_says_what_to_ask_for() {
        assert_eq!(WHEEL.requirement(), "a-name==1.2.3");
        assert_eq!(WHEEL.platform(), "manylinux_2_17_x86_64");
    }

    #[test]
    fn installs_the_wanted_part_of_a_checked_file_once() {
        use std::io::Write;

        let dir = tempfile::tempdir().unwrap();
        let downloads = dir.path().join("download");
        fs::create_dir_all(&downloads).unwrap();
        let file = downloads.join(WHEEL.file);
        let mut zip = zip::ZipWriter::new(File::create(&file).unwrap());
        for (name, text) in [("lib/a.so", "library"), ("lib/a.py", "python")] {
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();

        let hash = sha256(&file).unwrap();
        let wheel = Wheel {
            sha256: hash.leak(),
            wanted: |name| name.ends_with(".so"),
            ..WHEEL
        };
        wheel.install(dir.path()).unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("lib/a.so")).unwrap(),
            "library"
        );
        assert!(!dir.path().join("lib/a.py").exists());
        assert!(!file.exists());

        // Nothing to do: with the download gone, a second run would have to fetch it.
        wheel.install(dir.path()).unwrap();
    }
}
