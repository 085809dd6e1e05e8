use super::Criterion;
use crate::Score;
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// Buffers of label smoothing.
#[derive(Debug, Default)]
struct Smoothing {
    scores: Vec<f64>,
    grad: Vec<f64>,
    /// The factors of the losses with each class as label.
    targets: Vec<f64>,
}

impl<L: SampleLoss> Criterion<L> {
    /// The weighted loss of a sample with label smoothing, whose factor is without the label's weight.
    pub(super) fn smoothed<T: Score>(
        &self,
        workspace: &mut Workspace,
        sample: Sample<'_, T>,
    ) -> f64 {
        let Sample { scores, label, .. } = sample;
        let mut buffers = std::mem::take(workspace.of_loss::<Smoothing>());
        let Smoothing {
            scores: wide,
            grad,
            targets,
        } = &mut buffers;
        wide.clear();
        wide.extend(scores.iter().map(|&score| score.into()));
        grad.resize(scores.len(), 0.0);
        let share = self.label_smoothing / scores.len() as f64;
        targets.clear();
        match &self.weight {
            None => targets.resize(scores.len(), share),
            Some(weight) => targets.extend(weight.iter().map(|weight| weight * share)),
        }
        targets[label] += (1.0 - self.label_smoothing) * self.weight_of(label as i64);
        let of_sample = Sample {
            index: sample.index,
            scores: wide,
            label,
            factor: sample.factor,
            grad: sample.grad.is_some().then_some(&mut **grad),
        };
        let value = self.loss.compute_soft(workspace, of_sample, targets);
        if let Some(narrow) = sample.grad {
            for (narrow, &wide) in narrow.iter_mut().zip(&*grad) {
                *narrow = T::from_f64(wide);
            }
        }
        *workspace.of_loss() = buffers;
        value
    }

    /// The loss of a sample without label smoothing and weight.
    pub(super) fn unsmoothed<T: Score>(
        &self,
        workspace: &mut Workspace,
        index: usize,
        scores: &[T],
        label: usize,
    ) -> f64 {
        let sample = Sample {
            index,
            scores,
            label,
            factor: 1.0,
            grad: None,
        };
        T::compute(&self.loss, workspace, sample)
    }
}
