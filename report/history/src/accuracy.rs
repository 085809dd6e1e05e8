use serde::{Deserialize, Serialize};

/// Number of images that a network classifies correctly, as logs and states hold it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Accuracy {
    /// Images evaluated.
    pub images: usize,
    /// Images whose label has the highest score.
    pub top1_correct: usize,
    /// Images whose label is among the k highest scores.
    pub topk_correct: usize,
}

impl Accuracy {
    /// Counts the images whose label has a rank below 1 and below `k`; a rank is the number of classes
    /// with a higher score.
    pub fn of(ranks: &[usize], k: usize) -> Self {
        let below = |k| ranks.iter().filter(|&&rank| rank < k).count();
        Self {
            images: ranks.len(),
            top1_correct: below(1),
            topk_correct: below(k),
        }
    }

    /// Top-1 accuracy, 0 to 1; NaN if there are no images.
    pub fn top1(&self) -> f64 {
        self.top1_correct as f64 / self.images as f64
    }

    /// Top-k accuracy, 0 to 1; NaN if there are no images.
    pub fn topk(&self) -> f64 {
        self.topk_correct as f64 / self.images as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_ranks_below_k() {
        let of = |k| Accuracy::of(&[2, 0, 3, 1], k);
        assert_eq!(
            of(2),
            Accuracy {
                images: 4,
                top1_correct: 1,
                topk_correct: 2
            }
        );
        assert_eq!((of(4).top1(), of(4).topk()), (0.25, 1.0));
    }
}
