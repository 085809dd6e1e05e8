//! Python wheels as a source of prebuilt libraries: downloaded with pip, verified, and partly unpacked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// A pinned wheel, and the part of it to install.
pub(crate) struct Wheel {
    /// The file name on the package index: `name-version-python-abi-platform.whl`.
    pub(crate) file: &'static str,
    /// The file's SHA-256, in hexadecimal.
    pub(crate) sha256: &'static str,
    /// The name of the part, for wheels that are installed in several parts; else empty.
    pub(crate) part: &'static str,
    /// Whether a member with this path belongs to the part.
    pub(crate) wanted: fn(&str) -> bool,
}

impl Wheel {
    /// The name and version in pip's syntax, `name==version`.
    fn requirement(&self) -> String {
        let mut parts = self.file.split('-');
        let name = parts.next().unwrap_or_default().replace('_', "-");
        format!("{name}=={}", parts.next().unwrap_or_default())
    }

    /// The newest of the platforms in the file name.
    fn platform(&self) -> &str {
        let tags = self
            .file
            .trim_end_matches(".whl")
            .rsplit('-')
            .next()
            .unwrap_or_default();
        tags.rsplit('.').next().unwrap_or_default()
    }

    /// The file that marks the part as completely installed.
    fn stamp(&self, dir: &Path) -> PathBuf {
        let separator = if self.part.is_empty() { "" } else { "." };
        dir.join("installed")
            .join(format!("{}{separator}{}", self.file, self.part))
    }

    /// Whether the part is installed in `dir`.
    pub(crate) fn is_installed(&self, dir: &Path) -> bool {
        fs::read_to_string(self.stamp(dir)).is_ok_and(|sha256| sha256 == self.sha256)
    }

    /// Installs the part in `dir`, unless it is installed already.
    ///
    /// The download is kept in `dir/download` until it is unpacked, so that an interrupted
    /// installation resumes where it stopped. The stamp is written last.
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
                "{} has SHA-256 {found} instead of {}: remove the file and run this command again",
                file.display(),
                self.sha256
            );
        }
        println!("Unpacking {}", self.file);
        self.unpack(&file, dir)
            .with_context(|| format!("cannot unpack {}", file.display()))?;
        let stamp = self.stamp(dir);
        write(&stamp, self.sha256.as_bytes())
            .with_context(|| format!("cannot write {}", stamp.display()))?;
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }

    fn download(&self, to: &Path) -> Result<()> {
        let requirement = self.requirement();
        println!("Downloading {requirement}");
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
            .context("cannot start python3: Python 3 with pip is required to download libraries")?;
        if !status.success() {
            bail!(
                "pip could not download {requirement} (see its message above). If pip is missing, \
                 install it (on Debian: apt install python3-pip). If this machine is offline, \
                 download {} on another one, put it into {}, and run this command again: files that \
                 are already there are not downloaded",
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
                .context("a member's path is outside the folder")?;
            write(&dir.join(path), &mut member)?;
        }
        Ok(())
    }
}

/// Writes a file; creates missing parent folders.
fn write(path: &Path, mut content: impl Read) -> io::Result<()> {
    fs::create_dir_all(path.parent().expect("the path of a file"))?;
    io::copy(&mut content, &mut File::create(path)?)?;
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let (hash, _) =
        topk_files::sha256(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hash)
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
    fn pip_arguments_come_from_the_file_name() {
        assert_eq!(WHEEL.requirement(), "a-name==1.2.3");
        assert_eq!(WHEEL.platform(), "manylinux_2_17_x86_64");
    }

    #[test]
    fn a_part_of_a_verified_file_is_installed_once() {
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

        // The download is gone, so a second installation would have to download it again.
        wheel.install(dir.path()).unwrap();
    }
}
