//! The folders of Python packages that belong to the same installation as a program.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders with the packages of the Python environment that `program` was installed into, by pip, uv or conda.
/// `program` is an absolute path without links. The folders exist, and their order means nothing.
///
/// The layouts, relative to the folder of the program:
///
/// - `../lib/python3.12/site-packages`: an environment, a user's packages in `~/.local`, and conda;
///   `../lib/python3/dist-packages` and the like on Debian, and `lib64` on Fedora;
/// - `..`: a folder filled with `pip install --target`, which gets programs in its folder `bin`, and a program in the
///   folder of a package;
/// - the same for the Python that an environment was created from, if it was created with `--system-site-packages`.
pub(crate) fn package_folders(program: &Path) -> Vec<PathBuf> {
    let Some(prefix) = program.parent().and_then(Path::parent) else {
        return vec![];
    };
    let mut found = vec![prefix.to_owned()];
    for prefix in [Some(prefix.to_owned()), system_prefix(prefix)] {
        for folder in prefix.iter().flat_map(|prefix| libraries(prefix)) {
            // In virtual environments, `lib64` is a link to `lib`.
            let folder = folder.canonicalize().unwrap_or(folder);
            if !found.contains(&folder) {
                found.push(folder);
            }
        }
    }
    found
}

/// The interpreter of the environment that `program` was installed into, if it is in the same folder.
pub(crate) fn interpreter(program: &Path) -> Option<PathBuf> {
    let python = program.with_file_name("python");
    python.is_file().then_some(python)
}

/// The folders with packages below the prefix of an installation of Python.
fn libraries(prefix: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for lib in ["lib", "lib64", "local/lib"] {
        // A missing folder has no packages.
        for entry in fs::read_dir(prefix.join(lib)).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            if entry.file_name().to_string_lossy().starts_with("python3") {
                let folders =
                    ["site-packages", "dist-packages"].map(|name| entry.path().join(name));
                found.extend(folders.into_iter().filter(|folder| folder.is_dir()));
            }
        }
    }
    found
}

/// The prefix of the Python that an environment was created from, if the environment includes its packages.
fn system_prefix(environment: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(environment.join("pyvenv.cfg")).ok()?;
    let value = |key: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut values = pairs.filter(|(name, _)| name.trim() == key);
        values.next().map(|(_, value)| value.trim())
    };
    let included = value("include-system-site-packages")?;
    // The folder with the interpreter.
    let home = Path::new(value("home")?);
    (included.eq_ignore_ascii_case("true"))
        .then(|| home.parent())?
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(folder: &Path) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        folder.to_owned()
    }

    #[test]
    fn packages_are_found_in_the_layouts_of_installers() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for (program, packages) in [
            ("venv/bin/p", "venv/lib/python3.13/site-packages"),
            ("venv64/bin/p", "venv64/lib64/python3.11/site-packages"),
            ("usr/local/bin/p", "usr/local/lib/python3.11/dist-packages"),
            ("usr/bin/p", "usr/lib/python3/dist-packages"),
            ("target/bin/p", "target"),
            ("packages/topk_train/p", "packages"),
        ] {
            let packages = create(&root.join(packages));
            let found = package_folders(&root.join(program));
            assert!(found.contains(&packages), "{program}: {found:?}");
        }
        assert_eq!(package_folders(Path::new("/")), Vec::<PathBuf>::new());

        std::os::unix::fs::symlink("lib", root.join("venv/lib64")).unwrap();
        let found = package_folders(&root.join("venv/bin/p"));
        let packages = root.join("venv/lib/python3.13/site-packages");
        assert_eq!(found, [root.join("venv"), packages]);
    }

    #[test]
    fn the_packages_of_the_system_count_only_in_environments_that_include_them() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let system = create(&root.join("opt/lib/python3.12/site-packages"));
        let venv = create(&root.join("venv"));
        let home = root.join("opt/bin");
        for (included, expected) in [("true", true), ("false", false)] {
            let config = format!(
                "home = {}\ninclude-system-site-packages = {included}\nversion = 3.12.1\n",
                home.display()
            );
            fs::write(venv.join("pyvenv.cfg"), config).unwrap();
            let found = package_folders(&venv.join("bin/p"));
            assert_eq!(found.contains(&system), expected, "{included}");
        }
    }
}
