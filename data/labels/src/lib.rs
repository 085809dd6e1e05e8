//! Classes of ImageNet and their hierarchy, class names, class maps and lists of labels: everything about classes
//! that needs neither pixels nor a data set.
//!
//! A class is an index, from 0; [`Classes`] gives the index its meaning. Lists of labels and names are read
//! in the layouts in which they are published: ImageNet's development kit, Kaggle, Caffe, timm and the
//! Hugging Face hub.

mod class_map;
mod class_matcher;
mod class_names;
mod class_subset;
mod classes;
mod error;
mod image_groups;
pub mod imagenet;
mod imagenet_variant;
mod label_list;
mod manifest;
mod real_labels;
mod table;
mod text;
pub mod wordnet;

pub use class_map::ClassMap;
pub use class_matcher::ClassMatcher;
pub use class_names::ClassNames;
pub use class_subset::ClassSubset;
pub use classes::{ClassFolders, Classes, MAX_CLASSES};
pub use error::LabelError;
pub use image_groups::ImageGroups;
pub use imagenet_variant::{ImagenetVariant, Object, ParseVariantError};
pub use label_list::{LabelList, Matched};
pub use manifest::{Manifest, ManifestEntry};
pub use real_labels::RealLabels;
