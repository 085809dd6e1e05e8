//! Images beside their labels in tar files, as WebDataset has them: members of the same key, one after
//! the other, are a sample. The key of a member ends before the first dot of its file name.

use std::path::{Path, PathBuf};
use topk_files::excerpt;

use serde_json::Value;

use crate::image_set::{Listing, Storage, check_size};
use crate::regions::{Container, Region, Regions};
use crate::tar::{Members, Seekable};
use crate::walk::{file_name, is_image};
use crate::{DataError, Findings, Format, Options, Sample, shards};
use topk_labels::{Classes, MAX_CLASSES};

/// Longest text that is read for a label.
const MAX_LABEL_BYTES: u64 = 1 << 10;
const MAX_JSON_BYTES: u64 = 1 << 20;

/// Members of a file that are looked at to see what it is.
const LOOKED_AT: usize = 64;

/// The sample that is being put together.
struct Group {
    key: String,
    suffixes: Vec<String>,
    image: Option<(String, Region)>,
    /// From the member `cls`, which counts more.
    cls: Option<u32>,
    json: Option<u32>,
}

/// Whether a tar file has labels beside images.
pub(crate) fn is_shard(path: &Path) -> Result<bool, DataError> {
    let mut members = Members::open(path)?;
    for _ in 0..LOOKED_AT {
        let Some(member) = members.next()? else { break };
        let suffix = key_and_suffix(&member.name).map(|(_, suffix)| suffix.to_lowercase());
        if matches!(suffix.as_deref(), Some("cls" | "json")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lists the images of all shards.
pub(crate) fn list(
    path: &Path,
    options: &Options,
    findings: &mut Findings,
) -> Result<Listing, DataError> {
    let shards = shards::files(path, Format::Webdataset, "tar", options.split)?;
    let mut listing = Shards {
        samples: Vec::new(),
        regions: Vec::new(),
    };
    let prefixes = prefixes(&shards);
    for (container, (shard, prefix)) in (0..).zip(shards.iter().zip(&prefixes)) {
        listing.read(container, shard, prefix, findings)?;
    }
    let Shards { samples, regions } = listing;
    if samples.is_empty() {
        let expected = "tar files with an image and its label (.cls, or .json with `label`) each";
        let path = path.to_owned();
        return Err(DataError::NoImages {
            path,
            format: Format::Webdataset,
            expected,
        });
    }
    let most = samples.iter().filter_map(|sample| sample.label).max();
    let classes = Classes::Numbered(most.map_or(0, |label| label as usize + 1));
    let containers = shards.into_iter().map(Container::File).collect();
    let storage = Storage::Regions(Regions {
        containers,
        regions,
        shape: None,
    });
    Ok(Listing {
        path: path.to_owned(),
        labels: None,
        classes,
        samples,
        storage,
    })
}

/// What to put before names to tell shards apart: their own names, if that does.
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

struct Shards {
    samples: Vec<Sample>,
    regions: Vec<Region>,
}

impl Shards {
    fn read(
        &mut self,
        container: u32,
        shard: &Path,
        prefix: &str,
        findings: &mut Findings,
    ) -> Result<(), DataError> {
        let mut members = Members::open(shard)?;
        let mut group: Option<Group> = None;
        while let Some(member) = members.next()? {
            // Names with two underscores on either side are metadata of the shard.
            let meta = member.name.split('/').next().unwrap_or_default();
            let is_meta = meta.len() > 4 && meta.starts_with("__") && meta.ends_with("__");
            let Some((key, suffix)) = key_and_suffix(&member.name).filter(|_| !is_meta) else {
                findings.ignored.push(format!("{prefix}/{}", member.name));
                continue;
            };
            if group.as_ref().is_none_or(|group| group.key != key) {
                self.finish(group.take(), prefix);
            }
            let group = group.get_or_insert_with(|| Group::new(key));
            let suffix = suffix.to_lowercase();
            if group.suffixes.contains(&suffix) {
                let (path, name) = (shard.to_owned(), excerpt(&member.name));
                return Err(DataError::Duplicate { path, name });
            }
            let region = Region {
                container,
                offset: member.offset,
                size: member.size,
            };
            group.add(shard, &member.name, &suffix, region, &mut members)?;
            group.suffixes.push(suffix);
        }
        self.finish(group, prefix);
        Ok(())
    }

    fn finish(&mut self, group: Option<Group>, prefix: &str) {
        let Some(Group {
            image: Some((name, region)),
            cls,
            json,
            ..
        }) = group
        else {
            return;
        };
        let (label, place) = (cls.or(json), self.regions.len());
        self.samples.push(Sample {
            name: format!("{prefix}/{name}"),
            label,
            place,
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
        let fault = |fault| DataError::Member {
            path: shard.to_owned(),
            name: excerpt(name),
            fault,
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
                    fault(format!(
                        "found `{}`, expected a class index",
                        excerpt(&text)
                    ))
                })?;
                self.cls = Some(found);
            }
            "json" => {
                let text = members.contents(MAX_JSON_BYTES)?;
                let json: Value = serde_json::from_slice(&text)
                    .map_err(|error| fault(format!("it is no JSON: {error}")))?;
                if let Some(value) = json.get("label").filter(|value| !value.is_null()) {
                    let found = label(value.as_u64()).ok_or_else(|| {
                        let found = excerpt(&value.to_string());
                        fault(format!("its label is `{found}`, expected a class index"))
                    })?;
                    self.json = Some(found);
                }
            }
            _ if is_image(&format!(".{suffix}")) && !suffix.contains('.') => {
                if let Some((other, _)) = &self.image {
                    let other = excerpt(other);
                    return Err(fault(format!("{other} is an image of the same sample")));
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
