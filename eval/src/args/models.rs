//! The models to evaluate, and their outputs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use glob::Pattern;
use topk_labels::Classes;
use topk_results::OutputKind;

use super::remote_model;
use crate::model::ModelOptions;
use topk_data::remote;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Model outputs")]
pub(super) struct ScoreArgs {
    /// Name of the output with the scores [default: the one that fits the classes of the dataset, or is
    /// named like scores]
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    /// What the scores are
    #[arg(long, value_enum, default_value = "auto")]
    output_kind: KindArg,

    /// Index of the output for class 0 of the dataset: 1 for models with a background class [default: 1
    /// for 1001 outputs and the classes of ImageNet, else 0]
    #[arg(long, value_name = "N")]
    label_offset: Option<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum KindArg {
    /// According to the end of the model's graph and to its scores
    Auto,
    /// Logits, or logarithms of probabilities
    Logits,
    /// Probabilities that sum to 1
    Probs,
}

impl ScoreArgs {
    /// How to open models for data with these classes.
    pub(super) fn options(&self, classes: &Classes) -> ModelOptions {
        ModelOptions {
            output: self.output.clone(),
            output_kind: match self.output_kind {
                KindArg::Auto => None,
                KindArg::Logits => Some(OutputKind::Logits),
                KindArg::Probs => Some(OutputKind::Probs),
            },
            label_offset: self.label_offset,
            classes: Some(classes.clone()),
            ..ModelOptions::default()
        }
    }
}

/// The files that the arguments refer to: files, the `.onnx` files of folders, and matches of patterns. With models at
/// addresses, files beside them are copied: weights, and configurations of the preprocessing if `with_configuration`.
pub(super) fn model_files(paths: &[PathBuf], with_configuration: bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let found = if remote::is_remote(path) {
            vec![remote_model::copy(path, with_configuration)?]
        } else if path.is_dir() {
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

        let found = |path: &str| model_files(&[root.path().join(path)], true).unwrap();
        assert_eq!(found("run[1]"), [inside]);
        assert_eq!(found("run[1]/a.onnx"), found("run[1]"));
        assert_eq!(found("c[1].onnx"), [alone]);
        assert_eq!(found("run[12]/*.onnx"), [beside]);
    }
}
