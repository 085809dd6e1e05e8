//! How the files of each version are called, and what is in them.

use super::Cifar;
use crate::Split;

/// A version of a data set.
#[derive(Debug)]
pub(super) struct Version {
    pub folder: &'static str,
    pub archive: &'static str,
    pub names: &'static str,
    pub train: &'static [&'static str],
    pub test: &'static [&'static str],
    pub encoding: Encoding,
}

/// How a file has its images.
#[derive(Clone, Copy, Debug)]
pub(super) enum Encoding {
    /// Records of so many labels, of which the last counts, and the pixels. The names of the classes
    /// are lines of text.
    Records { labels: usize },
    /// A pickled dictionary, which has the labels under this key; and another, which has the names of
    /// the classes.
    Pickle {
        labels: &'static str,
        names: &'static str,
    },
}

impl Version {
    /// The files with the images of a split.
    pub fn files(&self, split: Split) -> &'static [&'static str] {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// These, and that with the names of the classes.
    pub fn needed(&self, split: Split) -> impl Iterator<Item = &'static str> {
        self.files(split).iter().copied().chain([self.names])
    }
}

/// CIFAR-10.
pub(crate) static CIFAR10: Cifar = Cifar {
    name: "CIFAR-10",
    versions: [
        Version {
            folder: "cifar-10-batches-bin",
            archive: "cifar-10-binary.tar.gz",
            names: "batches.meta.txt",
            train: &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            test: &["test_batch.bin"],
            encoding: Encoding::Records { labels: 1 },
        },
        Version {
            folder: "cifar-10-batches-py",
            archive: "cifar-10-python.tar.gz",
            names: "batches.meta",
            train: &[
                "data_batch_1",
                "data_batch_2",
                "data_batch_3",
                "data_batch_4",
                "data_batch_5",
            ],
            test: &["test_batch"],
            encoding: Encoding::Pickle {
                labels: "labels",
                names: "label_names",
            },
        },
    ],
};

/// CIFAR-100, with its fine labels.
pub(crate) static CIFAR100: Cifar = Cifar {
    name: "CIFAR-100",
    versions: [
        Version {
            folder: "cifar-100-binary",
            archive: "cifar-100-binary.tar.gz",
            names: "fine_label_names.txt",
            train: &["train.bin"],
            test: &["test.bin"],
            encoding: Encoding::Records { labels: 2 },
        },
        Version {
            folder: "cifar-100-python",
            archive: "cifar-100-python.tar.gz",
            names: "meta",
            train: &["train"],
            test: &["test"],
            encoding: Encoding::Pickle {
                labels: "fine_labels",
                names: "fine_label_names",
            },
        },
    ],
};
