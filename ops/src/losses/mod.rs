//! The losses, one file each.

/// Constructor and getters of the hinge losses, whose parameters are `k` and `alpha`.
macro_rules! hinge_parameters {
    ($loss:ty) => {
        impl $loss {
            /// A loss for top-`k` accuracy with margin `alpha`, in units of the scores; the papers use 1.
            ///
            /// # Errors
            /// If `k` is 0, or `alpha` is negative or not finite.
            pub fn new(k: usize, alpha: f64) -> Result<Self, $crate::LossError> {
                Ok(Self {
                    k: $crate::parameters::check_k(k)?,
                    alpha: $crate::parameters::check_alpha(alpha)?,
                })
            }

            /// Number of highest scores among which the label should be.
            pub fn k(&self) -> usize {
                self.k
            }

            /// Margin.
            pub fn alpha(&self) -> f64 {
                self.alpha
            }
        }
    };
}

pub(crate) mod balanced_noised_topk;
pub(crate) mod binary_cross_entropy;
pub(crate) mod cross_entropy;
pub(crate) mod dftopk;
pub(crate) mod differentiable_topk_cross_entropy;
#[cfg(test)]
mod evaluate;
pub(crate) mod lapsum;
pub(crate) mod ldr_kl;
pub(crate) mod lml;
pub(crate) mod max_topk_svm;
pub(crate) mod psi5;
pub(crate) mod smooth_topk_svm;
mod softplus;
pub(crate) mod topk_hinge;
pub(crate) mod truncated_topk_entropy;
