//! The models to evaluate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use glob::Pattern;

/// The files that the arguments refer to: files, the `.onnx` files of folders, and matches of patterns.
pub(super) fn model_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let found = if path.is_dir() {
            // Wildcard characters in the folder's own name are literal.
            let folder = Pattern::escape(&path.to_string_lossy());
            matching(&Path::new(&folder).join("*.onnx"))?
        } else if path.exists() {
            vec![path.clone()]
        } else {
            matching(path)?
        };
        if found.is_empty() {
            let pattern = path.to_string_lossy().contains(['*', '?', '[']);
            match path.is_dir() || pattern {
                true => bail!(
                    "{} contains no models: expected .onnx files",
                    path.display()
                ),
                // Opening it gives the reason.
                false => files.push(path.clone()),
            }
        }
        files.extend(found);
    }
    Ok(files)
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let pattern = pattern.to_string_lossy();
    let paths = glob::glob(&pattern).with_context(|| format!("invalid pattern {pattern}"))?;
    Ok(paths.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn existing_paths_are_not_patterns() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        let inside = file("run[1]/a.onnx");
        let beside = file("run1/b.onnx");
        let alone = file("c[1].onnx");
        file("c1.onnx");

        let found = |path: &str| model_files(&[root.path().join(path)]).unwrap();
        assert_eq!(found("run[1]"), [inside]);
        assert_eq!(found("run[1]/a.onnx"), found("run[1]"));
        assert_eq!(found("c[1].onnx"), [alone]);
        assert_eq!(found("run[12]/*.onnx"), [beside]);
    }
}
