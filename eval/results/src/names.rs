//! Short names of models.

use topk_report::text::one_line;

use crate::schema::{ModelInfo, Results};

impl Results {
    /// A short name for each model: the file name without its extension, preceded by the folders that
    /// are needed to distinguish it from models with other paths.
    pub fn model_names(&self) -> Vec<String> {
        let models: Vec<&ModelInfo> = self.models.iter().map(|entry| &entry.model).collect();
        let others = |at: usize| {
            let others = models.iter().enumerate();
            others
                .filter(move |&(other, _)| other != at)
                .map(|(_, model)| &model.path)
        };
        let name = |(at, model): (usize, &&ModelInfo)| {
            let deepest = parts(&model.path).count();
            let is_unique = |depth: &usize| {
                let name = tail(&model.path, *depth);
                others(at).all(|path| tail(path, *depth) != name)
            };
            match (1..=deepest).find(is_unique) {
                Some(depth) => tail(&model.path, depth),
                // The same file, run in two ways.
                None => format!("{} ({}, {})", tail(&model.path, 1), at + 1, model.provider),
            }
        };
        let names = models.iter().enumerate().map(name);
        names.map(|name| one_line(&name)).collect()
    }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split(['/', '\\']).filter(|part| !part.is_empty())
}

/// The last `depth` parts of a path, without the extension of a model.
fn tail(path: &str, depth: usize) -> String {
    let mut tail: Vec<&str> = parts(path).rev().take(depth).collect();
    tail.reverse();
    let tail = tail.join("/");
    tail.strip_suffix(".onnx").unwrap_or(&tail).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shortened_from_the_left() {
        assert_eq!(tail("/runs/a/bestk.onnx", 1), "bestk");
        assert_eq!(tail("/runs/a/bestk.onnx", 2), "a/bestk");
        assert_eq!(tail("C:\\runs\\model", 1), "model");
    }
}
