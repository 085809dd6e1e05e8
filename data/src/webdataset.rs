//! WebDataset shards: tar files with images and their labels. Consecutive members with the same key are a
//! sample. The key of a member ends before the first dot of its file name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use topk_files::excerpt;

use serde_json::Value;

use crate::listing::Listing;
use crate::regions::{Container, Region, Regions, Runs};
use crate::sample::Sample;
use crate::split_folder::retain_split;
use crate::storage::Purpose;
use crate::store::check_size;
use crate::tar::{Members, Seekable};
use crate::walk::{file_name, is_image};
use crate::{DataError, Format, Options, Warnings, listed, shards, storage};
use topk_labels::{Classes, MAX_CLASSES};

/// Largest members that are read for a label.
const MAX_LABEL_BYTES: u64 = 1 << 10;
const MAX_JSON_BYTES: u64 = 1 << 20;

/// Number of members that are inspected to detect a shard.
const INSPECTED: usize = 64;

/// The sample whose members are being read.
struct Group {
    key: String,
    suffixes: Vec<String>,
    image: Option<(String, Region)>,
    /// Label from the member `cls`, which takes precedence over `json`.
    cls: Option<u32>,
    json: Option<u32>,
}

/// Whether a tar file contains labels beside images: an image and a member `cls` with the same key, or a
/// member `json` with a label. Other JSON files, such as lists of classes, say nothing.
pub(crate) fn is_shard(path: &Path) -> Result<bool, DataError> {
    let mut members = Members::open(path, Purpose::Detection)?;
    let found = has_labels(&mut members)?;
    members.finish();
    Ok(found)
}

fn has_labels(members: &mut Members<Seekable>) -> Result<bool, DataError> {
    let (mut images, mut labels) = (HashSet::new(), HashSet::new());
    for _ in 0..INSPECTED {
        let Some(member) = members.next()? else { break };
        let Some((key, suffix)) = key_and_suffix(&member.name) else {
            continue;
        };
        let key = key.to_owned();
        let suffix = suffix.to_lowercase();
        // A compound suffix does not belong to the sample as WebDataset reads it, but shows what is meant.
        match suffix.rsplit('.').next().unwrap_or_default() {
            "cls" => {
                labels.insert(key.clone());
            }
            "json" if member.size <= MAX_JSON_BYTES => {
                let text = members.contents(MAX_JSON_BYTES)?;
                let json = serde_json::from_slice(&text);
                // Invalid JSON beside an image is an error of a shard.
                if json.map_or(true, |json: Value| json.get("label").is_some()) {
                    labels.insert(key.clone());
                }
            }
            last if is_image(&format!(".{last}")) => {
                images.insert(key.clone());
            }
            _ => continue,
        }
        if images.contains(&key) && labels.contains(&key) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lists the images of all shards.
pub(crate) fn list(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    // A single shard may have the splits in it.
    let (of_files, of_samples) = match !shards::is_pattern(path) && storage::is_file(path)? {
        true => (false, options.require_split),
        false => (options.require_split, false),
    };
    let with = |require_split| Options {
        require_split,
        ..options.clone()
    };
    let shards = shards::files(path, Format::Webdataset, "tar", &with(of_files), warnings)?;
    let mut listing = Shards::default();
    let prefixes = prefixes(&shards);
    let listed = listed::of_files(&shards, |shard| {
        let (mut listing, mut warnings) = (Shards::default(), Warnings::default());
        let (container, prefix) = (shard as u32, &prefixes[shard]);
        listing.read(container, &shards[shard], prefix, &mut warnings)?;
        Ok((listing, warnings))
    });
    for (shard, more) in listed? {
        listing.append(shard);
        warnings.extend(more);
    }
    let Shards {
        mut samples,
        regions,
    } = listing;
    if samples.is_empty() {
        let expected = "tar files of images with labels (.cls, or .json with `label`)";
        return Err(DataError::no_images(path, Format::Webdataset, expected));
    }
    retain_split(
        path,
        &mut samples,
        &with(of_samples),
        warnings,
        name_in_shard,
    )?;
    let largest = samples.iter().filter_map(|sample| sample.label).max();
    let classes = Classes::Numbered(largest.map_or(0, |label| label as usize + 1));
    let containers = shards.into_iter().map(Container::of_archive);
    let containers = containers.collect::<Result<_, _>>()?;
    Ok(Listing {
        path: path.to_owned(),
        labels: None,
        classes,
        samples,
        store: Box::new(Regions {
            containers,
            regions,
            shape: None,
            runs: Runs::Containers,
        }),
    })
}

/// The name of a sample without the prefix for its shard.
fn name_in_shard(sample: &Sample) -> &str {
    sample.name.split_once('/').map_or("", |(_, name)| name)
}

/// Prefixes of sample names, one per shard: the file names if they are unique, otherwise the paths.
fn prefixes(shards: &[PathBuf]) -> Vec<String> {
    let name = |shard: &PathBuf| {
        let name = shard.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let names: Vec<String> = shards.iter().map(name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == names.len() {
        return names;
    }
    shards
        .iter()
        .map(|shard| shard.display().to_string())
        .collect()
}

#[derive(Default)]
struct Shards {
    samples: Vec<Sample>,
    regions: Vec<Region>,
}

impl Shards {
    /// Adds the images of a later shard.
    fn append(&mut self, shard: Self) {
        let before = self.regions.len();
        self.regions.extend(shard.regions);
        self.samples
            .extend(shard.samples.into_iter().map(|sample| Sample {
                slot: sample.slot + before,
                ..sample
            }));
    }

    fn read(
        &mut self,
        container: u32,
        shard: &Path,
        prefix: &str,
        warnings: &mut Warnings,
    ) -> Result<(), DataError> {
        let mut members = Members::open(shard, Purpose::Members)?;
        let mut group: Option<Group> = None;
        while let Some(member) = members.next()? {
            // Members such as `__meta__/…` are metadata of the shard.
            let meta = member.name.split('/').next().unwrap_or_default();
            let is_meta = meta.len() > 4 && meta.starts_with("__") && meta.ends_with("__");
            let Some((key, suffix)) = key_and_suffix(&member.name).filter(|_| !is_meta) else {
                warnings.ignored.push(format!("{prefix}/{}", member.name));
                continue;
            };
            if group.as_ref().is_none_or(|group| group.key != key) {
                self.finish(group.take(), prefix, warnings);
            }
            let group = group.get_or_insert_with(|| Group::new(key));
            let suffix = suffix.to_lowercase();
            if group.suffixes.contains(&suffix) {
                return Err(DataError::duplicate(shard, &member.name));
            }
            let region = Region {
                container,
                offset: member.offset,
                size: member.size,
            };
            group.add(shard, &member.name, &suffix, region, &mut members)?;
            group.suffixes.push(suffix);
        }
        self.finish(group, prefix, warnings);
        members.check_end(warnings);
        Ok(())
    }

    fn finish(&mut self, group: Option<Group>, prefix: &str, warnings: &mut Warnings) {
        let Some(group) = group else { return };
        let Some((name, region)) = group.image else {
            let members = group.suffixes.join(", .");
            let sample = format!("{prefix}/{} (.{members})", group.key);
            warnings.without_image.push(sample);
            return;
        };
        let (cls, json) = (group.cls, group.json);
        let (label, slot) = (cls.or(json), self.regions.len());
        self.samples.push(Sample {
            name: format!("{prefix}/{name}"),
            label,
            slot,
        });
        self.regions.push(region);
    }
}

impl Group {
    fn new(key: &str) -> Self {
        let key = key.to_owned();
        Self {
            key,
            suffixes: Vec::new(),
            image: None,
            cls: None,
            json: None,
        }
    }

    fn add(
        &mut self,
        shard: &Path,
        name: &str,
        suffix: &str,
        region: Region,
        members: &mut Members<Seekable>,
    ) -> Result<(), DataError> {
        let invalid = |reason| DataError::Member {
            path: shard.to_owned(),
            name: excerpt(name),
            reason,
        };
        let label = |label: Option<u64>| {
            let label = label.filter(|&label| label < MAX_CLASSES as u64);
            label.map(|label| label as u32)
        };
        match suffix {
            "cls" => {
                let text = members.contents(MAX_LABEL_BYTES)?;
                let text = String::from_utf8_lossy(&text);
                let found = label(text.trim().parse().ok()).ok_or_else(|| {
                    invalid(format!(
                        "found `{}`, expected a class index",
                        excerpt(&text)
                    ))
                })?;
                self.cls = Some(found);
            }
            "json" => {
                let text = members.contents(MAX_JSON_BYTES)?;
                let json: Value = serde_json::from_slice(&text)
                    .map_err(|error| invalid(format!("invalid JSON: {error}")))?;
                if let Some(value) = json.get("label").filter(|value| !value.is_null()) {
                    let found = label(value.as_u64()).ok_or_else(|| {
                        let found = excerpt(&value.to_string());
                        invalid(format!("its label is `{found}`, expected a class index"))
                    })?;
                    self.json = Some(found);
                }
            }
            _ if is_image(&format!(".{suffix}")) && !suffix.contains('.') => {
                if let Some((other, _)) = &self.image {
                    let other = excerpt(other);
                    return Err(invalid(format!(
                        "{other} is already the image of this sample"
                    )));
                }
                check_size(shard, name, region.size)?;
                self.image = Some((name.to_owned(), region));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The parts of a name before and after the first dot of its file name.
fn key_and_suffix(name: &str) -> Option<(&str, &str)> {
    let file = file_name(name);
    let dot = file.find('.').filter(|&dot| dot > 0)?;
    let dot = name.len() - file.len() + dot;
    Some((&name[..dot], &name[dot + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_before_the_first_dot_of_the_file_name() {
        assert_eq!(key_and_suffix("a.b/c.seg.png"), Some(("a.b/c", "seg.png")));
        assert_eq!(key_and_suffix("c.jpg"), Some(("c", "jpg")));
        assert_eq!(key_and_suffix("a/.jpg"), None);
        assert_eq!(key_and_suffix("a.b/c"), None);
    }
}
