use std::collections::HashMap;

use crate::class_names::wnid_and_names;
use crate::{Classes, imagenet};

/// Finds classes by the wnids and names that other files use for them.
#[derive(Debug)]
pub struct ClassMatcher {
    entries: Vec<Identity>,
    /// Classes by wnid, by name, and by each synonym.
    by_wnid: HashMap<String, Vec<u32>>,
    by_name: HashMap<String, Vec<u32>>,
    by_synonym: HashMap<String, Vec<u32>>,
}

/// What is known of a class.
#[derive(Debug)]
struct Identity {
    wnid: Option<String>,
    /// All names, as they are written.
    names: String,
    /// Each name in lower case, with spaces for underscores.
    synonyms: Vec<String>,
}

impl Identity {
    /// The wnid and the names in a text such as `n01440764 tench, Tinca tinca`, `n01440764` or `tench`.
    fn of(text: &str) -> Self {
        let (wnid, names) = match wnid_and_names(text) {
            Some((wnid, names)) => (Some(wnid.to_owned()), names),
            None => (None, text),
        };
        let synonyms = names.split(',').map(|name| {
            let name = name.replace('_', " ").to_lowercase();
            name.split_whitespace().collect::<Vec<_>>().join(" ")
        });
        Self {
            wnid,
            names: names.trim().to_owned(),
            synonyms: synonyms.filter(|name| !name.is_empty()).collect(),
        }
    }

    /// Whether all names of one are names of the other: `tench` and `tench, Tinca tinca`.
    fn shares_names(&self, other: &Self) -> bool {
        let within = |one: &Self, other: &Self| {
            let mut names = one.synonyms.iter();
            !one.synonyms.is_empty() && names.all(|name| other.synonyms.contains(name))
        };
        within(self, other) || within(other, self)
    }

    fn is(&self, other: &Self) -> bool {
        match (&self.wnid, &other.wnid) {
            (Some(one), Some(other)) => one == other,
            _ => self.names == other.names || self.shares_names(other),
        }
    }
}

impl ClassMatcher {
    /// Finds classes of a data set.
    pub fn of(classes: &Classes) -> Self {
        let texts = (0..classes.len() as u32).map(|class| classes.identity(class));
        Self::new(texts)
    }

    /// Finds classes by texts with a wnid, names, or both.
    pub fn new(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let entries = texts.into_iter().map(|text| Identity::of(text.as_ref()));
        let mut matcher = Self {
            entries: entries.collect(),
            by_wnid: HashMap::new(),
            by_name: HashMap::new(),
            by_synonym: HashMap::new(),
        };
        for (class, entry) in (0..).zip(&matcher.entries) {
            if let Some(wnid) = &entry.wnid {
                matcher.by_wnid.entry(wnid.clone()).or_default().push(class);
            }
            let by_name = matcher.by_name.entry(entry.names.clone());
            by_name.or_default().push(class);
            for synonym in &entry.synonyms {
                let by_synonym = matcher.by_synonym.entry(synonym.clone());
                by_synonym.or_default().push(class);
            }
        }
        matcher
    }

    /// The class that a text with a wnid, names, or both denotes. `None` if it is none or not the only one.
    pub fn find(&self, text: &str) -> Option<u32> {
        let identity = Identity::of(text);
        let only = |classes: Option<&Vec<u32>>| match classes.map(Vec::as_slice) {
            Some(&[class]) => Some(class),
            _ => None,
        };
        let wnid = identity.wnid.as_ref();
        if let Some(class) = wnid.and_then(|wnid| only(self.by_wnid.get(wnid))) {
            return Some(class);
        }
        // Classes with another wnid have the name by chance, such as the two of ImageNet named `crane`.
        let is = |class: &u32| self.entries[*class as usize].is(&identity);
        if let Some(classes) = self.by_name.get(&identity.names) {
            let classes: Vec<u32> = classes.iter().copied().filter(is).collect();
            return only(Some(&classes));
        }
        let synonyms = identity.synonyms.iter();
        let shared = synonyms
            .filter_map(|name| self.by_synonym.get(name))
            .flatten();
        let mut shared: Vec<u32> = shared.copied().filter(is).collect();
        shared.sort_unstable();
        shared.dedup();
        only(Some(&shared))
    }

    /// Whether a text may denote this class.
    pub fn is(&self, class: u32, text: &str) -> bool {
        let entry = self.entries.get(class as usize);
        entry.is_some_and(|entry| entry.is(&Identity::of(text)))
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no classes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Classes {
    /// A text by which [`ClassMatcher`] finds the class: its wnid and names, its name, or its number.
    pub fn identity(&self, class: u32) -> String {
        match self.wnid(class) {
            Some(wnid) => format!("{wnid} {}", self.name(class)),
            None => self.name(class).into_owned(),
        }
    }

    /// A name of the class that other classes of ImageNet do not share: `crane` is the name of two.
    pub fn unique_name(&self, class: u32) -> String {
        let name = self.name(class);
        let shared = |synset: &&imagenet::Synset| synset.names == name;
        match self.wnid(class) {
            Some(_) if imagenet::synsets().iter().filter(shared).count() > 1 => {
                self.identity(class)
            }
            _ => name.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_imagenet_are_found_by_wnid_and_name() {
        let imagenet = ClassMatcher::of(&Classes::Imagenet);
        for text in [
            "tench, Tinca tinca",
            "tench",
            "Tench",
            "tinca_tinca",
            "n01440764",
            "n01440764 some fish",
        ] {
            assert_eq!(imagenet.find(text), Some(0), "{text}");
        }
        assert_eq!(imagenet.find("dog"), None);
        // Two classes have this name, so only the position tells them apart.
        assert_eq!(imagenet.find("crane"), None);
        assert!(imagenet.is(134, "crane") && imagenet.is(517, "crane"));
        for (class, synset) in (0..).zip(imagenet::synsets()) {
            assert!(imagenet.is(class, synset.names));
            assert_eq!(imagenet.find(synset.wnid), Some(class));
            let name = Classes::Imagenet.unique_name(class);
            assert_eq!(imagenet.find(&name), Some(class), "{name}");
        }
    }

    #[test]
    fn wnids_are_found_among_names() {
        let names = ClassMatcher::new(["goldfish", "tench", "dog, large", "dog, small"]);
        assert_eq!(names.find("n01440764 tench, Tinca tinca"), Some(1));
        assert_eq!(names.find("n01440764"), Some(1));
        assert_eq!(names.find("dog, small"), Some(3));
        assert_eq!(names.find("dog"), None);
        assert_eq!(names.find("dog, tiny"), None);
    }
}
