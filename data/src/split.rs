use std::fmt;

use serde::{Deserialize, Serialize};

/// Part of a data set.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Split {
    /// Training images.
    Train,
    /// Validation images.
    Val,
    /// Test images.
    Test,
    /// Images to evaluate on: the validation set, or else the test set. The test sets of
    /// many data sets have no labels.
    #[default]
    #[cfg_attr(feature = "clap", value(skip))]
    Evaluation,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
            Self::Evaluation => "val or test",
        })
    }
}

/// A part of a data set that a name stands for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Part {
    Train,
    Val,
    Test,
    /// Unlabelled images, predictions and others, which are not read.
    Other,
}

impl Part {
    /// The usual words for each part.
    const WORDS: [(Self, &[&str]); 4] = [
        (Self::Train, &["train", "training", "trn"]),
        (
            Self::Val,
            &[
                "val",
                "valid",
                "validation",
                "validate",
                "dev",
                "devel",
                "development",
                "eval",
                "evaluation",
            ],
        ),
        (Self::Test, &["test", "testing", "tst"]),
        (
            Self::Other,
            &[
                "unlabeled",
                "unlabelled",
                "unsupervised",
                "extra",
                "pred",
                "predict",
                "prediction",
            ],
        ),
    ];

    /// Words that may be beside the name of a part, as in `ILSVRC2012_img_val` or `train_images`.
    const FILLERS: [&str; 18] = [
        "set", "data", "dataset", "split", "images", "image", "imgs", "img", "ilsvrc", "imagenet",
        "seg", "raw", "jpg", "jpeg", "png", "photos", "v", "",
    ];

    /// The part of a word such as `train`, `Testing`, `valset` or `train2017`.
    fn of_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let known = |word: &str| {
            let mut all = Self::WORDS.iter();
            all.find_map(|(part, words)| words.contains(&word).then_some(*part))
        };
        known(word).or_else(|| {
            let mut suffixes = ["set", "data", "images", "imgs", "split"].iter();
            suffixes.find_map(|suffix| known(word.strip_suffix(suffix)?))
        })
    }

    /// The part of a folder's name: one word for a part, and words that say nothing else.
    pub(crate) fn of_folder(name: &str) -> Option<Self> {
        let mut found = None;
        for word in words(name) {
            let part = Self::of_word(word);
            if part.is_some() && found.is_some() {
                return None;
            }
            let bare = word.to_ascii_lowercase();
            let bare = bare.trim_end_matches(|c: char| c.is_ascii_digit());
            if part.is_none() && !Self::FILLERS.contains(&bare) {
                return None;
            }
            found = found.or(part);
        }
        found
    }

    /// Whether a folder's name, such as `images` or `dataset`, says neither a part nor a class.
    pub(crate) fn is_filler(name: &str) -> bool {
        let bare = name.to_ascii_lowercase();
        words(&bare).all(|word| {
            let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
            Self::FILLERS.contains(&word)
        })
    }

    /// The part of the name of one of several files, such as `imagenet-val-000012.tar`: its first word for
    /// a part.
    pub(crate) fn of_file(name: &str) -> Option<Self> {
        words(name).find_map(Self::of_word)
    }

    /// The part to read for a split among those that are there.
    pub(crate) fn chosen(split: Split, parts: &[Self]) -> Option<Self> {
        let wanted: &[Self] = match split {
            Split::Train => &[Self::Train],
            Split::Val => &[Self::Val],
            Split::Test => &[Self::Test],
            Split::Evaluation => &[Self::Val, Self::Test],
        };
        wanted.iter().copied().find(|part| parts.contains(part))
    }

    /// Whether this is the part of a split.
    pub(crate) fn is_of(self, split: Split) -> bool {
        Self::chosen(split, &[self]).is_some()
    }

    /// The name of the split.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
            Self::Other => "other",
        }
    }
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_names_of_folders() {
        let cases = [
            (
                Part::Train,
                "train Train TRAINING train_set trainset seg_train train2017 ILSVRC2012_img_train TrainImages",
            ),
            (
                Part::Val,
                "val Val valid validation dev eval val_images ILSVRC2012_img_val",
            ),
            (
                Part::Test,
                "test Testing test-set testset seg_test ILSVRC2012_img_test_v10102019",
            ),
            (Part::Other, "unlabeled unlabelled seg_pred extra"),
        ];
        for (part, names) in cases {
            for name in names.split(' ') {
                assert_eq!(Part::of_folder(name), Some(part), "{name}");
            }
        }
        for name in [
            "bullet train",
            "cat",
            "n01440764",
            "images",
            "train_test",
            "2012",
            "",
        ] {
            assert_eq!(Part::of_folder(name), None, "{name}");
        }
        assert_eq!(Part::of_file("imagenet-validation-00.tar"), Some(Part::Val));
        assert_eq!(
            Part::of_file("train-00000-of-00014-a1.parquet"),
            Some(Part::Train)
        );
        assert_eq!(Part::of_file("0001.tar"), None);
    }
}
