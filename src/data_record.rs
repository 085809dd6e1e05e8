//! A record of a run's images, by which a change of them is noticed when the run is resumed.

use serde::{Deserialize, Serialize};
use topk_files::{Hasher, excerpt};

/// Number of differences of a kind that a message lists.
const SHOWN: usize = 3;

/// Maximum size in bytes of the list of classes: it is in the header of the saved state.
const MAX_LISTED: usize = 1 << 20;

/// What the training and validation images of a run are.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct DataRecord {
    /// The classes in their order; empty if the list would be too long.
    classes: Vec<ClassRecord>,
    /// SHA-256 of the classes, and of the names and labels of the images, in their order.
    order: String,
    /// The same, whatever the order of the images.
    images: String,
}

/// A class and its number of images.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct ClassRecord {
    name: String,
    training: usize,
    validation: usize,
}

/// Names and labels of images. Labels are those before label noise.
pub(crate) type Listed<'a> = Vec<(&'a str, u32)>;

impl DataRecord {
    /// The record of these images.
    pub(crate) fn new(classes: &[String], training: Listed, validation: Listed) -> Self {
        let mut records: Vec<ClassRecord> = classes
            .iter()
            .map(|name| ClassRecord {
                name: name.clone(),
                ..ClassRecord::default()
            })
            .collect();
        for &(_, label) in &training {
            records[label as usize].training += 1;
        }
        for &(_, label) in &validation {
            records[label as usize].validation += 1;
        }
        let mut lists = [training, validation];
        let order = sha256(classes, &lists);
        lists.iter_mut().for_each(|list| list.sort_unstable());
        let listed: usize = classes.iter().map(|name| name.len() + 64).sum();
        Self {
            classes: if listed <= MAX_LISTED {
                records
            } else {
                Vec::new()
            },
            order,
            images: sha256(classes, &lists),
        }
    }

    /// Whether the images are the same, in the same order.
    pub(crate) fn has_same_order(&self, now: &Self) -> bool {
        self.order == now.order
    }

    /// What is different now, as clauses; `None` if classes, images and labels are the same in any order.
    pub(crate) fn difference(&self, now: &Self) -> Option<String> {
        if self.images == now.images {
            return None;
        }
        let differences = match self.classes.is_empty() || now.classes.is_empty() {
            true => Vec::new(),
            false => self.classes_and_counts(now),
        };
        Some(match differences.is_empty() {
            true => "each class has as many images as before, but not the same ones".to_owned(),
            false => differences.join("; "),
        })
    }

    fn classes_and_counts(&self, now: &Self) -> Vec<String> {
        let find =
            |record: &Self, name: &str| record.classes.iter().position(|class| class.name == name);
        let missing_in = |record: &Self, classes: &[ClassRecord]| -> Vec<String> {
            let names = classes.iter().map(|class| &class.name);
            let names = names.filter(|name| find(record, name).is_none());
            names.map(|name| format!("`{}`", excerpt(name))).collect()
        };
        let (removed, added) = (
            missing_in(now, &self.classes),
            missing_in(self, &now.classes),
        );
        let mut differences = Vec::new();
        let renamed = if removed.len() == added.len() {
            " (renamed?)"
        } else {
            ""
        };
        for (classes, what, note) in [(removed, "missing", ""), (added, "new", renamed)] {
            let (class, is) = if classes.len() == 1 {
                ("class", "is")
            } else {
                ("classes", "are")
            };
            if !classes.is_empty() {
                differences.push(format!("the {class} {} {is} {what}{note}", listed(classes)));
            }
        }
        let common: Vec<(usize, usize)> = (0..self.classes.len())
            .filter_map(|then| Some((then, find(now, &self.classes[then].name)?)))
            .collect();
        if differences.is_empty()
            && let Some(&(then, is)) = common.iter().find(|(then, is)| then != is)
        {
            let name = excerpt(&self.classes[then].name);
            differences.push(format!(
                "the classes are in another order: `{name}` was class {then}, and is class {is}"
            ));
        }
        let mut counts = Vec::new();
        for (then, is) in common {
            let (before, after) = (&self.classes[then], &now.classes[is]);
            for (part, before, after) in [
                ("training", before.training, after.training),
                ("validation", before.validation, after.validation),
            ] {
                if before != after {
                    let name = excerpt(&self.classes[then].name);
                    counts.push(format!(
                        "`{name}` had {before} {part} images, and has {after}"
                    ));
                }
            }
        }
        if !counts.is_empty() {
            differences.push(listed(counts));
        }
        differences
    }
}

/// The first items, and how many more there are.
fn listed(items: Vec<String>) -> String {
    let more = items.len().saturating_sub(SHOWN);
    let mut text = items.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

fn sha256(classes: &[String], lists: &[Listed; 2]) -> String {
    let mut hash = Hasher::default();
    let text = |hash: &mut Hasher, text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    hash.update((classes.len() as u64).to_le_bytes());
    classes.iter().for_each(|name| text(&mut hash, name));
    for list in lists {
        hash.update((list.len() as u64).to_le_bytes());
        for (name, label) in list {
            text(&mut hash, name);
            hash.update(label.to_le_bytes());
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(
        classes: &[&str],
        training: &[(&str, u32)],
        validation: &[(&str, u32)],
    ) -> DataRecord {
        let classes: Vec<String> = classes.iter().map(|name| (*name).to_owned()).collect();
        DataRecord::new(&classes, training.to_vec(), validation.to_vec())
    }

    #[test]
    fn differences_are_named() {
        let before = record(
            &["a", "b"],
            &[("a/1", 0), ("a/2", 0), ("b/1", 1)],
            &[("a/3", 0)],
        );
        let difference =
            |classes: &[&str], training: &[(&str, u32)], validation: &[(&str, u32)]| {
                before.difference(&record(classes, training, validation))
            };
        let training = [("a/1", 0), ("a/2", 0), ("b/1", 1)];
        assert_eq!(difference(&["a", "b"], &training, &[("a/3", 0)]), None);
        let other_order = [training[2], training[0], training[1]];
        assert_eq!(difference(&["a", "b"], &other_order, &[("a/3", 0)]), None);
        assert!(!before.has_same_order(&record(&["a", "b"], &other_order, &[("a/3", 0)])));
        for (classes, training, validation, expected) in [
            (
                &["a", "z"][..],
                &training[..],
                ("a/3", 0),
                "the class `b` is missing; the class `z` is new (renamed?)",
            ),
            (
                &["a", "b", "c", "d"],
                &training,
                ("a/3", 0),
                "the classes `c`, `d` are new",
            ),
            (
                &["b", "a"],
                &[("a/1", 1), ("a/2", 1), ("b/1", 0)],
                ("a/3", 1),
                "the classes are in another order: `a` was class 0, and is class 1",
            ),
            (
                &["a", "b"],
                &training[1..],
                ("b/2", 1),
                "`a` had 2 training images, and has 1, `a` had 1 validation images, and has 0, `b` had 0 \
                 validation images, and has 1",
            ),
            (
                &["a", "b"],
                &training,
                ("a/4", 0),
                "each class has as many images as before, but not the same ones",
            ),
        ] {
            let found = difference(classes, training, &[validation]).unwrap();
            assert_eq!(found, expected);
        }
    }
}
