//! Which epochs get checkpoints, and the names of their files.

mod history;
mod settings;

pub(crate) use history::Kept;
pub use settings::CheckpointSettings;

use topk_history::{BEST1, BESTK};

use crate::validation::Metric;

/// Name of the checkpoint of the last validated epoch.
pub(crate) const LAST: &str = "last";

/// Name of the best checkpoint of the validation loss.
const BEST_LOSS: &str = "best-loss";

/// What the names of checkpoints of epochs begin with; as timm's.
const PREFIX: &str = "checkpoint-";

/// Extension of a checkpoint's file.
pub(crate) const EXTENSION: &str = "safetensors";

/// Name of the checkpoint with the best value of a metric, if it is neither the top-1 accuracy nor that of the k of the
/// loss, whose names are [`BEST1`] and [`BESTK`].
pub(crate) fn own_best_name(metric: Metric, k: usize) -> Option<String> {
    match metric {
        Metric::Loss => Some(BEST_LOSS.to_owned()),
        Metric::Top(top) => (top != 1 && top != k).then(|| format!("best{top}")),
    }
}

/// Name of the checkpoint of an epoch.
pub(crate) fn epoch_name(epoch: usize) -> String {
    format!("{PREFIX}{epoch}")
}

/// Whether a name is one of a checkpoint of a run.
pub(crate) fn is_name(name: &str) -> bool {
    let is_numbered = |prefix| {
        name.strip_prefix(prefix).is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    [BEST1, BESTK, BEST_LOSS, LAST].contains(&name) || is_numbered("best") || is_numbered(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised() {
        let metrics = [Metric::Loss, Metric::Top(1), Metric::Top(3), Metric::Top(5)];
        let names = metrics.map(|metric| own_best_name(metric, 5));
        let expected = [Some("best-loss"), None, Some("best3"), None];
        assert_eq!(names.each_ref().map(Option::as_deref), expected);
        let own = names.iter().flatten().map(String::as_str);
        for name in own.chain([BEST1, BESTK, LAST, &epoch_name(12)]) {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "best",
            "best-",
            "checkpoint-",
            "checkpoint-x",
            "bestknown",
            "lasting",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
