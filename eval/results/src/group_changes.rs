//! The accuracy of two models on groups of images.

use serde::Serialize;
use topk_report::text::{grouped, or_dash, p_value, percent};

use crate::compare::PairedAccuracy;
use crate::counted::Counted;
use crate::schema::Results;
use crate::statistics::{Pairs, holm};
use crate::table;

/// Top-1 accuracy of two models on the images of a group that count for both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupChange {
    /// Name of the group.
    pub name: String,
    /// Its images that count for both models.
    pub images: usize,
    /// The accuracies on them; absent without images.
    pub top1: Option<PairedAccuracy>,
    /// The p-value with Holm's correction for the number of groups that have images.
    pub holm_p: Option<f64>,
}

impl GroupChange {
    /// What tables show of it, after its name: the number of images, both accuracies, the difference with its interval,
    /// and the corrected p-value.
    pub(crate) fn cells(&self) -> [String; 5] {
        let top1 = self.top1.as_ref();
        let difference =
            |paired: &PairedAccuracy| table::difference(paired.difference, paired.low, paired.high);
        [
            grouped(self.images),
            or_dash(top1.map(|paired| paired.before), percent),
            or_dash(top1.map(|paired| paired.after), percent),
            top1.map_or_else(|| or_dash(None, percent), difference),
            or_dash(self.holm_p, p_value),
        ]
    }

    pub(crate) fn difference(&self) -> Option<f64> {
        self.top1.as_ref().map(|paired| paired.difference)
    }
}

/// Counts images by group.
pub(crate) struct GroupPairs<'r> {
    names: &'r [String],
    /// Whether the groups of an image are those of the first results.
    of_first: bool,
    pairs: Vec<Pairs>,
    note: Option<String>,
}

impl<'r> GroupPairs<'r> {
    pub(crate) fn new(before: &'r Results, after: &'r Results) -> Self {
        let [first, second] = [before, after].map(|results| &results.data.group_names[..]);
        let (names, note) = match (first, second) {
            ([], names) if !names.is_empty() => (
                names,
                Some("The groups of images are those of the second results; the first have none"),
            ),
            (names, []) if !names.is_empty() => (
                names,
                Some("The groups of images are those of the first results; the second have none"),
            ),
            (first, second) if first != second => (&[][..], Some(DIFFERENT)),
            (names, _) => (names, None),
        };
        Self {
            names,
            of_first: !first.is_empty(),
            pairs: vec![Pairs::default(); names.len()],
            note: note.map(str::to_owned),
        }
    }

    /// Adds an image that the first and the second classify correctly or not.
    pub(crate) fn add(&mut self, first: &Counted<'_>, second: &Counted<'_>) {
        if self.names.is_empty() {
            return;
        }
        let of_both = [first, second].map(|counted| &counted.image.groups);
        if self.note.is_none() && of_both[0] != of_both[1] {
            self.names = &[];
            self.note = Some(DIFFERENT.to_owned());
            return;
        }
        let groups = of_both[usize::from(!self.of_first)];
        for &group in groups.iter().flatten() {
            self.pairs[group as usize].add(first.is_correct(1), second.is_correct(1));
        }
    }

    /// The groups, in their order, and what to know about them.
    pub(crate) fn finish(self) -> (Vec<GroupChange>, Option<String>) {
        let groups = self.names.iter().zip(&self.pairs);
        let mut groups: Vec<GroupChange> = groups
            .map(|(name, pairs)| GroupChange {
                name: name.clone(),
                images: pairs.images(),
                top1: (pairs.images() > 0).then(|| PairedAccuracy::new(1, pairs)),
                holm_p: None,
            })
            .collect();
        let compared = groups.iter().filter_map(|group| group.top1.as_ref());
        let p_values: Vec<f64> = compared.map(|paired| paired.p_value).collect();
        let with_images = groups.iter_mut().filter(|group| group.top1.is_some());
        for (group, p) in with_images.zip(holm(&p_values)) {
            group.holm_p = Some(p);
        }
        (groups, self.note)
    }
}

const DIFFERENT: &str = "The groups of images differ between the results, and are not compared";

/// Groups from the largest loss to the largest gain, those without images last.
pub(crate) fn by_change(groups: &[GroupChange]) -> Vec<&GroupChange> {
    let mut sorted: Vec<&GroupChange> = groups.iter().collect();
    let key = |group: &GroupChange| group.difference().unwrap_or(f64::INFINITY);
    sorted.sort_by(|a, b| key(a).total_cmp(&key(b)));
    sorted
}
