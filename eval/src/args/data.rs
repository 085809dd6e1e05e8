//! The data set, its labels and its classes.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use topk_data::{Format, ImageSet, Options, Split};
use topk_image::Limits;
use topk_labels::{ClassNames, ClassSubset, Classes, RealLabels};

use crate::options::{Labels, OnBadImage, labels_of};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Dataset")]
pub(super) struct DataArgs {
    /// Dataset format [default: detected]
    #[arg(long, value_parser = formats())]
    format: Option<Format>,

    /// Label file for a single folder or tar archive of images: ground truth of the ILSVRC development
    /// kit, Kaggle's LOC_val_solution.csv, Caffe's val.txt, or one name and label per line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// timm-style class map: one class per line (folder name or WordNet ID), optionally followed by its
    /// index
    #[arg(long, value_name = "FILE")]
    class_map: Option<PathBuf>,

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

    /// What to do with unreadable images
    #[arg(long, value_enum, default_value = "fail")]
    pub(super) on_bad_image: OnBadImage,

    /// Maximum size of an image, in pixels
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels)]
    pub(super) max_pixels: u64,
}

fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}

impl DataArgs {
    pub(super) fn open(&self, path: &Path) -> Result<ImageSet> {
        let options = Options {
            format: self.format,
            split: Split::Test,
            labels: self.labels.clone(),
            class_map: self.class_map.clone(),
        };
        let set = ImageSet::open(path, &options)?;
        ensure!(!set.is_empty(), "{} contains no images", path.display());
        Ok(set)
    }

    /// The true classes of each image.
    pub(super) fn labels(&self, set: &ImageSet) -> Result<Labels> {
        if let Some(path) = &self.real_labels {
            ensure!(
                *set.classes() == Classes::Imagenet,
                "--real-labels needs the ImageNet validation set, but the data has other classes"
            );
            let real = RealLabels::read(path)?;
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
            "{} of {} images have no label (for example {}): pass a label file with --labels, or \
             remove these images",
            unlabelled.len(),
            set.len(),
            unlabelled[..unlabelled.len().min(3)].join(", ")
        );
        Ok(labels_of(set))
    }

    pub(super) fn class_names(&self, set: &ImageSet) -> Result<Option<ClassNames>> {
        let Some(path) = &self.class_names else {
            return Ok(None);
        };
        let names = ClassNames::read(path)?;
        names.check(set.classes())?;
        Ok(Some(names))
    }

    /// The classes that may be predicted, ascending; none if all may.
    pub(super) fn valid_classes(&self, set: &ImageSet) -> Result<Option<Vec<u32>>> {
        let Some(path) = &self.valid_labels else {
            return Ok(None);
        };
        let mut classes = ClassSubset::read(path, set.classes())?.classes().to_vec();
        classes.sort_unstable();
        Ok(Some(classes))
    }
}
