//! Images in one tar file, such as `ILSVRC2012_img_val.tar`, or in the tar files of the classes inside
//! `ILSVRC2012_img_train.tar`. Nothing is unpacked.

use std::path::{Path, PathBuf};

use crate::listing::{Listing, label};
use crate::regions::{Container, Region, Regions, Runs};
use crate::sample::Sample;
use crate::split_folder::retain_split;
use crate::storage::Purpose;
use crate::store::check_size;
use crate::tar::{Member, Members, Seekable};
use crate::walk::{self, image_folder_order, is_image, join};
use crate::{DataError, Format, Options, Warnings};
use topk_labels::Classes;
use topk_labels::imagenet;

/// Extension of archives.
const ARCHIVE: &str = ".tar";

/// Bytes of an archive that count as a shard where shards are shuffled.
const RUN: u64 = 64 << 20;

/// Images of archives.
#[derive(Default)]
struct Images {
    samples: Vec<Sample>,
    regions: Vec<Region>,
    containers: Vec<Container>,
}

/// Lists the images, in the archive's order. Archives inside it count as class folders, as those of
/// `ILSVRC2012_img_train.tar`, and the images are then in the order of class folders.
pub(crate) fn list(
    path: &Path,
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    let mut images = Images::default();
    let mut archives = Vec::new();
    let container = images.container(path)?;
    let mut members = Members::open(path, Purpose::Members)?;
    while let Some(member) = members.next()? {
        if !is_hidden(&member.name) && member.name.ends_with(ARCHIVE) {
            archives.push(member);
        } else {
            images.add(container, "", member, warnings)?;
        }
    }
    members.check_end(warnings);
    for archive in &archives {
        let name = archive.name.as_str();
        let folder = name.strip_suffix(ARCHIVE).unwrap_or(name);
        let members = Members::within(path, archive)?;
        images.add_all(container, folder, members, warnings)?;
    }
    if !archives.is_empty() {
        images.sort();
    }
    images.listing(path, options, warnings)
}

/// Lists the images of the archives in a folder, each of which counts as a class folder.
pub(crate) fn list_classes(
    path: &Path,
    archives: &[PathBuf],
    options: &Options,
    warnings: &mut Warnings,
) -> Result<Listing, DataError> {
    let mut images = Images::default();
    for archive in archives {
        let container = images.container(archive)?;
        let folder = archive.file_stem().unwrap_or_default().to_string_lossy();
        images.add_all(
            container,
            &folder,
            Members::open(archive, Purpose::Members)?,
            warnings,
        )?;
    }
    images.sort();
    images.listing(path, options, warnings)
}

impl Images {
    /// Adds an archive and returns its index.
    fn container(&mut self, path: &Path) -> Result<u32, DataError> {
        self.containers
            .push(Container::of_archive(path.to_owned())?);
        Ok(self.containers.len() as u32 - 1)
    }

    /// Adds the images of an archive, with `folder` before their names.
    fn add_all(
        &mut self,
        container: u32,
        folder: &str,
        mut members: Members<Seekable>,
        warnings: &mut Warnings,
    ) -> Result<(), DataError> {
        while let Some(member) = members.next()? {
            self.add(container, folder, member, warnings)?;
        }
        members.check_end(warnings);
        Ok(())
    }

    /// Adds a member of an archive if it is an image, with `folder` before its name.
    fn add(
        &mut self,
        container: u32,
        folder: &str,
        member: Member,
        warnings: &mut Warnings,
    ) -> Result<(), DataError> {
        let Member { name, offset, size } = member;
        if is_hidden(&name) {
            return Ok(());
        }
        let name = join(folder, &name);
        if !is_image(&name) {
            warnings.ignored.push(name);
            return Ok(());
        }
        check_size(self.containers[container as usize].path(), &name, size)?;
        let slot = self.regions.len();
        self.samples.push(Sample {
            name,
            label: None,
            slot,
        });
        self.regions.push(Region {
            container,
            offset,
            size,
        });
        Ok(())
    }

    /// Sorts the images as class folders.
    fn sort(&mut self) {
        let samples = &mut self.samples;
        samples.sort_by(|a, b| image_folder_order(&a.name).cmp(&image_folder_order(&b.name)));
    }

    /// Finds the labels of the images.
    fn listing(
        self,
        path: &Path,
        options: &Options,
        warnings: &mut Warnings,
    ) -> Result<Listing, DataError> {
        let Self {
            mut samples,
            regions,
            containers,
        } = self;
        if samples.is_empty() {
            let expected = "a tar file of images, or of one tar file of images per class";
            return Err(DataError::no_images(path, Format::Tar, expected));
        }
        retain_split(path, &mut samples, options, warnings, |sample| &sample.name)?;
        let classes = match class_folders(&samples, options) {
            Some(folders) => {
                let mut names: Vec<String> = folders.iter().map(|&name| name.to_owned()).collect();
                names.sort_unstable();
                names.dedup();
                let named = Classes::of_folders(path, &names, options.class_map.is_some())?;
                let (classes, labels) = (named.classes, named.labels);
                named
                    .decision
                    .into_iter()
                    .for_each(|line| warnings.decide(line));
                let label = |folder| {
                    let index = names.binary_search_by(|name| name.as_str().cmp(folder));
                    labels[index.expect("every folder is in the list")]
                };
                let of_samples: Vec<u32> = folders.into_iter().map(label).collect();
                for (sample, label) in samples.iter_mut().zip(of_samples) {
                    sample.label = Some(label);
                }
                (classes, None)
            }
            None => {
                let folder = path.parent().unwrap_or(Path::new(""));
                label(path, folder, &mut samples, options, warnings)?
            }
        };
        let (classes, labels) = classes;
        Ok(Listing {
            path: path.to_owned(),
            labels,
            classes,
            samples,
            store: Box::new(Regions {
                containers,
                regions,
                shape: None,
                runs: Runs::Parts(RUN),
            }),
        })
    }
}

fn is_hidden(name: &str) -> bool {
    name.split('/').any(walk::is_hidden)
}

/// The class folder of each image: the first folder below those that all images have in common. `None` if
/// the labels are in a list, or all images are in one folder that is not a class of ImageNet.
fn class_folders<'a>(samples: &'a [Sample], options: &Options) -> Option<Vec<&'a str>> {
    if options.labels.is_some() {
        return None;
    }
    let mut rest: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    loop {
        let parts: Option<Vec<_>> = rest.iter().map(|name| name.split_once('/')).collect();
        let parts = parts?;
        let first = parts[0].0;
        let common = parts.iter().all(|(folder, _)| *folder == first);
        let deeper = parts.iter().all(|(_, inner)| inner.contains('/'));
        if common && deeper && !imagenet::is_wnid(first) {
            rest = parts.into_iter().map(|(_, inner)| inner).collect();
        } else if common && !imagenet::is_wnid(first) {
            return None;
        } else {
            return Some(parts.into_iter().map(|(folder, _)| folder).collect());
        }
    }
}
