//! Losses for training classifiers for top-k accuracy, and that accuracy.
//!
//! A classifier gives `n` scores (logits) for a sample of class `y`. Its top-k prediction is correct if
//! `y` is among the `k` highest scores. This crate contains losses for that, over plain slices and over
//! arrays of `ndarray` (the feature `ndarray`, on by default). It uses no tensor library and nothing native.
//!
//! # The smooth top-k SVM
//!
//! A support vector machine with k predictions requires the label's score to exceed the k-th highest of
//! the wrong classes, t, by a margin α:
//!
//! ```text
//! hard loss = max(0, α + (t − s_y) / k)
//! ```
//!
//! Only two scores have a gradient, and deep networks hardly learn from it. The smooth loss replaces
//! both maxima, the one over sets of k classes that gives t and the one with 0, by a log-sum-exp at a
//! temperature τ. With z_i = s_i/(kτ), a set of k classes has the exponential of its sum of z as weight,
//! and the sums over all sets are elementary symmetric polynomials of the exponentials:
//!
//! ```text
//! e_j  = Σ over sets of j wrong classes of Π exp z_i
//! u    = α/τ + ln e_k − ln e_{k−1} − z_y
//! loss = τ ln(1 + exp u)
//! ```
//!
//! Now every class has a gradient, proportional to the difference of its probabilities to be in a random
//! set of k and of k − 1 classes. α, τ and the scores have the same unit. As τ → 0 this becomes the hard
//! loss; k = 1 is a smooth multi-class SVM, and cross-entropy itself with τ = 1 and α = 0. There are
//! C(n, k) sets, but O(n·k) time is enough, and no precision is lost at any temperature or spread of the
//! scores: see [`elementary_symmetric`] and [`SmoothTopkSvm`]. `ops/README.md` maps the paper to the files.
//!
//! How to choose k, τ and α, with the experiments behind it, is in `docs/choosing.md` of the repository.
//!
//! # Items
//!
//! | item | what it is |
//! | --- | --- |
//! | [`SmoothTopkSvm`] | the smooth top-k SVM of Berrada, Zisserman and Kumar, [ICLR 2018](https://arxiv.org/abs/1802.07595) |
//! | [`MaxTopkSvm`] | the hard top-k SVM, its limit at temperature 0; k = 1 is the multi-class hinge |
//! | [`TopkHingeAlpha`], [`TopkHingeBeta`] | the top-k hinge losses α and β of Lapin, Hein and Schiele, [NIPS 2015](https://arxiv.org/abs/1511.06683) |
//! | [`TruncatedTopkEntropy`] | cross-entropy without the first k − 1 wrong classes, Lapin, Hein and Schiele, [CVPR 2016](https://arxiv.org/abs/1512.00486) |
//! | [`Psi5`] | the top-k calibrated hinge of Yang and Koyejo, [ICML 2020](https://arxiv.org/abs/1901.11141) |
//! | [`BalancedNoisedTopk`] | ψ₅ smoothed by noise on the scores, Garcin, Servajean, Joly and Salmon, [ICML 2022](https://arxiv.org/abs/2202.02193) |
//! | [`Lml`] | the log-likelihood under the limited multi-label projection, Amos, Koltun and Kolter, [2019](https://arxiv.org/abs/1906.08707) |
//! | [`DifferentiableTopkCrossEntropy`] | cross-entropy of a relaxed ranking for several k at once, Petersen, Kuehne, Borgelt and Deussen, [ICML 2022](https://arxiv.org/abs/2206.07290) |
//! | [`LapSum`] | the log-likelihood under LapSum's soft top-k selection, Struski and others, [ICML 2025](https://arxiv.org/abs/2503.06242) |
//! | [`DfTopk`] | the log-likelihood under the differentiable top-k operator DFTopK, [2025](https://arxiv.org/abs/2510.11472) |
//! | [`LdrKl`] | LDR-KL, the smooth multi-class SVM less a constant, Zhu, Ying and Yang, [ICML 2023](https://arxiv.org/abs/2112.14869) |
//! | [`BinaryCrossEntropy`] | binary cross-entropy of each class, as timm's `--bce-loss` |
//! | [`CrossEntropy`] | softmax cross-entropy, for comparison |
//! | [`LossName`] | the names of the losses on command lines and in files |
//! | [`Loss`] | values and gradients of a batch, for every loss |
//! | [`Criterion`] | a loss with reduction, class weights, label smoothing and an ignored label |
//! | [`elementary_symmetric`] | elementary symmetric polynomials and the marginals of subsets, in logarithms |
//! | [`accuracy`] | top-k accuracy of a batch, ranks of labels |
#![cfg_attr(
    feature = "ndarray",
    doc = "| [`mod@array`] | losses, polynomials and accuracy on arrays of `ndarray` |"
)]
//! | [`instructions()`] | the instruction set extension that the `f32` kernels use |
//!
//! [`Loss::forward_backward`] gives one value and one row of the gradient per sample; [`Criterion`] gives
//! their mean or sum. Invalid input (a NaN, a label that is not a class, too few classes) gives a
//! [`LossError`] that names it.
//!
//! # Example
//!
//! On arrays, with the feature `ndarray`, a batch takes one call: see the module `array`. On slices:
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
#[cfg(feature = "ndarray")]
pub mod array;
mod criterion;
pub mod elementary_symmetric;
mod error;
mod executor;
mod loss;
mod losses;
mod name;
pub mod noise;
pub mod operator;
mod parameters;
mod ranking;
mod reduction;
mod sample;
mod score;
mod simd;
mod workspace;

pub use accuracy::AccuracyError;
#[cfg(feature = "ndarray")]
pub use array::ArrayLoss;
pub use criterion::{BatchOutputs, Criterion, SCORES_PER_TASK};
pub use error::LossError;
pub use executor::{Executor, ForeignTasks, Rayon};
pub use half::{bf16, f16};
pub use loss::Loss;
pub use losses::balanced_noised_topk::BalancedNoisedTopk;
pub use losses::binary_cross_entropy::BinaryCrossEntropy;
pub use losses::cross_entropy::CrossEntropy;
pub use losses::dftopk::DfTopk;
pub use losses::differentiable_topk_cross_entropy::DifferentiableTopkCrossEntropy;
pub use losses::lapsum::LapSum;
pub use losses::ldr_kl::LdrKl;
pub use losses::lml::Lml;
pub use losses::max_topk_svm::MaxTopkSvm;
pub use losses::psi5::Psi5;
pub use losses::smooth_topk_svm::SmoothTopkSvm;
pub use losses::topk_hinge::{TopkHingeAlpha, TopkHingeBeta};
pub use losses::truncated_topk_entropy::TruncatedTopkEntropy;
pub use name::{LossName, UnknownLossName};
pub use reduction::Reduction;
pub use sample::SampleLoss;
pub use score::Score;
pub use simd::instructions;
