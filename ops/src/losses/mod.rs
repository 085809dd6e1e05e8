//! The losses, one a file.

pub(crate) mod cross_entropy;
pub(crate) mod max_topk_svm;
pub(crate) mod smooth_topk_svm;
