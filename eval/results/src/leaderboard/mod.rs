//! Many results side by side: one list of models for each set of images.

mod csv;
mod entry;
mod group;
mod markdown;
mod model_index;
mod shift_tables;
mod shifts;
mod table;

use std::collections::BTreeSet;

pub use self::entry::LeaderboardEntry;
pub use self::group::{LeaderboardGroup, PairedTest};
pub(crate) use self::shift_tables::{CORRUPTION_COLUMNS, CORRUPTION_NOTE, corruption_cell};
pub use self::shifts::{ShiftAccuracy, ShiftModel, ShiftSet, Shifts};

/// The models of several result files, in one list for each data set.
///
/// Models are in the same list only if their metrics cover the same images with the same labels and the same valid
/// classes.
#[derive(Clone, Debug)]
pub struct Leaderboard {
    /// The lists, by path of the data set; of the same data, the one with the most images first.
    pub groups: Vec<LeaderboardGroup>,
    /// What was left out, one line each.
    pub left_out: Vec<String>,
}

impl Leaderboard {
    /// Groups and ranks entries.
    pub fn new(entries: Vec<LeaderboardEntry>, left_out: Vec<String>) -> Self {
        let mut lists: Vec<Vec<LeaderboardEntry>> = Vec::new();
        for entry in entries {
            match lists.iter_mut().find(|list| list[0].scope == entry.scope) {
                Some(list) => list.push(entry),
                None => lists.push(vec![entry]),
            }
        }
        let mut groups: Vec<LeaderboardGroup> =
            lists.into_iter().map(LeaderboardGroup::new).collect();
        groups.sort_by(|a, b| {
            let path = |group: &LeaderboardGroup| group.data().path.clone();
            path(a).cmp(&path(b)).then(b.images().cmp(&a.images()))
        });
        Self { groups, left_out }
    }

    /// Number of models, by their hashes.
    pub fn models(&self) -> usize {
        let entries = self.groups.iter().flat_map(|group| &group.entries);
        distinct(entries.map(|entry| &*entry.model.sha256))
    }

    /// Number of data sets.
    pub fn data_sets(&self) -> usize {
        distinct(self.groups.iter().map(|group| &*group.data().sha256))
    }

    /// The values of k of all lists, ascending.
    fn topk(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self
            .groups
            .iter()
            .flat_map(|group| &group.topk)
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Number of different texts.
fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.collect::<BTreeSet<_>>().len()
}
