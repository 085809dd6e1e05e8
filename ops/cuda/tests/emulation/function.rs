//! Losses of one sample, in double precision.

use topk_ops::{
    CrossEntropy, Loss, MaxTopkSvm, Psi5, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta,
    TruncatedTopkEntropy,
};

/// The loss of a problem.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    SmoothTopkSvm {
        k: usize,
        tau: f64,
        alpha: f64,
    },
    CrossEntropy,
    /// A loss of the label and the highest scores, with k ≤ 10.
    Ranked {
        loss: Ranked,
        k: usize,
        alpha: f64,
    },
}

/// The losses of `ranked.cu`, in the order of `RankedLoss`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ranked {
    MaxTopkSvm,
    TopkHingeAlpha,
    TopkHingeBeta,
    Psi5,
    TruncatedTopkEntropy,
}

impl Ranked {
    pub const ALL: [Self; 5] = [
        Self::MaxTopkSvm,
        Self::TopkHingeAlpha,
        Self::TopkHingeBeta,
        Self::Psi5,
        Self::TruncatedTopkEntropy,
    ];

    fn loss(self, k: usize, alpha: f64) -> Box<dyn Loss> {
        match self {
            Self::MaxTopkSvm => Box::new(MaxTopkSvm::new(k, alpha).unwrap()),
            Self::TopkHingeAlpha => Box::new(TopkHingeAlpha::new(k, alpha).unwrap()),
            Self::TopkHingeBeta => Box::new(TopkHingeBeta::new(k, alpha).unwrap()),
            Self::Psi5 => Box::new(Psi5::new(k, alpha).unwrap()),
            Self::TruncatedTopkEntropy => Box::new(TruncatedTopkEntropy::new(k).unwrap()),
        }
    }
}

impl Function {
    /// The kernels' k, τ and α: cross-entropy is the SVM with k = 1, τ = 1 and α = 0.
    pub fn parameters(self) -> (usize, f64, f64) {
        match self {
            Self::SmoothTopkSvm { k, tau, alpha } => (k, tau, alpha),
            Self::CrossEntropy => (1, 1.0, 0.0),
            Self::Ranked { k, alpha, .. } => (k, f64::NAN, alpha),
        }
    }

    pub fn evaluate(self, scores: &[f64], label: i64) -> (f64, Vec<f64>) {
        let loss: Box<dyn Loss> = match self {
            Self::SmoothTopkSvm { k, tau, alpha } => {
                Box::new(SmoothTopkSvm::new(k, tau, alpha).unwrap())
            }
            Self::CrossEntropy => Box::new(CrossEntropy),
            Self::Ranked { loss, k, alpha } => loss.loss(k, alpha),
        };
        let (mut value, mut gradient) = ([0.0], vec![0.0; scores.len()]);
        loss.forward_backward(scores, &[label], &mut value, &mut gradient)
            .unwrap();
        (value[0], gradient)
    }
}
