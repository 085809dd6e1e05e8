//! The files of a wheel, and how it is written and checked.
//!
//! The format is specified by the Python Packaging Authority under "Binary distribution format", "Core
//! metadata specifications" and "Recording installed projects".

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zip::write::SimpleFileOptions;

/// A file in a wheel.
#[derive(Debug)]
pub(crate) struct Member {
    /// The path in the wheel, with `/`.
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
    pub(crate) executable: bool,
}

/// A wheel without its platform tag.
#[derive(Debug)]
pub(crate) struct Distribution {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The fields of `METADATA`, but for the name, the version and the license files, in the order in which
    /// they are written.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// The text that an index shows, as Markdown.
    pub(crate) description: String,
    /// Commands that call a Python function, as `module:function`.
    pub(crate) commands: Vec<(String, String)>,
    /// Texts of licenses: file names and contents.
    pub(crate) licenses: Vec<(String, String)>,
    /// Everything else.
    pub(crate) members: Vec<Member>,
}

impl Distribution {
    /// The name in file names: without hyphens, which separate the name from the version.
    fn file_stem(&self) -> String {
        format!("{}-{}", self.name.replace('-', "_"), self.version)
    }

    /// The path in the wheel of a file that is installed outside the folder of packages: `scheme` is
    /// `scripts` (the folder with programs) or `data` (the prefix).
    pub(crate) fn outside_packages(&self, scheme: &str, path: &str) -> String {
        format!("{}.data/{scheme}/{path}", self.file_stem())
    }

    /// Writes the wheel into a folder. The same content gives the same bytes.
    pub(crate) fn write(&self, folder: &Path, platform: &str) -> Result<PathBuf> {
        let tag = format!("py3-none-{platform}");
        let path = folder.join(format!("{}-{tag}.whl", self.file_stem()));
        self.pack(&path, &tag)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn pack(&self, path: &Path, tag: &str) -> Result<()> {
        let info = format!("{}.dist-info", self.file_stem());
        let mut extra = vec![
            ("METADATA".to_owned(), self.metadata()),
            ("WHEEL".to_owned(), wheel(tag)),
        ];
        if !self.commands.is_empty() {
            let lines = self.commands.iter();
            let lines = lines.map(|(name, function)| format!("{name} = {function}\n"));
            let text = format!("[console_scripts]\n{}", lines.collect::<String>());
            extra.push(("entry_points.txt".to_owned(), text));
        }
        for (name, text) in &self.licenses {
            extra.push((format!("licenses/{name}"), text.clone()));
        }
        let extra: Vec<Member> = extra
            .into_iter()
            .map(|(name, text)| Member {
                path: format!("{info}/{name}"),
                content: text.into_bytes(),
                executable: false,
            })
            .collect();

        let mut zip = zip::ZipWriter::new(File::create(path)?);
        let mut record = String::new();
        // Files about the wheel come last, so that they can be replaced without rewriting the others.
        for member in self.members.iter().chain(&extra) {
            let mode = if member.executable { 0o755 } else { 0o644 };
            let options = SimpleFileOptions::default().unix_permissions(mode);
            zip.start_file(&member.path, options)?;
            zip.write_all(&member.content)?;
            record.push_str(&line(&member.path, &member.content));
        }
        let path = format!("{info}/RECORD");
        record.push_str(&format!("{path},,\n"));
        zip.start_file(path, SimpleFileOptions::default().unix_permissions(0o644))?;
        zip.write_all(record.as_bytes())?;
        zip.finish()?;
        Ok(())
    }

    fn metadata(&self) -> String {
        let (name, version) = (&self.name, &self.version);
        let mut text = format!("Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n");
        for (field, value) in &self.fields {
            text.push_str(&format!("{field}: {value}\n"));
        }
        for (name, _) in &self.licenses {
            text.push_str(&format!("License-File: {name}\n"));
        }
        text.push_str("Description-Content-Type: text/markdown\n\n");
        text + &self.description
    }
}

fn wheel(tag: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "Wheel-Version: 1.0\nGenerator: topk xtask {version}\nRoot-Is-Purelib: false\nTag: {tag}\n"
    )
}

/// The line of a file in `RECORD`.
fn line(path: &str, content: &[u8]) -> String {
    let hash = hash(content);
    // Paths here need no quotes: the files are this project's own.
    format!("{path},sha256={hash},{}\n", content.len())
}

fn hash(content: &[u8]) -> String {
    let mut hasher = topk_files::Hasher::default();
    hasher.update(content);
    let hex = hasher.finish();
    let digit = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16);
    let bytes = (0..hex.len()).step_by(2).map(digit);
    let bytes: Result<Vec<u8>, _> = bytes.collect();
    URL_SAFE_NO_PAD.encode(bytes.expect("hexadecimal digits"))
}

/// What a wheel says about itself.
#[derive(Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The platforms in the file name.
    pub(crate) platforms: Vec<String>,
}

/// Checks a wheel as installers do, and more strictly.
///
/// # Errors
/// If the file name, `METADATA` and `WHEEL` differ in name, version or tags; if `RECORD` is not the list
/// of all other files with their hashes and sizes; or if a program is not executable.
pub(crate) fn check(path: &Path) -> Result<Summary> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    checked(path, &name).with_context(|| format!("{name} is not a valid wheel"))
}

fn checked(path: &Path, name: &str) -> Result<Summary> {
    let parts: Vec<&str> = name.trim_end_matches(".whl").split('-').collect();
    let &[stem, version, python, abi, platform] = &parts[..] else {
        bail!("the file name has {} parts, expected 5", parts.len());
    };
    let mut zip = zip::ZipArchive::new(File::open(path)?)?;
    let mut files = BTreeMap::new();
    for index in 0..zip.len() {
        let mut member = zip.by_index(index)?;
        let mut content = Vec::new();
        let (path, mode) = (member.name()?.into_owned(), member.unix_mode());
        member.read_to_end(&mut content)?;
        let program = path.contains(".data/scripts/");
        ensure!(
            !program || mode.is_some_and(|mode| mode & 0o111 == 0o111),
            "{path} is not executable"
        );
        files.insert(path, content);
    }
    let info = format!("{stem}-{version}.dist-info");
    let text = |name: &str| -> Result<String> {
        let path = format!("{info}/{name}");
        let content = files
            .get(&path)
            .with_context(|| format!("{path} is missing"))?;
        String::from_utf8(content.clone()).with_context(|| format!("{path} is not UTF-8"))
    };

    let (metadata, tags) = (text("METADATA")?, text("WHEEL")?);
    let name = fields(&metadata, "Name").next().unwrap_or_default();
    let found = fields(&metadata, "Version").next().unwrap_or_default();
    ensure!(
        name.replace('-', "_") == stem && found == version,
        "METADATA is that of {name} {found}"
    );
    let tags: BTreeSet<&str> = fields(&tags, "Tag").collect();
    let expected: BTreeSet<String> = platform
        .split('.')
        .map(|platform| format!("{python}-{abi}-{platform}"))
        .collect();
    ensure!(
        tags.iter().eq(expected.iter()),
        "WHEEL has the tags {tags:?}"
    );

    let record = text("RECORD")?;
    let mut listed: BTreeSet<&str> = record.lines().collect();
    for (path, content) in &files {
        let line = match path == &format!("{info}/RECORD") {
            true => format!("{path},,"),
            false => line(path, content).trim_end().to_owned(),
        };
        ensure!(listed.remove(&*line), "RECORD has no line `{line}`");
    }
    ensure!(listed.is_empty(), "RECORD lists other files: {listed:?}");
    Ok(Summary {
        name: name.to_owned(),
        version: version.to_owned(),
        platforms: platform.split('.').map(str::to_owned).collect(),
    })
}

/// The values of a field in the head of `METADATA` or `WHEEL`.
fn fields<'a>(text: &'a str, field: &'a str) -> impl Iterator<Item = &'a str> {
    let head = text.lines().take_while(|line| !line.is_empty());
    head.filter_map(move |line| line.strip_prefix(field)?.strip_prefix(": "))
}

/// Reads a file that becomes a member.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution() -> Distribution {
        let mut distribution = Distribution {
            name: "a-name".to_owned(),
            version: "1.2.3".to_owned(),
            fields: vec![
                ("Summary", "Says hello".to_owned()),
                ("Requires-Dist", "numpy>=2".to_owned()),
            ],
            description: "# a-name\n\nName: other\n".to_owned(),
            commands: vec![("hello".to_owned(), "a_name:main".to_owned())],
            licenses: vec![("LICENSE".to_owned(), "Use it.\n".to_owned())],
            members: vec![],
        };
        let member = |path: String, content: &[u8], executable| Member {
            path,
            content: content.to_vec(),
            executable,
        };
        distribution.members = vec![
            member(
                distribution.outside_packages("scripts", "run"),
                b"\x7fELF",
                true,
            ),
            member("a_name/__init__.py".to_owned(), b"", false),
        ];
        distribution
    }

    #[test]
    fn wheels_have_the_layout_of_the_specification() {
        let folder = tempfile::tempdir().unwrap();
        let path = distribution()
            .write(folder.path(), "manylinux_2_28_x86_64")
            .unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "a_name-1.2.3-py3-none-manylinux_2_28_x86_64.whl");
        let summary = Summary {
            name: "a-name".to_owned(),
            version: "1.2.3".to_owned(),
            platforms: vec!["manylinux_2_28_x86_64".to_owned()],
        };
        assert_eq!(check(&path).unwrap(), summary);

        let mut zip = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let mut text = |name: &str| {
            let mut text = String::new();
            let mut member = zip.by_name(name).unwrap();
            member.read_to_string(&mut text).unwrap();
            (text, member.unix_mode().unwrap())
        };
        assert_eq!(
            text("a_name-1.2.3.dist-info/METADATA").0,
            "Metadata-Version: 2.4\nName: a-name\nVersion: 1.2.3\nSummary: Says hello\n\
             Requires-Dist: numpy>=2\nLicense-File: LICENSE\n\
             Description-Content-Type: text/markdown\n\n# a-name\n\nName: other\n"
        );
        assert_eq!(
            text("a_name-1.2.3.dist-info/entry_points.txt").0,
            "[console_scripts]\nhello = a_name:main\n"
        );
        assert_eq!(
            text("a_name-1.2.3.dist-info/licenses/LICENSE").0,
            "Use it.\n"
        );
        // Regular files, or pip leaves programs that are not executable.
        assert_eq!(text("a_name-1.2.3.data/scripts/run").1, 0o100_755);
        assert_eq!(text("a_name/__init__.py").1, 0o100_644);
        // SHA-256 of nothing, in URL-safe Base64.
        assert!(text("a_name-1.2.3.dist-info/RECORD").0.contains(
            "\na_name/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"
        ));
    }

    #[test]
    fn the_same_files_give_the_same_wheel() {
        let bytes = [(); 2].map(|()| {
            let folder = tempfile::tempdir().unwrap();
            fs::read(distribution().write(folder.path(), "any").unwrap()).unwrap()
        });
        assert_eq!(bytes[0], bytes[1]);
    }

    #[test]
    fn wrong_wheels_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let path = distribution().write(folder.path(), "any").unwrap();
        let files = {
            let mut zip = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
            let mut files = Vec::new();
            for index in 0..zip.len() {
                let mut member = zip.by_index(index).unwrap();
                let mut content = Vec::new();
                member.read_to_end(&mut content).unwrap();
                let mode = member.unix_mode().unwrap();
                files.push((member.name().unwrap().into_owned(), content, mode));
            }
            files
        };
        // The wheel after a change to one file; without the file if it becomes empty.
        let changed = |file: &str, mode: u32, change: &dyn Fn(&str) -> String| {
            let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
            for (name, content, old) in &files {
                let mut content = content.clone();
                let mut used = *old;
                if name.ends_with(file) {
                    content = change(&String::from_utf8(content).unwrap()).into_bytes();
                    used = mode;
                    if content.is_empty() {
                        continue;
                    }
                }
                let options = SimpleFileOptions::default().unix_permissions(used);
                zip.start_file(name, options).unwrap();
                zip.write_all(&content).unwrap();
            }
            zip.finish().unwrap();
            format!("{:#}", check(&path).unwrap_err())
        };
        let replaced = |file, from: &'static str, to: &'static str| {
            changed(file, 0o644, &|text| text.replace(from, to))
        };
        let keep = |text: &str| text.to_owned();
        for (error, expected) in [
            (
                replaced("METADATA", "1.2.3", "1.2.4"),
                "METADATA is that of a-name 1.2.4",
            ),
            (
                replaced("METADATA", "Name: a-n", "Name: n"),
                "METADATA is that of name 1.2.3",
            ),
            (
                replaced("WHEEL", "-any", "-linux_x86_64"),
                "py3-none-linux_x86_64",
            ),
            (replaced("LICENSE", "it", "me"), "RECORD has no line"),
            (replaced("RECORD", "47DEQ", "47DER"), "RECORD has no line"),
            (
                replaced("RECORD", ",0\n", ",0\nb.py,,\n"),
                "RECORD lists other files",
            ),
            (changed("WHEEL", 0, &|_| String::new()), "WHEEL is missing"),
            (
                changed("scripts/run", 0o644, &keep),
                "scripts/run is not executable",
            ),
        ] {
            assert!(error.contains(expected), "{error}");
            assert!(
                error.starts_with("a_name-1.2.3-py3-none-any.whl is not"),
                "{error}"
            );
        }
        let short = folder.path().join("name-1.2.3.whl");
        fs::copy(&path, &short).unwrap();
        let error = format!("{:#}", check(&short).unwrap_err());
        assert!(
            error.ends_with("the file name has 2 parts, expected 5"),
            "{error}"
        );
    }
}
