//! The losses, one a file.

pub(crate) mod balanced_noised_topk;
pub(crate) mod cross_entropy;
pub(crate) mod differentiable_topk_cross_entropy;
#[cfg(test)]
mod evaluate;
pub(crate) mod lml;
pub(crate) mod max_topk_svm;
pub(crate) mod psi5;
pub(crate) mod smooth_topk_svm;
pub(crate) mod topk_hinge;
pub(crate) mod truncated_topk_entropy;
