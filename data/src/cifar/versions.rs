//! The names of the files of each version, and their contents.

use crate::Split;

/// Channels, height and width of an image.
pub(super) const SHAPE: [usize; 3] = [3, 32, 32];

/// Bytes of an image.
pub(super) const PIXELS: usize = 3 * 32 * 32;

/// Largest file that is unpacked or read as a whole: CIFAR-100's training images have 155 MB.
pub(super) const MAX_BYTES: usize = 1 << 28;

/// Largest list of class names in bytes.
pub(super) const MAX_NAMES: usize = 1 << 16;

/// A data set in both versions.
#[derive(Debug)]
pub(crate) struct Cifar {
    pub(super) name: &'static str,
    pub(super) versions: [Version; 2],
}

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

/// Layout of a file of images.
#[derive(Clone, Copy, Debug)]
pub(super) enum Encoding {
    /// Records of `labels` labels, of which the last is used, and the pixels. The class names are lines of
    /// text.
    Records { labels: usize },
    /// A pickled dictionary with the labels under the key `labels`; and one with the class names under the
    /// key `names`.
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
            Split::Val | Split::Test | Split::Evaluation => self.test,
        }
    }

    /// The files of a split, and the one with the class names.
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
