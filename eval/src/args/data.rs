//! The data set, its labels and its classes.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use topk_data::remote::{self, RemoteCache};
use topk_data::{Format, ImageSet, Options, Split};
use topk_image::Limits;
use topk_labels::{ClassNames, ClassSubset, Classes, ImageGroups, ImagenetVariant, RealLabels};

use super::variant;
use crate::options::{Labels, Limit, OnBadImage, labels_of};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Dataset")]
pub(super) struct DataArgs {
    /// Dataset format [default: detected]
    #[arg(long, value_parser = formats())]
    format: Option<Format>,

    /// Part of the dataset, if it has several [default: val, else test]
    #[arg(long, value_enum)]
    split: Option<Split>,

    /// Label file for a single folder or tar archive of images: ground truth of the ILSVRC development
    /// kit, Kaggle's LOC_val_solution.csv, Caffe's val.txt, or one name and label per line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// timm-style class map: one class per line (folder name or WordNet ID), optionally followed by its
    /// index
    #[arg(long, value_name = "FILE")]
    class_map: Option<PathBuf>,

    /// Number only the classes that have images, in the order of their folders or indices
    #[arg(long, conflicts_with = "class_map")]
    classes_present: bool,

    /// Class names in the order of the model's outputs: one name per line, a JSON list, ImageNet's
    /// imagenet_class_index.json, or the config.json of a Hugging Face model [default: from the dataset
    /// or the model]
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,

    /// Use the ReaL labels (real.json) instead of the dataset's; for the ImageNet validation set
    #[arg(long, value_name = "FILE")]
    pub(super) real_labels: Option<PathBuf>,

    /// Restrict predictions to the classes in this file (one index, WordNet ID or name per line)
    #[arg(long, value_name = "FILE")]
    pub(super) valid_labels: Option<PathBuf>,

    /// Also report the accuracy on groups of images: CSV or JSON with a row for each image and a column of 0 and 1 for each
    /// group, such as ImageNet-X's imagenet_x_val_multi_factor.jsonl
    #[arg(long, value_name = "FILE")]
    pub(super) groups: Option<PathBuf>,

    /// Test set for ImageNet's 1,000 classes: sets what its folders mean, which classes may be predicted, and how its
    /// images are prepared
    #[arg(
        long,
        value_name = "NAME",
        value_parser = variants(),
        conflicts_with_all = ["class_map", "classes_present", "valid_labels"]
    )]
    pub(super) preset_data: Option<ImagenetVariant>,

    /// Evaluate only N images, drawn at random: the same share of each class
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,

    /// Seed of the random numbers of --limit: the same seed gives the same images
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "limit")]
    seed: u64,

    /// What to do with unreadable images
    #[arg(long, value_enum, default_value = "fail")]
    pub(super) on_bad_image: OnBadImage,

    /// Maximum size of an image, in pixels
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels)]
    pub(super) max_pixels: u64,

    #[command(flatten)]
    pub(super) cache: RemoteCache,
}

fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}

fn variants() -> impl TypedValueParser<Value = ImagenetVariant> {
    PossibleValuesParser::new(ImagenetVariant::ALL.map(ImagenetVariant::name))
        .try_map(|name| name.parse::<ImagenetVariant>())
}

impl DataArgs {
    /// All paths.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let paths = [
            &mut self.labels,
            &mut self.class_map,
            &mut self.class_names,
            &mut self.real_labels,
            &mut self.valid_labels,
            &mut self.groups,
        ];
        paths.into_iter().flatten()
    }

    pub(super) fn open(&self, path: &Path) -> Result<ImageSet> {
        let options = Options {
            format: self.format,
            split: self.split.unwrap_or_default(),
            require_split: self.split.is_some(),
            allow_empty_classes: true,
            labels: self.labels.clone(),
            class_map: self.class_map.clone(),
        };
        let mut set = ImageSet::open(path, &options)?;
        if self.classes_present {
            set.keep_present_classes();
        }
        if let Some(variant) = self.preset_data {
            variant::name(&set, variant)?;
            variant::apply(&mut set, variant)?;
        }
        ensure!(!set.is_empty(), "{} contains no images", path.display());
        Ok(set)
    }

    /// The random subset to evaluate, if not all images.
    pub(super) fn limit(&self) -> Option<Limit> {
        let images = self.limit?.get();
        Some(Limit {
            images,
            seed: self.seed,
        })
    }

    /// The true classes of each image.
    pub(super) fn labels(&self, set: &ImageSet) -> Result<Labels> {
        if let Some(path) = &self.real_labels {
            ensure!(
                *set.classes() == Classes::Imagenet,
                "--real-labels needs the ImageNet validation set, but the data has other classes"
            );
            let real = RealLabels::read(&remote::local(path)?)?;
            let of = |name: &str| real.of(name).map(<[u32]>::to_vec);
            let labels = set.samples().iter().map(|sample| of(&sample.name));
            return Ok(labels.collect::<Result<_, _>>()?);
        }
        let unlabelled: Vec<&str> = set
            .samples()
            .iter()
            .filter(|sample| sample.label.is_none())
            .map(|sample| &*sample.name)
            .collect();
        ensure!(
            unlabelled.is_empty(),
            "{} of {} images have no label (for example {}): {}",
            unlabelled.len(),
            set.len(),
            unlabelled[..unlabelled.len().min(3)].join(", "),
            match (set.format(), set.description().labels) {
                (_, Some(labels)) =>
                    format!("add them to {}, or remove these images", labels.display()),
                (Format::Flat | Format::Tar, None) =>
                    "pass a label file with --labels, or remove these images".to_owned(),
                // Where no image has a label, a list may give them.
                (_, None) if unlabelled.len() == set.len() =>
                    "its files have no labels, or under another name; pass a label file with --labels"
                        .to_owned(),
                (_, None) =>
                    "add their labels to the dataset's files, or remove these images".to_owned(),
            }
        );
        let mut labels = labels_of(set);
        if self.preset_data.is_some_and(ImagenetVariant::is_objectnet) {
            for label in &mut labels {
                *label = variant::classes_of_object(label[0]);
            }
        }
        Ok(labels)
    }

    /// The groups of images, and how many images are in none because the file does not have them.
    ///
    /// # Errors
    /// If the file cannot be read, or has none of the images.
    pub(super) fn groups(&self, set: &ImageSet) -> Result<Option<(ImageGroups, usize)>> {
        let Some(path) = &self.groups else {
            return Ok(None);
        };
        let groups = ImageGroups::read(&remote::local(path)?)?;
        let samples = set.samples().iter();
        let missing = samples.filter(|sample| groups.of_image(&sample.name).is_none());
        let missing = missing.count();
        ensure!(
            missing < set.len(),
            "--groups: {} has none of the images of {}, such as {}",
            path.display(),
            set.description().path.display(),
            set.samples()[0].name
        );
        Ok(Some((groups, missing)))
    }

    /// Name of the test set in results, if it was given.
    pub(super) fn preset(&self, set: &ImageSet) -> Result<Option<String>> {
        let variant = self.preset_data;
        variant
            .map(|variant| variant::name(set, variant))
            .transpose()
    }

    pub(super) fn class_names(&self) -> Result<Option<ClassNames>> {
        let path = self.class_names.as_ref();
        let read = |path: &PathBuf| Ok(ClassNames::read(&remote::local(path)?)?);
        path.map(read).transpose()
    }

    /// The classes that may be predicted, ascending, for models of `classes` classes; and the class of the
    /// models for each class of the data, if the file gives it as for timm: as many class folders as lines,
    /// in the same order.
    pub(super) fn valid_classes(
        &self,
        set: &ImageSet,
        classes: Option<usize>,
        named: bool,
    ) -> Result<ValidClasses> {
        let Some(path) = &self.valid_labels else {
            let valid = self.preset_data.and_then(ImagenetVariant::valid_classes);
            return Ok(ValidClasses {
                valid: valid.map(<[u32]>::to_vec),
                indices: None,
            });
        };
        let file = &remote::local(path)?;
        let data = set.classes();
        let differ = classes.is_some_and(|classes| classes != data.len());
        // Names would tell which class of the model each class of the data is.
        let own = differ && !named && matches!(data, Classes::Named(_)) && !set.has_class_map();
        let (mut valid, indices) = match own {
            true => {
                let imagenet = classes == Some(Classes::Imagenet.len());
                let of_model = match imagenet {
                    true => Classes::Imagenet,
                    false => Classes::Numbered(classes.unwrap_or(0)),
                };
                let valid = ClassSubset::read(file, &of_model)?.classes().to_vec();
                (
                    valid.clone(),
                    Some(valid).filter(|valid| valid.len() == data.len()),
                )
            }
            false => (ClassSubset::read(file, data)?.classes().to_vec(), None),
        };
        valid.sort_unstable();
        Ok(ValidClasses {
            valid: Some(valid),
            indices,
        })
    }
}

/// Classes to which predictions are restricted.
#[derive(Default)]
pub(super) struct ValidClasses {
    /// The classes, ascending; all if absent.
    pub(super) valid: Option<Vec<u32>>,
    /// Class of the models for each class of the data, if the file gives it.
    pub(super) indices: Option<Vec<u32>>,
}
