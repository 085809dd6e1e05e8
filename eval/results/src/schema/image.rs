use serde::{Deserialize, Serialize};

/// An image that was evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Index in the data set, from 0.
    pub index: usize,
    /// Name in the data set.
    pub name: String,
    /// True classes. The first valid one is the class of the image in per-class tables; images without a
    /// valid label do not count.
    pub labels: Vec<u32>,
    /// Groups that it belongs to, as indices of [`DataInfo::group_names`](crate::DataInfo::group_names), ascending; `None`
    /// if the file of groups does not have it.
    pub groups: Option<Vec<u32>>,
}

/// An image that could not be evaluated.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Failure {
    /// Index in the data set.
    pub index: usize,
    /// Name in the data set.
    pub name: String,
    /// The error.
    pub message: String,
}
