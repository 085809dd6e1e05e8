//! The models to evaluate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The files that the arguments refer to: files, the `.onnx` files of folders, and matches of patterns.
pub(super) fn model_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let found = if path.is_dir() {
            matching(&path.join("*.onnx"))?
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
