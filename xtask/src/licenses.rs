//! Licenses of third-party crates: the check against `deny.toml`, and the list for release archives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cargo;

/// A crate from outside this workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Crate {
    name: String,
    version: String,
    /// The SPDX expression in its manifest.
    license: String,
    repository: String,
    /// Where it comes from, as in `Cargo.lock`.
    source: String,
    folder: PathBuf,
}

/// All third-party crates that building and testing the workspace on this platform needs.
pub(crate) fn third_party() -> Result<Vec<Crate>> {
    let platform = format!("--filter-platform={}", cargo::host()?);
    let metadata = cargo::metadata(&["--locked", &platform])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resolved: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata has no resolve")?
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let mut crates: Vec<Crate> = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter(|package| {
            package["id"]
                .as_str()
                .is_some_and(|id| resolved.contains(id))
        })
        .map(|package| Crate {
            name: text(&package["name"]),
            version: text(&package["version"]),
            license: text(&package["license"]),
            repository: text(&package["repository"]),
            source: text(&package["source"]),
            folder: Path::new(&text(&package["manifest_path"]))
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default(),
        })
        .collect();
    crates.sort();
    Ok(crates)
}

/// The license of WordNet's hierarchy in `topk-labels`: its name in archives and wheels, and its file.
pub(crate) const WORDNET: (&str, &str) = ("LICENSE-WORDNET", "data/labels/src/wordnet.license.txt");

/// The file with the licenses, in archives and wheels.
pub(crate) const FILE: &str = "THIRD-PARTY-LICENSES.txt";

/// Those third-party crates that are linked into packages of this workspace. `features` are arguments for cargo
/// that choose the packages' features.
pub(crate) fn linked_into(packages: &[&str], features: &[&str]) -> Result<Vec<Crate>> {
    let mut tree = cargo::cargo();
    tree.args([
        "tree",
        "--locked",
        "--edges=normal",
        "--prefix=none",
        "--format={p}",
    ]);
    for package in packages {
        tree.args(["--package", package]);
    }
    tree.args(features);
    let tree = cargo::output(&mut tree)?;
    // Lines such as `anyhow v1.0.0`.
    let linked: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?.strip_prefix('v')?))
        })
        .collect();
    let mut crates = third_party()?;
    crates.retain(|c| linked.contains(&(c.name.as_str(), c.version.as_str())));
    Ok(crates)
}

/// The licenses of crates: a list, and every license text that the crates come with. `what` contains them, such
/// as `The programs in this archive`.
pub(crate) fn document(crates: &[Crate], what: &str) -> Result<String> {
    let mut document = format!("{what} contain these third-party crates.\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for c in crates {
        let Crate {
            name,
            version,
            license,
            repository,
            ..
        } = c;
        writeln!(document, "{name} {version}: {license} <{repository}>")?;
        for file in license_files(&c.folder)? {
            let text =
                fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let text = String::from_utf8_lossy(&text).trim().replace("\r\n", "\n");
            texts
                .entry(text)
                .or_default()
                .push(format!("{name} {version}"));
        }
    }
    for (text, crates) in texts {
        let crates = crates.join(", ");
        write!(document, "\n{}\n{crates}\n\n{text}\n", "=".repeat(80))?;
    }
    Ok(document)
}

/// The files with licenses, copyrights and notices at the top of a crate's folder.
fn license_files(folder: &Path) -> Result<Vec<PathBuf>> {
    const NAMES: [&str; 6] = [
        "license",
        "licence",
        "copying",
        "copyright",
        "notice",
        "unlicense",
    ];
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        if path.is_file() && NAMES.iter().any(|prefix| name.starts_with(prefix)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use topk_testing::root;

    use super::*;

    fn deny() -> toml::Table {
        let path = root().join("deny.toml");
        fs::read_to_string(path).unwrap().parse().unwrap()
    }

    fn strings(value: &toml::Value) -> BTreeSet<String> {
        let strings = value.as_array().unwrap().iter();
        strings.map(|s| s.as_str().unwrap().to_owned()).collect()
    }

    /// Whether an SPDX expression can be met with licenses from a list.
    ///
    /// An exception (`WITH`) only grants more, so the license before it decides. Old manifests write `/`
    /// for `OR`.
    fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
        let expression = expression
            .replace('/', " OR ")
            .replace('(', " ( ")
            .replace(')', " ) ");
        let words: Vec<&str> = expression.split_whitespace().collect();
        let mut words = words.as_slice();
        any(&mut words, allowed).is_some_and(|met| met && words.is_empty())
    }

    /// Parses alternatives separated by `OR`; `None` if the syntax is wrong.
    fn any(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
        let mut met = all(words, allowed)?;
        while let Some((&"OR", rest)) = words.split_first() {
            *words = rest;
            met |= all(words, allowed)?;
        }
        Some(met)
    }

    /// Parses licenses separated by `AND`.
    fn all(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
        let mut met = one(words, allowed)?;
        while let Some((&"AND", rest)) = words.split_first() {
            *words = rest;
            met &= one(words, allowed)?;
        }
        Some(met)
    }

    fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
        let (&first, rest) = words.split_first()?;
        *words = rest;
        if first == "(" {
            let met = any(words, allowed)?;
            let (&")", rest) = words.split_first()? else {
                return None;
            };
            *words = rest;
            return Some(met);
        }
        if let Some((&"WITH", rest)) = words.split_first() {
            *words = rest.get(1..)?;
        }
        Some(allowed.contains(first))
    }

    /// The part of `cargo deny check licenses sources` that needs neither cargo-deny nor a network.
    #[test]
    fn crates_have_allowed_licenses_and_sources() {
        let deny = deny();
        let allowed = strings(&deny["licenses"]["allow"]);
        let registries = strings(&deny["sources"]["allow-registry"]);
        let crates = third_party().unwrap();
        assert!(crates.len() > 100);
        for c in &crates {
            assert!(
                is_allowed(&c.license, &allowed),
                "the license of {} {} (`{}`) is not allowed in deny.toml",
                c.name,
                c.version,
                c.license
            );
            let registry = c.source.strip_prefix("registry+");
            assert!(
                registry.is_some_and(|registry| registries.contains(registry)),
                "the source of {} {} ({}) is not allowed in deny.toml",
                c.name,
                c.version,
                c.source
            );
        }
        // No license is allowed for nothing.
        for license in &allowed {
            let mut others = allowed.clone();
            others.remove(license);
            assert!(
                crates.iter().any(|c| !is_allowed(&c.license, &others)),
                "no crate needs the license {license} in deny.toml"
            );
        }
    }

    #[test]
    fn banned_crates_are_absent() {
        let deny = deny();
        let crates = third_party().unwrap();
        for ban in deny["bans"]["deny"].as_array().unwrap() {
            let name = ban["crate"].as_str().unwrap();
            assert!(
                crates.iter().all(|c| c.name != name),
                "{name}: {}",
                ban["reason"]
            );
        }
    }

    #[test]
    fn expressions_are_evaluated() {
        let allowed = ["MIT", "Apache-2.0"].map(str::to_owned).into();
        for expression in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "MIT AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "(GPL-3.0 OR MIT) AND Apache-2.0",
            "GPL-3.0 AND GPL-2.0 OR MIT",
        ] {
            assert!(is_allowed(expression, &allowed), "{expression}");
        }
        for expression in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "GPL-3.0 WITH GCC-exception",
            "(GPL-3.0 OR MIT) AND GPL-3.0",
            "MIT OR",
            "(MIT",
            "MIT MIT",
        ] {
            assert!(!is_allowed(expression, &allowed), "{expression}");
        }
    }
}
