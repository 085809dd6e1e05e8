use std::fmt;

use crate::collected::EvaluatedBatch;

/// Progress of an evaluation.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Images processed, including unreadable ones.
    pub images: usize,
    /// Images evaluated by the first model.
    evaluated: usize,
    /// For each k, the images that it classifies correctly.
    correct: Vec<(usize, usize)>,
}

impl Progress {
    pub(crate) fn new(topk: &[usize]) -> Self {
        Self {
            images: 0,
            evaluated: 0,
            correct: topk.iter().map(|&k| (k, 0)).collect(),
        }
    }

    pub(crate) fn add(&mut self, batch: &EvaluatedBatch) {
        self.images += batch.indices.len();
        let first = batch.scores.iter().flat_map(|scores| scores.first());
        for outcome in first.flat_map(|scores| &scores.outcomes).flatten() {
            self.evaluated += 1;
            for (k, correct) in &mut self.correct {
                *correct += usize::from((outcome.rank as usize) < *k);
            }
        }
    }
}

/// Accuracies of the first model, in percent.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (k, correct)) in self.correct.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            let percent = 100.0 * *correct as f64 / self.evaluated.max(1) as f64;
            write!(f, "{space}top-{k} {percent:.2}")?;
        }
        Ok(())
    }
}
