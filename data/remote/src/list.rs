//! Names of objects, as folders and files.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path as Key;

use crate::RemoteError;
use crate::client::Client;
use crate::location::{Location, Provider};
use crate::object::Version;
use crate::retry::{Tries, failure};

/// The objects below a prefix, by their keys, with their versions as far as the list has them.
#[derive(Debug, Default)]
pub(crate) struct Tree(pub BTreeMap<String, Option<Version>>);

/// What is at an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An object.
    File,
    /// Objects are below it.
    Folder,
    /// Nothing.
    Missing,
}

/// Names of files and folders directly below an address, sorted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names {
    /// Objects.
    pub files: Vec<String>,
    /// Prefixes that end with a slash.
    pub folders: Vec<String>,
}

impl Client {
    /// What is at an address.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn kind(self: &Arc<Self>, path: &Path) -> Result<Kind, RemoteError> {
        let location = Location::parse(path)?;
        if location.key.is_empty() {
            return Ok(Kind::Folder);
        }
        if let Some(tree) = self.known_tree(&location) {
            return Ok(tree.kind(&location.key));
        }
        match self.open(path) {
            Ok(_) => return Ok(Kind::File),
            Err(RemoteError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if location.provider == Provider::Web {
            return Ok(Kind::Missing);
        }
        let tree = self.tree(&location)?;
        Ok(tree.kind(&location.key))
    }

    /// The names directly below an address.
    ///
    /// # Errors
    /// If they cannot be listed, as on web servers.
    pub fn names(self: &Arc<Self>, path: &Path) -> Result<Names, RemoteError> {
        let location = Location::parse(path)?;
        let tree = self.tree(&location)?;
        Ok(tree.names(&location.key))
    }

    /// The addresses below a folder whose keys match, sorted.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn matching(
        self: &Arc<Self>,
        folder: &Path,
        matches: impl Fn(&Path) -> bool,
    ) -> Result<Vec<PathBuf>, RemoteError> {
        let location = Location::parse(folder)?;
        let tree = self.tree(&location)?;
        let prefix = prefix(&location.key);
        let keys = tree
            .0
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix));
        let paths = keys.map(|(key, _)| PathBuf::from(format!("{}/{key}", location.root)));
        Ok(paths.filter(|path| matches(path)).collect())
    }

    /// The version of an object that was listed.
    pub(crate) fn listed(&self, location: &Location) -> Option<Version> {
        self.known_tree(location)?.0.get(&location.key)?.clone()
    }

    /// The list of a prefix that a location is below.
    fn known_tree(&self, location: &Location) -> Option<Arc<Tree>> {
        let trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let found = trees.iter().find(|(above, _)| {
            let inside = location.key.strip_prefix(above.key.as_str());
            above.root == location.root
                && inside.is_some_and(|inside| {
                    above.key.is_empty() || inside.is_empty() || inside.starts_with('/')
                })
        });
        found.map(|(_, tree)| Arc::clone(tree))
    }

    /// The objects below a location, which are listed at the first use.
    fn tree(self: &Arc<Self>, location: &Location) -> Result<Arc<Tree>, RemoteError> {
        if let Some(tree) = self.known_tree(location) {
            return Ok(tree);
        }
        let tree = match location.provider {
            Provider::Web => {
                return Err(RemoteError::Location {
                    location: location.to_string(),
                    reason:
                        "web servers have no lists of files; give a file, or a pattern such as \
                             `train-{000..127}.tar`"
                            .to_owned(),
                });
            }
            Provider::Hub => self.hub_tree(location)?,
            _ => self.block_on(self.listing(location))?,
        };
        let tree = Arc::new(tree);
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.push((location.clone(), Arc::clone(&tree)));
        Ok(tree)
    }

    async fn listing(&self, location: &Location) -> Result<Tree, RemoteError> {
        let (store, key) = self.store(location)?;
        let prefix = (!location.key.is_empty()).then_some(key);
        let mut tree = Tree::default();
        let mut tries = Tries::new(self.options.retries, &self.statistics, location);
        // A try continues after the last object that was listed.
        let mut last: Option<Key> = None;
        loop {
            let listed = match &last {
                None => store.list(prefix.as_ref()),
                Some(last) => store.list_with_offset(prefix.as_ref(), last),
            };
            let added = listed.try_for_each(|meta| {
                last = Some(meta.location.clone());
                let name = meta.location.as_ref().to_owned();
                // Some tools make empty objects for folders.
                if !(name.ends_with('/') || meta.size == 0 && name.ends_with("_$folder$")) {
                    tree.0.insert(name, Some(Version::of(&meta)));
                }
                std::future::ready(Ok(()))
            });
            match added.await {
                Ok(()) => return Ok(tree),
                Err(error) => tries.again(failure(&error, location, &self.stores)).await?,
            }
        }
    }
}

fn prefix(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}/")
    }
}

impl Tree {
    fn kind(&self, key: &str) -> Kind {
        if self.0.contains_key(key) {
            return Kind::File;
        }
        let prefix = prefix(key);
        let first = self.0.range(prefix.clone()..).next();
        match first.is_some_and(|(key, _)| key.starts_with(&prefix)) {
            true => Kind::Folder,
            false => Kind::Missing,
        }
    }

    fn names(&self, key: &str) -> Names {
        let prefix = prefix(key);
        let mut names = Names::default();
        let mut from = Bound::Included(prefix.clone());
        while let Some((key, _)) = self.0.range((from.clone(), Bound::Unbounded)).next() {
            let Some(inner) = key.strip_prefix(&prefix) else {
                break;
            };
            match inner.split_once('/') {
                None => {
                    names.files.push(inner.to_owned());
                    from = Bound::Excluded(key.clone());
                }
                Some((folder, _)) => {
                    names.folders.push(folder.to_owned());
                    // Behind everything in the folder: `0` follows the slash.
                    from = Bound::Included(format!("{prefix}{folder}0"));
                }
            }
        }
        names.files.sort_unstable();
        names.folders.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_folders() {
        let keys = [
            "a/x.jpg",
            "a/b/y.jpg",
            "a.txt",
            "a-c/z",
            "deep/er/q",
            "a/b/c/w",
            "a0",
        ];
        let tree = Tree(keys.iter().map(|key| ((*key).to_owned(), None)).collect());
        let names = |files: &[&str], folders: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            Names {
                files: owned(files),
                folders: owned(folders),
            }
        };
        assert_eq!(
            tree.names(""),
            names(&["a.txt", "a0"], &["a", "a-c", "deep"])
        );
        assert_eq!(tree.names("a"), names(&["x.jpg"], &["b"]));
        assert_eq!(tree.names("a/b"), names(&["y.jpg"], &["c"]));
        assert_eq!(tree.names("none"), names(&[], &[]));
        assert_eq!(tree.kind("a"), Kind::Folder);
        assert_eq!(tree.kind("a0"), Kind::File);
        assert_eq!(tree.kind("a/"), Kind::Missing);
        assert_eq!(tree.kind("dee"), Kind::Missing);
    }
}
