//! Short names of models.

use topk_report::text::one_line;

use crate::schema::{ModelInfo, Results};

impl Results {
    /// A short name for each model: the file name without its extension, preceded by the folders that
    /// are needed to distinguish it from models with other paths.
    pub fn model_names(&self) -> Vec<String> {
        let models: Vec<&ModelInfo> = self.models.iter().map(|entry| &entry.model).collect();
        let paths: Vec<&str> = models.iter().map(|model| &*model.path).collect();
        short_names(&paths, |at| {
            // The same file, run in two ways.
            Some(format!("({}, {})", at + 1, models[at].provider))
        })
    }
}

/// A short name for each path; `suffix` of its index follows the names of paths that appear several times.
pub(crate) fn short_names(paths: &[&str], suffix: impl Fn(usize) -> Option<String>) -> Vec<String> {
    let others = |at: usize| {
        let others = paths.iter().enumerate();
        others
            .filter(move |&(other, _)| other != at)
            .map(|(_, path)| path)
    };
    let name = |(at, path): (usize, &&str)| {
        let deepest = parts(path).count();
        let is_unique = |depth: &usize| {
            let name = tail(path, *depth);
            others(at).all(|path| tail(path, *depth) != name)
        };
        match ((1..=deepest).find(is_unique), suffix(at)) {
            (Some(depth), _) => tail(path, depth),
            (None, Some(suffix)) => format!("{} {suffix}", tail(path, 1)),
            (None, None) => tail(path, 1),
        }
    };
    let names = paths.iter().enumerate().map(name);
    names.map(|name| one_line(&name)).collect()
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
