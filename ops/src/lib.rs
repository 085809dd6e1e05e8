//! Losses and metrics for training and judging classifiers by their top-k accuracy.
//!
//! A classifier gives `n` scores (logits) for a sample of class `y`. It is right in the top-k sense
//! if `y` is among the `k` highest scores. This crate holds the losses that are trained for that and
//! the metric itself, over plain slices: no tensor library, nothing native.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`SmoothTopkSvm`] | the smooth top-k SVM of Berrada, Zisserman and Kumar, [ICLR 2018](https://arxiv.org/abs/1802.07595) |
//! | [`MaxTopkSvm`] | the hard top-k SVM, its limit at temperature 0; k = 1 is the multi-class hinge |
//! | [`TopkHingeAlpha`], [`TopkHingeBeta`] | the top-k hinge losses α and β of Lapin, Hein and Schiele, [NIPS 2015](https://arxiv.org/abs/1511.06683) |
//! | [`TruncatedTopkEntropy`] | cross-entropy without the first k − 1 wrong classes, Lapin, Hein and Schiele, [CVPR 2016](https://arxiv.org/abs/1512.00486) |
//! | [`Psi5`] | the top-k calibrated hinge of Yang and Koyejo, [ICML 2020](https://arxiv.org/abs/1901.11141) |
//! | [`BalancedNoisedTopk`] | the same with noise on the scores, Garcin, Servajean, Joly and Salmon, [ICML 2022](https://arxiv.org/abs/2202.02193) |
//! | [`Lml`] | the log-likelihood under the limited multi-label projection, Amos, Koltun and Kolter, [2019](https://arxiv.org/abs/1906.08707) |
//! | [`DifferentiableTopkCrossEntropy`] | cross-entropy of a relaxed ranking for several k at once, Petersen, Kuehne, Borgelt and Deussen, [ICML 2022](https://arxiv.org/abs/2206.07290) |
//! | [`CrossEntropy`] | softmax cross-entropy, to compare with |
//! | [`Loss`] | what the losses have in common: values and gradients of a batch |
//! | [`Criterion`] | a loss with reduction, class weights and labels to ignore |
//! | [`esf`] | elementary symmetric functions and the marginals of subsets, in logarithms |
//! | [`accuracy`] | rank of the label and top-k accuracy |
//! | [`instructions()`] | what the `f32` kernels use of this processor |
//!
//! Each value is a loss of one sample and each gradient row is its derivative with respect to that
//! sample's scores; averaging over a batch is left to the caller, who knows how samples are weighted.
//!
//! ```
//! use topk_ops::{Loss, SmoothTopkSvm};
//!
//! // Two samples, four classes.
//! let scores: [f32; 8] = [2.0, 0.5, -1.0, 0.3, 0.1, 0.2, 0.0, 1.5];
//! let labels = [0, 2];
//! let loss = SmoothTopkSvm::new(2, 1.0, 1.0)?;
//!
//! let mut values = [0.0; 2];
//! let mut grad = [0.0; 8];
//! loss.forward_backward(&scores, &labels, &mut values, &mut grad)?;
//!
//! assert!(values[0] < values[1]); // the first sample's label has the highest score
//! assert!(grad[0] < 0.0); // raising the label's score lowers the loss
//! assert!(grad[..4].iter().sum::<f32>().abs() < 1e-6);
//! # Ok::<(), topk_ops::LossError>(())
//! ```

pub mod accuracy;
mod criterion;
mod error;
pub mod esf;
mod executor;
mod loss;
mod losses;
pub mod noise;
mod score;
mod simd;

pub use criterion::{Criterion, Reduction};
pub use error::LossError;
pub use executor::{Executor, Rayon};
pub use half::{bf16, f16};
pub use loss::Loss;
pub use losses::balanced_noised_topk::BalancedNoisedTopk;
pub use losses::cross_entropy::CrossEntropy;
pub use losses::differentiable_topk_cross_entropy::DifferentiableTopkCrossEntropy;
pub use losses::lml::Lml;
pub use losses::max_topk_svm::MaxTopkSvm;
pub use losses::psi5::Psi5;
pub use losses::smooth_topk_svm::SmoothTopkSvm;
pub use losses::topk_hinge::{TopkHingeAlpha, TopkHingeBeta};
pub use losses::truncated_topk_entropy::TruncatedTopkEntropy;
pub use score::Score;
pub use simd::instructions;
