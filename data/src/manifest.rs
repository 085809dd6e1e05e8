//! Images that a table or a JSON file lists by path.

use std::collections::BTreeSet;
use std::path::Path;

use topk_files::excerpt;
use topk_labels::{LabelError, Manifest, ManifestEntry};

use crate::folder::Files;
use crate::listing::Listing;
use crate::sample::Sample;
use crate::split::Part;
use crate::split_folder::{check_requested, read_split};
use crate::{DataError, Format, Options, Warnings, storage};

/// Titles of columns that may have something other than splits, which are then not used.
const MAY_BE_OTHER: [&str; 4] = ["fold", "set", "usage", "partition"];

/// Lists the images of a manifest.
pub(crate) fn list(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    let Manifest {
        mut entries,
        classes,
        split,
        decisions,
    } = Manifest::read(&storage::local(path)?)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let decide = |warnings: &mut Warnings, line: String| warnings.decide(format!("{file}: {line}"));
    decisions
        .into_iter()
        .for_each(|line| decide(warnings, line));
    match split {
        None => check_requested(path, options)?,
        Some(title) => match unknown_split(&entries) {
            None => retain_split(path, &mut entries, options, warnings)?,
            Some(_) if MAY_BE_OTHER.contains(&title.to_lowercase().as_str()) => {
                decide(warnings, format!("column {} is not used", excerpt(&title)));
                check_requested(path, options)?;
            }
            Some(found) => {
                return Err(LabelError::Columns {
                    path: path.to_owned(),
                    reason: format!(
                        "the column {} has `{}`, which is not a split such as train, val or test",
                        excerpt(&title),
                        excerpt(found)
                    ),
                }
                .into());
            }
        },
    }
    let root = path.parent().unwrap_or(Path::new(""));
    match entries.first() {
        None => {
            return Err(DataError::no_images(
                path,
                Format::Manifest,
                "a line per image",
            ));
        }
        // All are missing if the paths are relative to another folder.
        Some(first) if !storage::is_remote(root) && !root.join(&first.path).exists() => {
            return Err(DataError::NotListed {
                path: path.to_owned(),
                name: excerpt(&first.path),
                file: root.join(&first.path),
            });
        }
        Some(_) => {}
    }
    let sample = |entry: ManifestEntry| Sample {
        name: entry.path,
        label: Some(entry.label),
        slot: 0,
    };
    Ok(Listing {
        path: path.to_owned(),
        labels: None,
        classes,
        samples: entries.into_iter().map(sample).collect(),
        store: Box::new(Files::below(root)),
    })
}

fn part(entry: &ManifestEntry) -> Option<Part> {
    Part::of_folder(entry.split.as_deref().unwrap_or_default())
}

/// The first value in the column of splits that is not a split.
fn unknown_split(entries: &[ManifestEntry]) -> Option<&str> {
    let unknown = entries.iter().find(|entry| part(entry).is_none())?;
    Some(unknown.split.as_deref().unwrap_or_default())
}

/// Leaves the images of the requested split.
fn retain_split(
    path: &Path,
    entries: &mut Vec<ManifestEntry>,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<(), DataError> {
    let parts: BTreeSet<Part> = entries.iter().filter_map(part).collect();
    let parts: Vec<Part> = parts.into_iter().collect();
    let names = |parts: &[Part]| {
        let names: Vec<&str> = parts.iter().map(|part| part.name()).collect();
        names.join(", ")
    };
    let Some(chosen) = Part::chosen(options.split, &parts) else {
        return Err(DataError::NoSplit {
            path: path.to_owned(),
            split: options.split,
            found: names(&parts),
        });
    };
    let others: Vec<Part> = parts
        .iter()
        .copied()
        .filter(|part| *part != chosen)
        .collect();
    warnings.decide(read_split(chosen, chosen.name(), &names(&others)));
    entries.retain(|entry| part(entry) == Some(chosen));
    Ok(())
}
