//! WordNet's hierarchy above the 1,000 classes of ILSVRC-2012: how far apart two classes are.
//!
//! The hierarchy is the is-a relation (hypernyms) of the nouns of WordNet 3.0, from the classes up to `entity`.
//! It is not a tree: 75 of its 1,860 synsets have several hypernyms. `make_wordnet.py` makes it from WordNet's
//! database, whose license is in `wordnet.license.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::imagenet::CLASSES;

/// One line per synset: its wnid and those of its hypernyms. The classes come first, in their order.
const HYPERNYMS: &str = include_str!("wordnet.txt");

/// The ancestors of a class, itself included: their heights and numbers, in ascending order.
type Ancestors = Vec<(u8, u16)>;

static ANCESTORS: LazyLock<Vec<Ancestors>> = LazyLock::new(|| {
    let parents = parents(HYPERNYMS);
    let above: Vec<Vec<usize>> = (0..CLASSES).map(|class| above(&parents, class)).collect();
    let heights = heights(&parents, &above);
    let ancestors = above.into_iter().map(|above| {
        let mut ancestors: Ancestors = (above.into_iter())
            .map(|synset| (heights[synset], synset as u16))
            .collect();
        ancestors.sort_unstable();
        ancestors
    });
    ancestors.collect()
});

/// The height of the lowest common ancestor of two classes of [`imagenet::synsets`](crate::imagenet::synsets):
/// 0 for a class and itself, 1 for two breeds of retrievers, 16 for classes with only `entity` in common.
///
/// The height of a synset is the length of the longest path down to a class, as in the development kit of
/// ILSVRC 2010 and in Bertinetto et al., "Making Better Mistakes", CVPR 2020. Steps between synsets with the
/// same classes below them do not count, so that heights are those without the synsets that have a single child,
/// which the code of that paper removes. Where there are several paths up, the lowest of all common ancestors
/// counts; the paper's code keeps only one path of each class, and so has a tree.
///
/// # Panics
/// If a class is not below [`CLASSES`].
pub fn lca_height(a: u32, b: u32) -> u32 {
    let [mut a, mut b] = [a, b].map(|class| ANCESTORS[class as usize].as_slice());
    // Both are in ascending order, and all have `entity` in common.
    while let (Some(first), Some(second)) = (a.first(), b.first()) {
        match first.cmp(second) {
            std::cmp::Ordering::Less => a = &a[1..],
            std::cmp::Ordering::Greater => b = &b[1..],
            std::cmp::Ordering::Equal => return first.0.into(),
        }
    }
    unreachable!("all synsets have the root in common")
}

/// The hypernyms of each synset, as numbers of lines.
fn parents(text: &str) -> Vec<Vec<usize>> {
    let lines = || text.lines().map(|line| line.split(' '));
    let number: HashMap<&str, usize> = lines()
        .enumerate()
        .filter_map(|(number, mut wnids)| Some((wnids.next()?, number)))
        .collect();
    lines()
        .map(|wnids| wnids.skip(1).map(|wnid| number[wnid]).collect())
        .collect()
}

/// A synset and all its ancestors.
fn above(parents: &[Vec<usize>], synset: usize) -> Vec<usize> {
    let (mut found, mut at) = (vec![synset], 0);
    while let Some(&next) = found.get(at) {
        for &parent in &parents[next] {
            if !found.contains(&parent) {
                found.push(parent);
            }
        }
        at += 1;
    }
    found
}

/// The height of each synset; `above` has the ancestors of each class.
fn heights(parents: &[Vec<usize>], above: &[Vec<usize>]) -> Vec<u8> {
    // A synset has all classes that its children have, so equal numbers are equal sets.
    let mut classes = vec![0; parents.len()];
    for &synset in above.iter().flatten() {
        classes[synset] += 1;
    }
    let mut heights = vec![0; parents.len()];
    // The longest path has no more steps than this; it ends with the first round that changes nothing.
    let mut changed = true;
    while changed {
        changed = false;
        for (synset, parents) in parents.iter().enumerate() {
            for &parent in parents {
                let step = u8::from(classes[parent] > classes[synset]);
                let height = heights[synset] + step;
                changed |= height > heights[parent];
                heights[parent] = heights[parent].max(height);
            }
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imagenet::{class_of_wnid, synsets};
    use serde_json::Value;

    /// Made by `tests/data/make_lca_heights.py` with NLTK and NetworkX.
    fn fixture() -> Value {
        serde_json::from_str(include_str!("../tests/data/lca_heights.json")).unwrap()
    }

    #[test]
    fn the_first_synsets_are_the_classes() {
        let wnids = HYPERNYMS.lines().map(|line| &line[..9]);
        assert!(
            wnids
                .take(CLASSES)
                .eq(synsets().iter().map(|synset| synset.wnid))
        );
        let license = include_str!("wordnet.license.txt");
        assert!(license.contains("WordNet 3.0 Copyright 2006 by Princeton University."));
    }

    #[test]
    fn heights_match_networkx() {
        let fixture = fixture();
        for (wnid, row) in fixture["rows"].as_object().unwrap() {
            let class = class_of_wnid(wnid).unwrap();
            let found: Vec<u32> = (0..1000).map(|other| lca_height(class, other)).collect();
            let expected: Vec<u32> = serde_json::from_value(row.clone()).unwrap();
            assert_eq!(found, expected, "{wnid}");
        }
        let mut pairs = vec![0; 17];
        for a in 0..1000 {
            for b in 0..a {
                assert_eq!(lca_height(a, b), lca_height(b, a));
                pairs[lca_height(a, b) as usize] += 1;
            }
        }
        let expected: Vec<usize> = serde_json::from_value(fixture["pairs"].clone()).unwrap();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn related_classes_are_near() {
        let height = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|name| {
                let named = synsets().iter().position(|synset| synset.names == name);
                named.unwrap() as u32
            });
            lca_height(a, b)
        };
        let tabby = "tabby, tabby cat";
        assert_eq!(height(tabby, tabby), 0);
        assert_eq!(height("golden retriever", "Labrador retriever"), 1);
        assert_eq!(height(tabby, "Chihuahua"), 6);
        assert_eq!(height(tabby, "teapot"), 13);
    }
}
