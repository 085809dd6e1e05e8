//! Test sets for models with the 1,000 classes of ILSVRC-2012, apart from its validation set.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::imagenet;

/// A test set for models with ImageNet's 1,000 classes: what its folders mean, and which classes may be predicted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ImagenetVariant {
    /// The validation set of ILSVRC-2012.
    Validation,
    /// ImageNet-V2 (Recht et al., "Do ImageNet Classifiers Generalize to ImageNet?", ICML 2019): one of its three
    /// versions, with folders named 0 to 999.
    V2,
    /// ImageNet-Sketch (Wang et al., "Learning Robust Global Representations by Penalizing Local Predictive Power",
    /// NeurIPS 2019).
    Sketch,
    /// ImageNet-A (Hendrycks et al., "Natural Adversarial Examples", CVPR 2021): 200 classes, which alone may be
    /// predicted.
    A,
    /// The validation images of the classes of ImageNet-A, which alone may be predicted.
    AClean,
    /// ImageNet-R (Hendrycks et al., "The Many Faces of Robustness", ICCV 2021): 200 classes, which alone may be
    /// predicted.
    R,
    /// The validation images of the classes of ImageNet-R, which alone may be predicted.
    RClean,
    /// One corruption of ImageNet-C (Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
    /// Corruptions and Perturbations", ICLR 2019) at one severity.
    C,
    /// ObjectNet (Barbu et al., NeurIPS 2019): its 113 objects that 125 of the 1,000 classes show, any of which is
    /// correct. All classes may be predicted, as in ObjectNet's own evaluation.
    ObjectNet,
    /// The same, with predictions restricted to the 125 classes.
    ObjectNet113,
}

/// An object of ObjectNet that some of the 1,000 classes show.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Object {
    /// Its folder, such as `alarm_clock`.
    pub folder: &'static str,
    /// The classes that show it, ascending.
    pub classes: Vec<u32>,
}

/// The lines of `imagenet_variants.txt`, which `make_imagenet_variants.py` makes.
struct Table {
    a: Vec<u32>,
    r: Vec<u32>,
    objects: Vec<Object>,
    /// The classes of all objects, ascending.
    shown: Vec<u32>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table {
        a: Vec::new(),
        r: Vec::new(),
        objects: Vec::new(),
        shown: Vec::new(),
    };
    let class = |wnid| imagenet::class_of_wnid(wnid).expect("classes are ImageNet's");
    for line in include_str!("imagenet_variants.txt").lines() {
        let mut fields = line.split(' ');
        let set = fields.next();
        match set {
            Some("imagenet-a") => table.a.extend(fields.map(class)),
            Some("imagenet-r") => table.r.extend(fields.map(class)),
            _ => table.objects.push(Object {
                folder: fields.next().expect("an object has a folder"),
                classes: fields.map(class).collect(),
            }),
        }
    }
    table.shown = (table.objects.iter())
        .flat_map(|object| object.classes.iter().copied())
        .collect();
    table.shown.sort_unstable();
    table
});

/// A name that is none of [`ImagenetVariant::ALL`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown test set `{0}`")]
pub struct ParseVariantError(String);

impl ImagenetVariant {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Validation,
        Self::V2,
        Self::Sketch,
        Self::A,
        Self::AClean,
        Self::R,
        Self::RClean,
        Self::C,
        Self::ObjectNet,
        Self::ObjectNet113,
    ];

    /// Its name on a command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "imagenet",
            Self::V2 => "imagenet-v2",
            Self::Sketch => "imagenet-sketch",
            Self::A => "imagenet-a",
            Self::AClean => "imagenet-a-clean",
            Self::R => "imagenet-r",
            Self::RClean => "imagenet-r-clean",
            Self::C => "imagenet-c",
            Self::ObjectNet => "objectnet",
            Self::ObjectNet113 => "objectnet-113",
        }
    }

    /// Whether its folders are objects of ObjectNet.
    pub fn is_objectnet(self) -> bool {
        matches!(self, Self::ObjectNet | Self::ObjectNet113)
    }

    /// Its number of images, as published.
    pub fn images(self) -> usize {
        match self {
            Self::Validation | Self::C => imagenet::VALIDATION_IMAGES,
            Self::V2 | Self::AClean | Self::RClean => 10_000,
            Self::Sketch => 50_889,
            Self::A => 7_500,
            Self::R => 30_000,
            Self::ObjectNet | Self::ObjectNet113 => 18_574,
        }
    }

    /// The classes that may be predicted, ascending; `None` for all 1,000.
    pub fn valid_classes(self) -> Option<&'static [u32]> {
        match self {
            Self::A | Self::AClean => Some(&TABLE.a),
            Self::R | Self::RClean => Some(&TABLE.r),
            Self::ObjectNet113 => Some(&TABLE.shown),
            Self::Validation | Self::V2 | Self::Sketch | Self::C | Self::ObjectNet => None,
        }
    }

    /// The objects of ObjectNet that some of the 1,000 classes show, by folder; no class shows two of them.
    pub fn objects() -> &'static [Object] {
        &TABLE.objects
    }
}

impl FromStr for ImagenetVariant {
    type Err = ParseVariantError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|variant| variant.name() == name)
            .ok_or_else(|| ParseVariantError(name.to_owned()))
    }
}

impl fmt::Display for ImagenetVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_those_of_the_publications() {
        let valid = |variant: ImagenetVariant| variant.valid_classes().unwrap();
        for variant in [
            ImagenetVariant::A,
            ImagenetVariant::R,
            ImagenetVariant::ObjectNet113,
        ] {
            assert!(valid(variant).is_sorted_by(|a, b| a < b), "{variant}");
        }
        let [a, r] = [ImagenetVariant::A, ImagenetVariant::R].map(valid);
        assert_eq!((a.len(), r.len()), (200, 200));
        // The first and last of timm's lists: stingray, goldfish, and acorn.
        assert_eq!((a[0], a[199]), (6, 988));
        assert_eq!((r[0], r[199]), (1, 988));
        assert_eq!(valid(ImagenetVariant::ObjectNet113).len(), 125);
        assert_eq!(ImagenetVariant::ObjectNet.valid_classes(), None);
    }

    #[test]
    fn objects_are_shown_by_their_classes() {
        let objects = ImagenetVariant::objects();
        assert_eq!(objects.len(), 113);
        assert!(objects.is_sorted_by(|a, b| a.folder < b.folder));
        let classes = |folder| {
            let found = objects.iter().find(|object| object.folder == folder);
            found.map(|object| object.classes.as_slice())
        };
        // Analog and digital clock; ballpoint, fountain pen and quill.
        assert_eq!(classes("alarm_clock"), Some(&[409, 530][..]));
        assert_eq!(classes("pen"), Some(&[418, 563, 749][..]));
        assert_eq!(classes("coaster"), None);
    }

    #[test]
    fn names_are_parsed() {
        for variant in ImagenetVariant::ALL {
            assert_eq!(variant.name().parse(), Ok(variant));
        }
        assert!("imagenet-x".parse::<ImagenetVariant>().is_err());
    }
}
