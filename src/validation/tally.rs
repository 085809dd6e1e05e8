use topk_history::{Accuracy, CorrectAt, RawValidation};

use crate::TrainError;
use crate::ranks::{LOSS_UNIT, Ranks};
use crate::validation::Metric;

/// What is counted over the validation images, for some weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tally {
    /// The k of the loss.
    k: usize,
    /// Further k.
    further: Vec<usize>,
    images: usize,
    top1: usize,
    topk: usize,
    /// Number of correct images for each of `further`.
    correct: Vec<usize>,
    /// Sum of losses in multiples of [`LOSS_UNIT`]; NaN if one could not be computed.
    loss: f64,
}

impl Tally {
    pub(crate) fn new(k: usize, further: Vec<usize>) -> Self {
        Self {
            k,
            images: 0,
            top1: 0,
            topk: 0,
            correct: vec![0; further.len()],
            further,
            loss: 0.0,
        }
    }

    /// Adds images: the number of classes before the label of each, and its loss.
    pub(crate) fn add(&mut self, ranks: &[usize], losses: &[f64]) {
        let below = |k| ranks.iter().filter(|&&rank| rank < k).count();
        self.images += ranks.len();
        self.top1 += below(1);
        self.topk += below(self.k);
        for (count, &k) in self.correct.iter_mut().zip(&self.further) {
            *count += below(k);
        }
        let exact = |&loss: &f64| (loss / LOSS_UNIT).round() * LOSS_UNIT;
        self.loss += losses.iter().map(exact).sum::<f64>();
    }

    /// The tally of all ranks.
    pub(crate) fn of_all(mut self, ranks: &Ranks) -> Result<Self, TrainError> {
        let counts = [self.images, self.top1, self.topk];
        [self.images, self.top1, self.topk] = ranks.sum(counts)?;
        for count in &mut self.correct {
            [*count] = ranks.sum([*count])?;
        }
        self.loss = ranks.sum_of_losses(self.loss)?;
        Ok(self)
    }

    /// The value of a metric, which is one that was counted.
    pub(crate) fn value(&self, metric: Metric) -> f64 {
        let percent = |correct: usize| 100.0 * correct as f64 / self.images as f64;
        match metric {
            Metric::Loss => self.loss / self.images as f64,
            Metric::Top(1) => percent(self.top1),
            Metric::Top(k) if k == self.k => percent(self.topk),
            Metric::Top(k) => {
                let at = self.further.iter().position(|&further| further == k);
                percent(at.map_or(0, |at| self.correct[at]))
            }
        }
    }

    pub(crate) fn accuracy(&self) -> Accuracy {
        Accuracy {
            images: self.images,
            top1_correct: self.top1,
            topk_correct: self.topk,
        }
    }

    /// The mean loss; `None` if it is not finite.
    pub(crate) fn mean_loss(&self) -> Option<f64> {
        let mean = self.loss / self.images as f64;
        mean.is_finite().then_some(mean)
    }

    pub(crate) fn correct(&self) -> Vec<CorrectAt> {
        let pairs = self.further.iter().zip(&self.correct);
        pairs
            .map(|(&k, &correct)| CorrectAt { k, correct })
            .collect()
    }

    /// The log's record, of raw weights.
    pub(crate) fn raw(&self) -> RawValidation {
        RawValidation {
            val: self.accuracy(),
            val_loss: self.mean_loss(),
            val_correct: self.correct(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_batches() {
        let ranks: Vec<usize> = (0..999).map(|i| i * 7 % 11).collect();
        let losses: Vec<f64> = (0..999).map(|i| 10.0 / f64::from(i + 3)).collect();
        let tally = |batch: usize| {
            let mut tally = Tally::new(3, vec![5, 7]);
            for (ranks, losses) in ranks.chunks(batch).zip(losses.chunks(batch)) {
                tally.add(ranks, losses);
            }
            tally
        };
        let whole = tally(999);
        assert_eq!(whole, tally(1));
        assert_eq!(whole, tally(64));
        let mean = losses.iter().sum::<f64>() / 999.0;
        assert!((whole.mean_loss().unwrap() - mean).abs() < 1e-7);
        assert_eq!(whole.accuracy(), Accuracy::of(&ranks, 3));
        let correct = |k| Accuracy::of(&ranks, k).topk_correct;
        let expected = [5, 7].map(|k| CorrectAt {
            k,
            correct: correct(k),
        });
        assert_eq!(whole.correct(), expected);
    }

    #[test]
    fn a_loss_that_is_not_finite_is_missing() {
        let mut tally = Tally::new(1, Vec::new());
        assert_eq!(tally.mean_loss(), None);
        tally.add(&[0, 1], &[0.5, f64::INFINITY]);
        assert_eq!(tally.mean_loss(), None);
    }
}
