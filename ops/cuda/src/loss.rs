//! The losses that there are kernels for, and the types of their scores.

use topk_ops::{
    CrossEntropy, LossError, MaxTopkSvm, Psi5, SampleLoss, SmoothTopkSvm, TopkHingeAlpha,
    TopkHingeBeta, TruncatedTopkEntropy,
};

macro_rules! losses {
    ($($(#[$doc:meta])* $loss:ident,)*) => {
        /// A loss that kernels compute.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum KernelLoss {
            $($(#[$doc])* $loss($loss),)*
        }

        $(
            impl From<$loss> for KernelLoss {
                fn from(loss: $loss) -> Self {
                    Self::$loss(loss)
                }
            }
        )*

        impl KernelLoss {
            fn as_loss(&self) -> &dyn SampleLoss {
                match self {
                    $(Self::$loss(loss) => loss,)*
                }
            }
        }
    };
}

losses! {
    /// The smooth top-k SVM, for k up to [`MAX_K`](Self::MAX_K).
    SmoothTopkSvm,
    /// Cross-entropy.
    CrossEntropy,
    /// The hard top-k SVM, for k up to [`MAX_RANKED_K`](Self::MAX_RANKED_K), like the others.
    MaxTopkSvm,
    /// The top-k hinge loss α.
    TopkHingeAlpha,
    /// The top-k hinge loss β.
    TopkHingeBeta,
    /// The hinge loss ψ₅.
    Psi5,
    /// The truncated top-k entropy.
    TruncatedTopkEntropy,
}

impl KernelLoss {
    /// The largest k of the smooth top-k SVM.
    pub const MAX_K: usize = 128;

    /// The largest k of the losses of the highest scores: all others but cross-entropy.
    pub const MAX_RANKED_K: usize = 10;

    /// The largest number of classes.
    pub const MAX_CLASSES: usize = 1 << 22;

    /// Whether there is a kernel for this loss of `classes` classes. If not, it can be computed in another way.
    pub fn supports(&self, classes: usize) -> bool {
        self.k() <= self.max_k() && classes <= Self::MAX_CLASSES
    }

    /// Checks that the loss can be computed with this number of classes.
    ///
    /// # Errors
    /// [`LossError::TooFewClasses`] if there are too few.
    pub fn check_classes(&self, classes: usize) -> Result<(), LossError> {
        self.as_loss().check_classes(classes)
    }

    /// The largest k that there are kernels for.
    pub(crate) fn max_k(&self) -> usize {
        match self {
            Self::SmoothTopkSvm(_) | Self::CrossEntropy(_) => Self::MAX_K,
            Self::MaxTopkSvm(_)
            | Self::TopkHingeAlpha(_)
            | Self::TopkHingeBeta(_)
            | Self::Psi5(_)
            | Self::TruncatedTopkEntropy(_) => Self::MAX_RANKED_K,
        }
    }

    /// Number of highest scores among which the label should be.
    pub(crate) fn k(&self) -> usize {
        match self {
            Self::SmoothTopkSvm(loss) => loss.k(),
            Self::CrossEntropy(_) => 1,
            Self::MaxTopkSvm(loss) => loss.k(),
            Self::TopkHingeAlpha(loss) => loss.k(),
            Self::TopkHingeBeta(loss) => loss.k(),
            Self::Psi5(loss) => loss.k(),
            Self::TruncatedTopkEntropy(loss) => loss.k(),
        }
    }

    /// Temperature, if the loss has one. Cross-entropy is the smooth top-1 SVM with temperature 1 and margin 0.
    pub(crate) fn tau(&self) -> f64 {
        match self {
            Self::SmoothTopkSvm(loss) => loss.tau(),
            Self::CrossEntropy(_)
            | Self::MaxTopkSvm(_)
            | Self::TopkHingeAlpha(_)
            | Self::TopkHingeBeta(_)
            | Self::Psi5(_)
            | Self::TruncatedTopkEntropy(_) => 1.0,
        }
    }

    /// Margin, if the loss has one.
    pub(crate) fn alpha(&self) -> f64 {
        match self {
            Self::SmoothTopkSvm(loss) => loss.alpha(),
            Self::MaxTopkSvm(loss) => loss.alpha(),
            Self::TopkHingeAlpha(loss) => loss.alpha(),
            Self::TopkHingeBeta(loss) => loss.alpha(),
            Self::Psi5(loss) => loss.alpha(),
            Self::CrossEntropy(_) | Self::TruncatedTopkEntropy(_) => 0.0,
        }
    }

    /// `RankedLoss` in `kernels/arguments.h`, for the losses of the highest scores.
    pub(crate) fn ranked(&self) -> Option<i32> {
        match self {
            Self::SmoothTopkSvm(_) | Self::CrossEntropy(_) => None,
            Self::MaxTopkSvm(_) => Some(0),
            Self::TopkHingeAlpha(_) => Some(1),
            Self::TopkHingeBeta(_) => Some(2),
            Self::Psi5(_) => Some(3),
            Self::TruncatedTopkEntropy(_) => Some(4),
        }
    }
}

/// The type of scores and gradients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScoreType {
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// The upper 16 bits of 32-bit floats.
    Bf16,
}

impl ScoreType {
    /// All types.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Size in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}
