mod smoothing;

use std::cell::RefCell;
use std::sync::Mutex;

use crate::executor::{Executor, Rayon};
use crate::parameters::first_negative_or_not_finite;
use crate::reduction::Reduction;
use crate::sample::{MAX_SIDE_BY_SIDE, Sample, SampleLoss};
use crate::workspace::Workspace;
use crate::{LossError, Score};

/// The slices that [`Criterion::compute`] writes to, for a batch of N samples and C classes.
#[derive(Debug)]
pub struct BatchOutputs<'a, T> {
    /// The loss: `[N]` without reduction, otherwise one entry.
    pub values: &'a mut [T],
    /// The loss of each sample before label smoothing, weight, reduction and rounding, `[N]`; 0 where the label is
    /// ignored.
    pub losses: Option<&'a mut [f64]>,
    /// The derivatives of the sum of `values` with respect to the scores, `[N, C]`.
    pub grad: Option<&'a mut [T]>,
}

impl<'a, T> BatchOutputs<'a, T> {
    /// Requests the loss alone.
    pub fn new(values: &'a mut [T]) -> Self {
        Self {
            values,
            losses: None,
            grad: None,
        }
    }
}

/// A loss with the options of PyTorch's losses: reduction, class weights, label smoothing, and an ignored label.
///
/// Scores are row-major, one row of `classes` scores per label, so `classes` is
/// `scores.len() / labels.len()`. As in PyTorch, the loss of a sample is multiplied by the weight of its
/// label, and the mean divides by the sum of the weights. A sample with the ignored label has loss 0
/// and gradient 0; its scores are not read, and it does not count in the mean. The mean over no
/// samples (an empty batch, or all labels ignored) is NaN.
///
/// ```
/// use topk_ops::{Criterion, Reduction, SmoothTopkSvm};
///
/// let criterion = Criterion::new(SmoothTopkSvm::new(1, 1.0, 1.0)?)
///     .with_weight(vec![1.0, 0.5, 2.0])?
///     .with_ignore_index(-100);
/// // Three samples, three classes.
/// let scores: [f32; 9] = [2.0, 0.5, -1.0, 0.3, 0.1, 0.2, 0.0, 1.5, 0.5];
/// let mut mean = [0.0];
/// let mut grad = [0.0; 9];
/// criterion.forward_backward(&scores, &[0, -100, 2], &mut mean, &mut grad)?;
/// assert_eq!(grad[3..6], [0.0; 3]);
///
/// let mut values = [0.0; 3];
/// criterion
///     .with_reduction(Reduction::None)
///     .forward(&scores, &[0, -100, 2], &mut values)?;
/// assert!((mean[0] - (values[0] + values[2]) / 3.0).abs() < 1e-6);
/// # Ok::<(), topk_ops::LossError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Criterion<L> {
    loss: L,
    reduction: Reduction,
    ignore_index: Option<i64>,
    weight: Option<Vec<f64>>,
    label_smoothing: f64,
}

impl<L: SampleLoss> Criterion<L> {
    /// The mean over the batch, with equal class weights, no label smoothing and no ignored label. (PyTorch's
    /// `cross_entropy` ignores label −100 by default.)
    pub fn new(loss: L) -> Self {
        Self {
            loss,
            reduction: Reduction::Mean,
            ignore_index: None,
            weight: None,
            label_smoothing: 0.0,
        }
    }

    /// Sets the reduction.
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Ignores samples with this label, which may be any number, a class or not. `None`, the default,
    /// ignores no label.
    #[must_use]
    pub fn with_ignore_index(mut self, label: impl Into<Option<i64>>) -> Self {
        self.ignore_index = label.into();
        self
    }

    /// Multiplies the loss of each sample by the weight of its label; `weight` has one entry per class.
    ///
    /// # Errors
    /// If a weight is negative or not finite.
    pub fn with_weight(mut self, weight: Vec<f64>) -> Result<Self, LossError> {
        if let Some((class, weight)) = first_negative_or_not_finite(&weight) {
            return Err(LossError::Weight { class, weight });
        }
        self.weight = Some(weight);
        Ok(self)
    }

    /// Replaces the loss L(y) of a sample of label y by its expectation where the label is drawn anew from all C classes
    /// with probability ε = `smoothing`, from 0 to 1: for class weights w,
    ///
    /// ```text
    /// (1 − ε) w_y L(y) + (ε/C) Σ_c w_c L(c)
    /// ```
    ///
    /// This is the loss of a mixture of one-hot targets for losses that are linear in the target, such as
    /// [`CrossEntropy`](crate::CrossEntropy), where it equals PyTorch's `label_smoothing` with class weights too, and
    /// [`BinaryCrossEntropy`](crate::BinaryCrossEntropy), and defines label smoothing for the others. As in PyTorch, the
    /// mean still divides by the sum of the weights of the labels.
    ///
    /// `CrossEntropy`, `BinaryCrossEntropy`, [`Lml`](crate::Lml), [`LapSum`](crate::LapSum),
    /// [`DfTopk`](crate::DfTopk), [`LdrKl`](crate::LdrKl) and [`Psi5`](crate::Psi5) compute the losses of all labels
    /// together. The others compute them one by one, which takes C times as long as one loss.
    ///
    /// # Errors
    /// If `smoothing` is not from 0 to 1.
    pub fn with_label_smoothing(mut self, smoothing: f64) -> Result<Self, LossError> {
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(LossError::LabelSmoothing(smoothing));
        }
        self.label_smoothing = smoothing;
        Ok(self)
    }

    /// The loss of one sample.
    pub fn loss(&self) -> &L {
        &self.loss
    }

    /// The reduction.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// The ignored label.
    pub fn ignore_index(&self) -> Option<i64> {
        self.ignore_index
    }

    /// The class weights.
    pub fn weight(&self) -> Option<&[f64]> {
        self.weight.as_deref()
    }

    /// The probability with which the label is drawn anew.
    pub fn label_smoothing(&self) -> f64 {
        self.label_smoothing
    }

    /// Checks that the loss can be computed with this number of classes.
    ///
    /// # Errors
    /// If there are too few classes, or the number of class weights is different.
    pub fn check_classes(&self, classes: usize) -> Result<(), LossError> {
        self.loss.check_classes(classes)?;
        match &self.weight {
            Some(weight) if weight.len() != classes => Err(LossError::WeightCount {
                weights: weight.len(),
                classes,
            }),
            _ => Ok(()),
        }
    }

    /// Number of values for this number of samples: 1 unless the reduction is `None`.
    pub fn output_len(&self, samples: usize) -> usize {
        match self.reduction {
            Reduction::None => samples,
            Reduction::Sum | Reduction::Mean => 1,
        }
    }

    /// Computes the loss: one value per sample without reduction, otherwise one value.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is invalid. The contents of `values` are unspecified
    /// then.
    pub fn forward<T: Score>(
        &self,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
    ) -> Result<(), LossError> {
        self.compute(&Rayon, scores, labels, BatchOutputs::new(values))
    }

    /// Computes the loss and its derivative with respect to each score: without reduction that of the
    /// sample's own loss, otherwise that of the reduced loss.
    ///
    /// `grad` has the shape of `scores`.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is invalid. The contents of `values` and `grad` are
    /// unspecified then.
    pub fn forward_backward<T: Score>(
        &self,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
        grad: &mut [T],
    ) -> Result<(), LossError> {
        let outputs = BatchOutputs {
            grad: Some(grad),
            ..BatchOutputs::new(values)
        };
        self.compute(&Rayon, scores, labels, outputs)
    }

    /// Computes the requested outputs on threads of the caller's choice.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is invalid. The contents of the outputs are
    /// unspecified then.
    pub fn compute<T: Score>(
        &self,
        executor: &impl Executor,
        scores: &[T],
        labels: &[i64],
        outputs: BatchOutputs<'_, T>,
    ) -> Result<(), LossError> {
        let BatchOutputs {
            values,
            losses,
            grad,
        } = outputs;
        check_output("values", values.len(), self.output_len(labels.len()))?;
        if let Some(losses) = &losses {
            check_output("losses", losses.len(), labels.len())?;
        }
        if let Some(grad) = &grad {
            check_output("grad", grad.len(), scores.len())?;
        }
        let classes = self.classes(scores.len(), labels.len())?;
        let total = match self.reduction {
            Reduction::None | Reduction::Sum => 1.0,
            Reduction::Mean => labels.iter().map(|&label| self.weight_of(label)).sum(),
        };
        let (each, reduced) = match self.reduction {
            Reduction::None => (Some(values), None),
            Reduction::Sum | Reduction::Mean => (None, Some(&mut values[0])),
        };
        let outputs = TaskOutputs {
            values: each,
            losses,
            grad,
        };
        let sum = self
            .run_tasks(executor, classes, total, scores, labels, outputs)
            .ok_or_else(|| self.first_error(scores, labels, classes))?;
        if let Some(reduced) = reduced {
            *reduced = T::from_f64(sum / total);
        }
        Ok(())
    }

    /// Number of classes; 1 for an empty batch.
    fn classes(&self, scores: usize, labels: usize) -> Result<usize, LossError> {
        let classes = match (scores, labels) {
            (0, 0) => return Ok(1),
            (_, 0) => return Err(LossError::Shape { scores, labels }),
            _ if !scores.is_multiple_of(labels) => {
                return Err(LossError::Shape { scores, labels });
            }
            _ => scores / labels,
        };
        self.check_classes(classes)?;
        Ok(classes)
    }

    /// Weight of the samples with this label; NaN if the label is not a class.
    fn weight_of(&self, label: i64) -> f64 {
        if Some(label) == self.ignore_index {
            return 0.0;
        }
        match &self.weight {
            None => 1.0,
            Some(weight) => usize::try_from(label)
                .ok()
                .and_then(|label| weight.get(label).copied())
                .unwrap_or(f64::NAN),
        }
    }

    /// Returns the sum of all losses times their weights, or `None` if a sample is invalid.
    fn run_tasks<T: Score>(
        &self,
        executor: &impl Executor,
        classes: usize,
        total: f64,
        scores: &[T],
        labels: &[i64],
        outputs: TaskOutputs<'_, T>,
    ) -> Option<f64> {
        // Tasks depend on shape and loss alone, so that sums do not depend on the number of threads.
        let samples = self.samples_per_task(labels.len(), classes);
        let mut values = outputs.values.map(|values| values.chunks_mut(samples));
        let mut losses = outputs.losses.map(|losses| losses.chunks_mut(samples));
        let mut grad = outputs.grad.map(|grad| grad.chunks_mut(samples * classes));
        let mut tasks = scores
            .chunks(samples * classes)
            .zip(labels.chunks(samples))
            .enumerate()
            .map(|(task, (scores, labels))| Task {
                first: task * samples,
                scores,
                labels,
                outputs: TaskOutputs {
                    values: values.as_mut().and_then(Iterator::next),
                    losses: losses.as_mut().and_then(Iterator::next),
                    grad: grad.as_mut().and_then(Iterator::next),
                },
                sum: None,
            });
        if labels.len() <= samples {
            return tasks.next().map_or(Some(0.0), |mut task| {
                self.run_task(&mut task, classes, total);
                task.sum
            });
        }
        // The mutexes are never contended: they only give each task its outputs mutably.
        let mut tasks: Vec<_> = tasks.map(Mutex::new).collect();
        executor.for_each(tasks.len(), &|i| {
            let mut task = tasks[i].lock().expect("a task is run once");
            self.run_task(&mut task, classes, total);
        });
        tasks
            .iter_mut()
            .map(|task| task.get_mut().expect("no task panicked").sum)
            .sum()
    }

    /// Number of samples in each task but the last. There is one even for an empty batch.
    fn samples_per_task(&self, samples: usize, classes: usize) -> usize {
        let work = classes.saturating_mul(self.loss.work_per_score());
        let tasks = samples.saturating_mul(work).div_ceil(SCORES_PER_TASK);
        let samples_per_task = samples.div_ceil(tasks.max(1)).max(1);
        samples_per_task.next_multiple_of(self.side_by_side(classes))
    }

    fn run_task<T: Score>(&self, task: &mut Task<'_, T>, classes: usize, total: f64) {
        thread_local! {
            static WORKSPACE: RefCell<Workspace> = RefCell::default();
        }
        WORKSPACE.with_borrow_mut(|workspace| {
            let samples = self.side_by_side(classes);
            let outputs = &mut task.outputs;
            let mut grad = outputs
                .grad
                .as_mut()
                .map(|grad| grad.chunks_mut(samples * classes));
            let scores = task.scores.chunks(samples * classes);
            let mut sum = 0.0;
            for (i, (scores, labels)) in scores.zip(task.labels.chunks(samples)).enumerate() {
                let rows = Rows {
                    first: task.first + i * samples,
                    scores,
                    labels,
                    grad: grad.as_mut().and_then(Iterator::next),
                    classes,
                    total,
                };
                let mut results = [SampleResult::default(); MAX_SIDE_BY_SIDE];
                let valid = match samples {
                    1 => self
                        .compute_sample(workspace, rows, outputs.losses.is_some())
                        .map(|result| results[0] = result),
                    _ => self.compute_side_by_side(workspace, rows, &mut results),
                };
                if valid.is_none() {
                    return;
                }
                for (i, result) in (i * samples..).zip(&results[..labels.len()]) {
                    if let Some(losses) = &mut outputs.losses {
                        losses[i] = result.loss;
                    }
                    if let Some(values) = &mut outputs.values {
                        values[i] = T::from_f64(result.value);
                    }
                    sum += result.value;
                }
            }
            task.sum = Some(sum);
        });
    }

    /// Number of samples that are computed side by side.
    fn side_by_side(&self, classes: usize) -> usize {
        if self.label_smoothing > 0.0 {
            return 1;
        }
        let samples = self.loss.side_by_side(classes);
        debug_assert!((1..=MAX_SIDE_BY_SIDE).contains(&samples));
        samples
    }

    /// Computes one sample; without label smoothing too, if `needs_loss`. Returns `None` if it is invalid.
    fn compute_sample<T: Score>(
        &self,
        workspace: &mut Workspace,
        row: Rows<'_, T>,
        needs_loss: bool,
    ) -> Option<SampleResult> {
        let label = row.labels[0];
        if Some(label) == self.ignore_index {
            if let Some(grad) = row.grad {
                grad.fill(T::default());
            }
            return Some(SampleResult::default());
        }
        let weight = self.weight_of(label);
        let label = validate(row.scores, label)?;
        let mut sample = Sample {
            index: row.first,
            scores: row.scores,
            label,
            factor: weight / row.total,
            grad: row.grad,
        };
        if self.label_smoothing > 0.0 {
            // The weights are part of the targets.
            sample.factor = row.total.recip();
            let value = self.smoothed(workspace, sample);
            let loss = match needs_loss {
                true => self.unsmoothed(workspace, row.first, row.scores, label),
                false => 0.0,
            };
            return Some(SampleResult { loss, value });
        }
        let loss = T::compute(&self.loss, workspace, sample);
        Some(SampleResult {
            loss,
            value: weight * loss,
        })
    }

    /// Computes samples side by side. Returns `None` if one is invalid.
    fn compute_side_by_side<T: Score>(
        &self,
        workspace: &mut Workspace,
        rows: Rows<'_, T>,
        results: &mut [SampleResult],
    ) -> Option<()> {
        let mut samples = [const { Sample::EMPTY }; MAX_SIDE_BY_SIDE];
        let mut weights = [0.0; MAX_SIDE_BY_SIDE];
        let mut indices = [0; MAX_SIDE_BY_SIDE];
        let mut count = 0;
        let mut grad = rows.grad.map(|grad| grad.chunks_exact_mut(rows.classes));
        let scores = rows.scores.chunks_exact(rows.classes);
        for (i, (scores, &label)) in scores.zip(rows.labels).enumerate() {
            let grad = grad.as_mut().and_then(Iterator::next);
            if Some(label) == self.ignore_index {
                if let Some(grad) = grad {
                    grad.fill(T::default());
                }
                continue;
            }
            weights[count] = self.weight_of(label);
            indices[count] = i;
            samples[count] = Sample {
                index: rows.first + i,
                scores,
                label: class_of(label, scores.len())?,
                factor: weights[count] / rows.total,
                grad,
            };
            count += 1;
        }
        let mut losses = [0.0; MAX_SIDE_BY_SIDE];
        let losses = &mut losses[..count];
        if !T::compute_side_by_side(&self.loss, workspace, &mut samples[..count], losses) {
            return None;
        }
        for ((&i, &loss), weight) in indices.iter().zip(&*losses).zip(weights) {
            results[i] = SampleResult {
                loss,
                value: weight * loss,
            };
        }
        Some(())
    }

    /// The error of the first invalid sample.
    fn first_error<T: Score>(&self, scores: &[T], labels: &[i64], classes: usize) -> LossError {
        let rows = scores.chunks_exact(classes).zip(labels);
        let (sample, (row, &label)) = rows
            .enumerate()
            .find(|(_, (row, label))| {
                Some(**label) != self.ignore_index && validate(row, **label).is_none()
            })
            .expect("a task found an invalid sample");
        match row.iter().position(|&score| !score.into().is_finite()) {
            Some(class) => LossError::NotFinite {
                sample,
                class,
                score: row[class].into(),
            },
            None => LossError::Label {
                sample,
                label,
                classes,
            },
        }
    }
}

/// Consecutive samples of a task that are computed together.
struct Rows<'a, T> {
    /// Index of the first sample in the batch.
    first: usize,
    scores: &'a [T],
    labels: &'a [i64],
    grad: Option<&'a mut [T]>,
    classes: usize,
    /// The divisor of the reduction.
    total: f64,
}

/// The loss of a sample, and what it contributes to the values; both are 0 where the label is ignored.
#[derive(Clone, Copy, Default)]
struct SampleResult {
    /// Before label smoothing and weight.
    loss: f64,
    value: f64,
}

/// The part of the outputs that belongs to a task.
struct TaskOutputs<'a, T> {
    /// The losses times the weights of their labels.
    values: Option<&'a mut [T]>,
    losses: Option<&'a mut [f64]>,
    grad: Option<&'a mut [T]>,
}

/// Batches are split into tasks of about this many scores, fewer for slow losses, which are worth handing to another
/// thread.
pub const SCORES_PER_TASK: usize = 1 << 14;

/// Consecutive samples of a batch.
struct Task<'a, T> {
    /// Index of the first sample.
    first: usize,
    scores: &'a [T],
    labels: &'a [i64],
    outputs: TaskOutputs<'a, T>,
    /// The sum of the losses times their weights, once the task has run and if all samples are valid.
    sum: Option<f64>,
}

fn check_output(output: &'static str, found: usize, expected: usize) -> Result<(), LossError> {
    if found == expected {
        Ok(())
    } else {
        Err(LossError::Output {
            output,
            found,
            expected,
        })
    }
}

/// The label as an index, if it is a class and all scores are finite.
fn validate<T: Score>(row: &[T], label: i64) -> Option<usize> {
    T::all_finite(row)
        .then(|| class_of(label, row.len()))
        .flatten()
}

/// The label as an index, if it is a class.
fn class_of(label: i64, classes: usize) -> Option<usize> {
    usize::try_from(label).ok().filter(|&label| label < classes)
}

#[cfg(test)]
mod tests;
