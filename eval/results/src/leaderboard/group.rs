//! Models that were evaluated on the same images, ranked.

use std::path::Path;

use topk_report::text::{grouped, images};

use super::entry::LeaderboardEntry;
use crate::names::short_names;
use crate::schema::{DataInfo, FailurePolicy};
use crate::statistics::{holm, mcnemar};

/// The significance level of the marks.
const LEVEL: f64 = 0.05;

/// Models that were evaluated on the same images.
#[derive(Clone, Debug)]
pub struct LeaderboardGroup {
    /// The models by top-1 accuracy, best first; of equal ones, the lower cross-entropy first.
    pub entries: Vec<LeaderboardEntry>,
    /// A short name for each.
    pub names: Vec<String>,
    /// Values of k, ascending: those of all result files, and 1.
    pub topk: Vec<usize>,
    /// A test for each pair of models, by first and second.
    pub tests: Vec<PairedTest>,
}

/// The test whether two models of a list have the same top-1 accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedTest {
    /// Indices in the list, the better one first.
    pub models: [usize; 2],
    /// Images that only the first classifies correctly.
    pub only_first: usize,
    /// Images that only the second classifies correctly.
    pub only_second: usize,
    /// Two-sided p-value of McNemar's exact test.
    pub p_value: f64,
    /// The same with Holm's correction for the number of pairs ("A simple sequentially rejective multiple test
    /// procedure", 1979).
    pub adjusted: f64,
}

impl LeaderboardGroup {
    pub(super) fn new(mut entries: Vec<LeaderboardEntry>) -> Self {
        entries.sort_by(|a, b| {
            let loss =
                |entry: &LeaderboardEntry| entry.metrics.cross_entropy.unwrap_or(f64::INFINITY);
            (b.correct(1).cmp(&a.correct(1)))
                .then(loss(a).total_cmp(&loss(b)))
                .then_with(|| a.model.path.cmp(&b.model.path))
                .then_with(|| a.source.cmp(&b.source))
        });
        let paths: Vec<&str> = entries.iter().map(|entry| &*entry.model.path).collect();
        // The same file, run in two ways, is told apart by its result file.
        let names = short_names(&paths, |at| {
            let entry = &entries[at];
            let file = Path::new(&entry.source);
            let file = file.file_stem().map_or(entry.source.clone(), |stem| {
                let parent = file.parent().and_then(Path::file_name);
                let parent = parent.map(|parent| format!("{}/", parent.to_string_lossy()));
                parent.unwrap_or_default() + &stem.to_string_lossy()
            });
            Some(match entry.number {
                (_, 1) => format!("({file})"),
                (number, _) => format!("({file}, {number})"),
            })
        });
        let mut topk: Vec<usize> = entries
            .iter()
            .flat_map(|entry| &entry.topk)
            .copied()
            .collect();
        topk.push(1);
        topk.sort_unstable();
        topk.dedup();
        let tests = tests(&entries);
        Self {
            entries,
            names,
            topk,
            tests,
        }
    }

    /// The data set, as the first result file describes it.
    pub(crate) fn data(&self) -> &DataInfo {
        &self.entries[0].data
    }

    /// Number of images that count.
    pub(crate) fn images(&self) -> usize {
        self.entries[0].metrics.images
    }

    /// Whether images of the data set were not evaluated.
    pub fn is_partial(&self) -> bool {
        let scope = &self.entries[0].scope;
        !scope.complete || scope.shard.is_some() || scope.subset.is_some()
    }

    /// The test of a model against the best; none for the best itself.
    pub fn against_best(&self, at: usize) -> Option<&PairedTest> {
        // The pairs with the best come first.
        self.tests
            .get(at.checked_sub(1)?)
            .filter(|test| test.models == [0, at])
    }

    /// Whether the top-1 accuracy of a model cannot be distinguished from that of the best.
    pub fn is_like_best(&self, at: usize) -> bool {
        self.against_best(at)
            .is_some_and(|test| !test.is_significant())
    }

    /// What the list covers: images, classes, and restrictions.
    pub(crate) fn extent(&self) -> String {
        let (data, scope) = (self.data(), &self.entries[0].scope);
        let mut extent = images(self.images());
        if self.is_partial() {
            extent = match &scope.subset {
                Some(subset) => subset.clone(),
                None => format!("PARTIAL: {extent} of {}", grouped(data.images)),
            };
            if let Some(shard) = scope.shard {
                extent += &format!(" (shard {} of {})", shard.index, shard.count);
            }
        }
        extent += &match &scope.valid_classes {
            None => format!(", {} classes", grouped(data.classes)),
            Some(valid) => format!(
                ", predictions restricted to {} of {} classes",
                grouped(valid.len()),
                grouped(data.classes)
            ),
        };
        if let Some(preset) = &data.preset {
            extent += &format!(", {preset}");
        }
        if let Some(labels) = &data.real_labels {
            extent += &format!(", labels of {labels}");
        }
        let failed = self.entries[0].metrics.failed;
        if failed > 0 {
            let how = match scope.failures {
                FailurePolicy::CountWrong => "counted as wrong",
                FailurePolicy::Skip => "left out",
            };
            extent += &format!(", {} unreadable ({how})", grouped(failed));
        }
        extent
    }

    /// What the mark of models that are like the best means; `None` if no model has it.
    pub(crate) fn mark_note(&self) -> Option<String> {
        let marked = (0..self.entries.len()).any(|at| self.is_like_best(at));
        marked.then(|| {
            let pairs = match self.tests.len() {
                1 => String::new(),
                pairs => format!(", Holm's correction for {} pairs", grouped(pairs)),
            };
            format!(
                "≈: top-1 accuracy not distinguishable from the best (McNemar's exact test{pairs}, p > {LEVEL})"
            )
        })
    }
}

impl PairedTest {
    /// Whether the accuracies differ at a level of 5 % over all pairs.
    pub fn is_significant(&self) -> bool {
        self.adjusted <= LEVEL
    }
}

/// A test for each pair.
fn tests(entries: &[LeaderboardEntry]) -> Vec<PairedTest> {
    let mut tests = Vec::new();
    for (first, entry) in entries.iter().enumerate() {
        for (second, other) in entries.iter().enumerate().skip(first + 1) {
            let pairs = entry.pairs(other);
            tests.push(PairedTest {
                models: [first, second],
                only_first: pairs.only_first,
                only_second: pairs.only_second,
                p_value: mcnemar(pairs.only_first, pairs.only_second),
                adjusted: 1.0,
            });
        }
    }
    let p_values: Vec<f64> = tests.iter().map(|test| test.p_value).collect();
    for (test, adjusted) in tests.iter_mut().zip(holm(&p_values)) {
        test.adjusted = adjusted;
    }
    tests
}
