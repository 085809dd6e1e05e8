//! The 1,000 classes of ILSVRC-2012, in the order of torchvision, timm and Caffe: sorted by wnid.

use std::sync::LazyLock;

/// A class of ILSVRC-2012.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Synset {
    /// WordNet ID, such as `n01440764`.
    pub wnid: &'static str,
    /// `ILSVRC2012_ID` of the development kit, 1 to 1000, which is in another order.
    pub ilsvrc_id: u32,
    /// Names, separated by commas, such as `tench, Tinca tinca`.
    pub names: &'static str,
}

/// Number of classes.
pub const CLASSES: usize = 1000;

/// Number of validation images.
pub const VALIDATION_IMAGES: usize = 50_000;

/// One line per class: wnid, `ILSVRC2012_ID`, names.
static TABLE: LazyLock<Vec<Synset>> = LazyLock::new(|| {
    let synset = |line: &'static str| {
        let (wnid, rest) = line.split_once(' ')?;
        let (id, names) = rest.split_once(' ')?;
        let ilsvrc_id = id.parse().ok()?;
        Some(Synset {
            wnid,
            ilsvrc_id,
            names,
        })
    };
    let lines = include_str!("imagenet.txt").lines();
    let table: Option<Vec<Synset>> = lines.map(synset).collect();
    table.expect("each line has three fields")
});

/// Class index of each `ILSVRC2012_ID`, from 1.
static BY_ILSVRC_ID: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut classes = vec![0; CLASSES];
    for (class, synset) in (0..).zip(TABLE.iter()) {
        classes[synset.ilsvrc_id as usize - 1] = class;
    }
    classes
});

/// All classes; a label is an index into them.
pub fn synsets() -> &'static [Synset] {
    &TABLE
}

/// The class of a wnid.
pub fn class_of_wnid(wnid: &str) -> Option<u32> {
    let found = TABLE.binary_search_by(|synset| synset.wnid.cmp(wnid));
    found.ok().map(|class| class as u32)
}

/// The class of an `ILSVRC2012_ID`, 1 to 1000.
pub fn class_of_ilsvrc_id(id: u32) -> Option<u32> {
    let index = usize::try_from(id).ok()?.checked_sub(1)?;
    BY_ILSVRC_ID.get(index).copied()
}

/// Whether a name is a wnid: `n` and eight digits.
pub fn is_wnid(name: &str) -> bool {
    name.strip_prefix('n')
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The number of an image of the validation set, from 1, in its name:
/// `n01751748/ILSVRC2012_val_00000001.JPEG` has 1.
pub fn validation_number(name: &str) -> Option<usize> {
    const PREFIX: &str = "ILSVRC2012_val_";
    const DIGITS: usize = 8;
    let start = name.rfind(PREFIX)? + PREFIX.len();
    let digits = name.get(start..start + DIGITS)?;
    let ends = !name[start + DIGITS..].starts_with(|c: char| c.is_ascii_digit());
    (ends && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|&number| number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn classes_are_found_by_either_number() {
        assert_eq!(synsets().len(), CLASSES);
        assert!(synsets().is_sorted_by(|a, b| a.wnid < b.wnid));
        for (class, synset) in (0..).zip(synsets()) {
            assert!(is_wnid(synset.wnid));
            assert!(!synset.names.is_empty());
            assert_eq!(class_of_wnid(synset.wnid), Some(class));
            assert_eq!(class_of_ilsvrc_id(synset.ilsvrc_id), Some(class));
        }
        assert_eq!(synsets()[0].names, "tench, Tinca tinca");
        assert_eq!(class_of_wnid("n00000000"), None);
        assert_eq!(class_of_ilsvrc_id(0), None);
        assert_eq!(class_of_ilsvrc_id(1001), None);
    }

    #[test]
    fn validation_images_have_numbers() {
        let number = validation_number;
        assert_eq!(
            number("val/n01440764/ILSVRC2012_val_00000293.JPEG"),
            Some(293)
        );
        assert_eq!(
            number("ILSVRC2012_val_00050000_n02437616.JPEG"),
            Some(50_000)
        );
        assert_eq!(number("ILSVRC2012_val_00000000.JPEG"), None);
        assert_eq!(number("ILSVRC2012_val_000002931.JPEG"), None);
        assert_eq!(number("ILSVRC2012_val_293.JPEG"), None);
        assert_eq!(number("ILSVRC2012_val_é0000029.JPEG"), None);
        assert_eq!(number("293.JPEG"), None);
    }

    #[test]
    fn the_table_agrees_with_the_development_kit() {
        let Some(folder) = topk_testing::shared("data/imagenet-labels") else {
            return;
        };
        let read = |name| fs::read_to_string(folder.join(name)).unwrap();
        for file in ["synset_words.txt", "LOC_synset_mapping.txt"] {
            let text = read(file);
            let ours = synsets().iter().map(|s| format!("{} {}", s.wnid, s.names));
            assert!(text.lines().eq(ours), "{file}");
        }
        let truth = read("ILSVRC2012_validation_ground_truth.txt");
        let truth = truth
            .lines()
            .map(|id| class_of_ilsvrc_id(id.parse().unwrap()));
        let caffe = read("val.txt");
        let caffe = caffe
            .lines()
            .map(|line| line.split_once(' ').unwrap().1.parse().ok());
        assert_eq!(caffe.clone().count(), 50_000);
        assert!(truth.eq(caffe));
    }
}
