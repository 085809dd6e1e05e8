//! Models on several test sets for the same classes: one row for each model.

use serde::Serialize;
use topk_report::text::one_line;

use super::{Leaderboard, LeaderboardEntry, LeaderboardGroup};
use crate::corruption::{Corruption, CorruptionErrors};
use crate::file;
use crate::names::short_names;
use crate::schema::DataInfo;

/// The test sets that the columns begin with, in this order; others follow.
const ORDER: [&str; 10] = [
    "imagenet",
    "imagenet-real",
    "imagenet-v2",
    "imagenet-sketch",
    "imagenet-a",
    "imagenet-a-clean",
    "imagenet-r",
    "imagenet-r-clean",
    "objectnet",
    "objectnet-113",
];

/// The accuracy of models on several test sets whose names the result files have ([`DataInfo::preset`]).
///
/// Only results on all images of a set are in it. Of several results of a model on the same images, the newest counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shifts {
    /// The test sets, apart from ImageNet-C.
    pub sets: Vec<ShiftSet>,
    /// The models, by accuracy on the first set, best first.
    pub models: Vec<ShiftModel>,
    /// What was left out, one line each.
    pub notes: Vec<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShiftSet {
    /// Name of the test set, with its folder if there are several of this name, such as the versions of ImageNet-V2.
    pub name: String,
    /// Number of images that count.
    pub images: usize,
    /// Values of k, ascending.
    pub topk: Vec<usize>,
    /// Hash of the data set.
    pub data_sha256: String,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShiftModel {
    /// A short name.
    pub name: String,
    /// The model file.
    pub path: String,
    /// Its SHA-256.
    pub sha256: String,
    /// For each test set, the accuracies at its values of k; empty if the model was not evaluated on it.
    pub accuracies: Vec<Vec<ShiftAccuracy>>,
    /// The errors on ImageNet-C, if any are known.
    pub corruptions: Option<CorruptionErrors>,
}

/// An accuracy and its 95 % interval (Wilson), each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ShiftAccuracy {
    /// The k.
    pub k: usize,
    /// Fraction of the images whose true class is among the k highest scores.
    pub accuracy: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Shifts {
    /// The table as JSON.
    pub fn to_json(&self) -> String {
        file::to_json(self)
    }
}

impl ShiftModel {
    /// The accuracy on a test set.
    pub fn accuracy(&self, set: usize, k: usize) -> Option<ShiftAccuracy> {
        let accuracies = self.accuracies[set].iter();
        accuracies.copied().find(|accuracy| accuracy.k == k)
    }
}

impl DataInfo {
    /// Name of the test set, with that of the labels that replace its own; `None` if it was not given.
    fn test_set(&self) -> Option<String> {
        match (self.preset.as_deref(), &self.real_labels) {
            (preset, None) => preset.map(str::to_owned),
            (preset, Some(_)) => Some(format!("{}-real", preset.unwrap_or("imagenet"))),
        }
    }

    fn corruption(&self) -> Option<Corruption> {
        Corruption::of_preset(self.preset.as_deref()?)
    }
}

/// All results of a list, and what they are of.
struct List<'a> {
    group: &'a LeaderboardGroup,
    name: String,
}

impl Leaderboard {
    /// The models on several test sets; `None` if the results are not of at least two that have names.
    pub fn shifts(&self) -> Option<Shifts> {
        let mut notes = Vec::new();
        let named = self.groups.iter().filter_map(|group| {
            let name = group.data().test_set()?;
            Some(List { group, name })
        });
        let (partial, lists): (Vec<List<'_>>, Vec<List<'_>>) =
            named.partition(|list| list.group.is_partial());
        if lists.len() < 2 {
            return None;
        }
        for list in partial {
            let path = one_line(&list.group.data().path);
            notes.push(format!(
                "left out: partial results on {} ({path})",
                list.name
            ));
        }
        let (corrupted, mut lists): (Vec<List<'_>>, Vec<List<'_>>) = lists
            .into_iter()
            .partition(|list| list.group.data().corruption().is_some());
        let order = |list: &List<'_>| {
            let known = ORDER.iter().position(|name| *name == list.name);
            (known.unwrap_or(ORDER.len()), list.name.clone())
        };
        lists.sort_by_cached_key(order);

        let mut newest: Vec<&LeaderboardEntry> = Vec::new();
        for entry in (lists.iter().chain(&corrupted)).flat_map(|list| &list.group.entries) {
            if !newest
                .iter()
                .any(|known| known.model.sha256 == entry.model.sha256)
            {
                newest.push(entry);
            }
        }
        let paths: Vec<&str> = newest.iter().map(|entry| &*entry.model.path).collect();
        let names = short_names(&paths, |at| {
            newest[at].model.sha256.get(..8).map(str::to_owned)
        });
        let mut models: Vec<ShiftModel> = (names.into_iter().zip(&newest))
            .map(|(name, entry)| ShiftModel {
                name,
                path: entry.model.path.clone(),
                sha256: entry.model.sha256.clone(),
                accuracies: (lists.iter())
                    .map(|list| list.accuracies(&entry.model.sha256, &mut notes))
                    .collect(),
                corruptions: None,
            })
            .collect();
        let clean = lists.iter().position(|list| list.name == "imagenet");
        for model in &mut models {
            let errors = corrupted.iter().filter_map(|list| {
                let accuracies = list.accuracies(&model.sha256, &mut notes);
                let top1 = accuracies.iter().find(|accuracy| accuracy.k == 1)?;
                Some((list.group.data().corruption()?, 1.0 - top1.accuracy))
            });
            let errors: Vec<(Corruption, f64)> = errors.collect();
            let clean = clean.and_then(|set| Some(1.0 - model.accuracy(set, 1)?.accuracy));
            model.corruptions = (!errors.is_empty()).then(|| CorruptionErrors::new(errors, clean));
        }
        for model in &models {
            let missing = model
                .corruptions
                .as_ref()
                .map_or(0, CorruptionErrors::missing);
            if missing > 0 {
                notes.push(format!(
                    "{}: results on ImageNet-C that the mean corruption error still needs: {missing}",
                    model.name
                ));
            }
        }
        models.sort_by(|a, b| {
            let first = |model: &ShiftModel| {
                let top1 = (!lists.is_empty()).then(|| model.accuracy(0, 1)).flatten();
                top1.map_or(-1.0, |accuracy| accuracy.accuracy)
            };
            first(b)
                .total_cmp(&first(a))
                .then_with(|| a.name.cmp(&b.name))
        });
        let sets = lists.iter().map(|list| list.set(&lists)).collect();
        notes.sort();
        notes.dedup();
        Some(Shifts {
            sets,
            models,
            notes,
        })
    }

    /// The lists to show, without those of ImageNet-C where [`shifts`](Self::shifts) has them.
    pub(crate) fn shown(&self, shifts: Option<&Shifts>) -> impl Iterator<Item = &LeaderboardGroup> {
        let summed_up = shifts.is_some();
        self.groups.iter().filter(move |group| {
            !summed_up || group.is_partial() || group.data().corruption().is_none()
        })
    }
}

impl List<'_> {
    fn set(&self, lists: &[List<'_>]) -> ShiftSet {
        let data = self.group.data();
        let same = lists.iter().filter(|list| list.name == self.name);
        let folder = data.path.trim_end_matches('/').rsplit('/').next();
        ShiftSet {
            name: match (same.count(), folder) {
                (2.., Some(folder)) => format!("{} ({})", self.name, one_line(folder)),
                _ => self.name.clone(),
            },
            images: self.group.images(),
            topk: self.group.topk.clone(),
            data_sha256: data.sha256.clone(),
        }
    }

    /// The accuracies of a model in its newest results; empty if it was not evaluated on this set.
    fn accuracies(&self, sha256: &str, notes: &mut Vec<String>) -> Vec<ShiftAccuracy> {
        let of_model = self.group.entries.iter();
        let mut of_model: Vec<&LeaderboardEntry> = of_model
            .filter(|entry| entry.model.sha256 == sha256)
            .collect();
        of_model.sort_by(|a, b| a.started.cmp(&b.started));
        let Some((newest, older)) = of_model.split_last() else {
            return Vec::new();
        };
        notes.extend(older.iter().map(|entry| {
            format!(
                "left out: results on {} in {}, because those in {} are newer",
                self.name,
                one_line(&entry.source),
                one_line(&newest.source)
            )
        }));
        let accuracies = self.group.topk.iter().filter_map(|&k| {
            let accuracy = newest.accuracy(k)?;
            Some(ShiftAccuracy {
                k,
                accuracy: accuracy.value,
                low: accuracy.low,
                high: accuracy.high,
            })
        });
        accuracies.collect()
    }
}
