use std::cell::RefCell;
use std::sync::Mutex;

use crate::loss::{Sample, Workspace, first_no_magnitude};
use crate::{Executor, Loss, LossError, Rayon, Score};

/// How the losses of a batch are combined.
///
/// With the feature `clap` it is a `clap::ValueEnum`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Reduction {
    /// One loss per sample
    None,
    /// Sum over the batch
    Sum,
    /// Mean over the batch, weighted by the class weights of the labels
    #[default]
    Mean,
}

impl Reduction {
    /// The name on command lines and in ONNX files: `none`, `sum` or `mean`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sum => "sum",
            Self::Mean => "mean",
        }
    }
}

/// Where [`Criterion::compute`] writes, for a batch of N samples and C classes.
#[derive(Debug)]
pub struct Outputs<'a, T> {
    /// The loss: `[N]` without reduction, otherwise one entry.
    pub values: &'a mut [T],
    /// The loss of each sample before weight, reduction and rounding, `[N]`; 0 where the label is
    /// ignored.
    pub losses: Option<&'a mut [f64]>,
    /// The derivatives of the sum of `values` with respect to the scores, `[N, C]`.
    pub grad: Option<&'a mut [T]>,
}

impl<'a, T> Outputs<'a, T> {
    /// The loss alone.
    pub fn new(values: &'a mut [T]) -> Self {
        Self {
            values,
            losses: None,
            grad: None,
        }
    }
}

/// A loss with the options that PyTorch's losses have: reduction, weights of classes, and a label
/// for samples that do not count.
///
/// Scores are row-major, one row of `classes` entries for each label, so `classes` is
/// `scores.len() / labels.len()`. As in PyTorch, the loss of a sample is multiplied by the weight of its
/// label, and the mean divides by the sum of the weights. A sample whose label is ignored has loss 0
/// and gradient 0, its scores are not looked at, and it does not count in the mean. The mean of no
/// samples, be the batch empty or all ignored, is NaN.
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
}

impl<L: Loss> Criterion<L> {
    /// The mean over the batch, of samples of equal weight, with no label ignored. (PyTorch's
    /// cross-entropy ignores label −100 unasked.)
    pub fn new(loss: L) -> Self {
        Self {
            loss,
            reduction: Reduction::Mean,
            ignore_index: None,
            weight: None,
        }
    }

    /// Sets the reduction.
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Samples with this label do not count. It may be any number, a class or not.
    #[must_use]
    pub fn with_ignore_index(mut self, label: i64) -> Self {
        self.ignore_index = Some(label);
        self
    }

    /// Multiplies the loss of each sample by the weight of its label; `weight` has an entry for each
    /// class.
    ///
    /// # Errors
    /// If a weight is negative or not finite.
    pub fn with_weight(mut self, weight: Vec<f64>) -> Result<Self, LossError> {
        if let Some((class, weight)) = first_no_magnitude(&weight) {
            return Err(LossError::Weight { class, weight });
        }
        self.weight = Some(weight);
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

    /// The label of samples that do not count.
    pub fn ignore_index(&self) -> Option<i64> {
        self.ignore_index
    }

    /// Weights of the classes.
    pub fn weight(&self) -> Option<&[f64]> {
        self.weight.as_deref()
    }

    /// Whether the loss can be computed with this number of classes.
    ///
    /// # Errors
    /// If there are too few, or not as many as weights.
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

    /// Length of the output for this number of samples.
    pub fn output_len(&self, samples: usize) -> usize {
        match self.reduction {
            Reduction::None => samples,
            Reduction::Sum | Reduction::Mean => 1,
        }
    }

    /// The loss: an entry for each sample without reduction, otherwise one.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is not usable. What `values` holds then is
    /// unspecified.
    pub fn forward<T: Score>(
        &self,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
    ) -> Result<(), LossError> {
        self.compute(&Rayon, scores, labels, Outputs::new(values))
    }

    /// The loss, and its derivative with respect to each score: of the sample's own loss without
    /// reduction, otherwise of the output.
    ///
    /// `grad` has the shape of `scores`.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is not usable. What `values` and `grad` hold then
    /// is unspecified.
    pub fn forward_backward<T: Score>(
        &self,
        scores: &[T],
        labels: &[i64],
        values: &mut [T],
        grad: &mut [T],
    ) -> Result<(), LossError> {
        let outputs = Outputs {
            grad: Some(grad),
            ..Outputs::new(values)
        };
        self.compute(&Rayon, scores, labels, outputs)
    }

    /// What [`forward`](Self::forward) and [`forward_backward`](Self::forward_backward) compute, and
    /// more if asked for, on threads of the caller's choice.
    ///
    /// # Errors
    /// [`LossError`] if a shape, label or score is not usable. What the outputs hold then is
    /// unspecified.
    pub fn compute<T: Score>(
        &self,
        executor: &impl Executor,
        scores: &[T],
        labels: &[i64],
        outputs: Outputs<'_, T>,
    ) -> Result<(), LossError> {
        let Outputs {
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
        let outputs = SampleOutputs {
            values: each,
            losses,
            grad,
        };
        let sum = self
            .tasks(executor, classes, total, scores, labels, outputs)
            .ok_or_else(|| self.first_fault(scores, labels, classes))?;
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

    /// Weight of the samples with this label; NaN if there can be none.
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

    /// The sum of all losses, times their weights; `None` if a sample is not usable.
    fn tasks<T: Score>(
        &self,
        executor: &impl Executor,
        classes: usize,
        total: f64,
        scores: &[T],
        labels: &[i64],
        outputs: SampleOutputs<'_, T>,
    ) -> Option<f64> {
        // The division into tasks depends on nothing but the shape, so that sums do not either.
        let samples = (SCORES_A_TASK / classes).max(1);
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
                outputs: SampleOutputs {
                    values: values.as_mut().and_then(Iterator::next),
                    losses: losses.as_mut().and_then(Iterator::next),
                    grad: grad.as_mut().and_then(Iterator::next),
                },
                sum: None,
            });
        if labels.len() <= samples {
            return tasks.next().map_or(Some(0.0), |mut task| {
                self.run(&mut task, classes, total);
                task.sum
            });
        }
        let mut tasks: Vec<_> = tasks.map(Mutex::new).collect();
        executor.for_each(tasks.len(), &|i| {
            let mut task = tasks[i].lock().expect("a task is run once");
            self.run(&mut task, classes, total);
        });
        tasks
            .iter_mut()
            .map(|task| task.get_mut().expect("no task panicked").sum)
            .sum()
    }

    fn run<T: Score>(&self, task: &mut Task<'_, T>, classes: usize, total: f64) {
        thread_local! {
            static WORKSPACE: RefCell<Workspace> = RefCell::default();
        }
        WORKSPACE.with_borrow_mut(|workspace| {
            let mut sum = 0.0;
            let outputs = &mut task.outputs;
            let mut grad = outputs
                .grad
                .as_mut()
                .map(|grad| grad.chunks_exact_mut(classes));
            let rows = task.scores.chunks_exact(classes).zip(task.labels);
            for (i, (scores, &label)) in rows.enumerate() {
                let grad = grad.as_mut().and_then(Iterator::next);
                let weight = self.weight_of(label);
                let loss = if Some(label) == self.ignore_index {
                    if let Some(grad) = grad {
                        grad.fill(T::default());
                    }
                    0.0
                } else {
                    let Some(label) = usable(scores, label) else {
                        return;
                    };
                    let sample = Sample {
                        index: task.first + i,
                        scores,
                        label,
                        factor: weight / total,
                        grad,
                    };
                    T::sample(&self.loss, workspace, sample)
                };
                if let Some(losses) = &mut outputs.losses {
                    losses[i] = loss;
                }
                let value = weight * loss;
                if let Some(values) = &mut outputs.values {
                    values[i] = T::from_f64(value);
                }
                sum += value;
            }
            task.sum = Some(sum);
        });
    }

    /// What is wrong with the first sample that is not usable.
    fn first_fault<T: Score>(&self, scores: &[T], labels: &[i64], classes: usize) -> LossError {
        let rows = scores.chunks_exact(classes).zip(labels);
        let (sample, (row, &label)) = rows
            .enumerate()
            .find(|(_, (row, label))| {
                Some(**label) != self.ignore_index && usable(row, **label).is_none()
            })
            .expect("a sample was found not usable");
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

/// What is computed for each sample.
struct SampleOutputs<'a, T> {
    /// The losses times their weights.
    values: Option<&'a mut [T]>,
    losses: Option<&'a mut [f64]>,
    grad: Option<&'a mut [T]>,
}

/// Scores that are worth handing to another thread.
const SCORES_A_TASK: usize = 1 << 14;

/// Consecutive samples of a batch.
struct Task<'a, T> {
    /// Index of the first one.
    first: usize,
    scores: &'a [T],
    labels: &'a [i64],
    outputs: SampleOutputs<'a, T>,
    /// The sum of their losses, times their weights, when they are done; none if one is not usable.
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

/// The label as an index, if it is one and all scores are finite.
fn usable<T: Score>(row: &[T], label: i64) -> Option<usize> {
    let label = usize::try_from(label)
        .ok()
        .filter(|&label| label < row.len())?;
    T::all_finite(row).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CrossEntropy, MaxTopkSvm, SmoothTopkSvm, bf16, f16};

    const SCORES: [f64; 12] = [
        0.3, -1.0, 2.0, 0.5, 1.1, 0.2, 0.9, -0.4, 0.0, 0.7, -2.0, 1.6,
    ];
    const LABELS: [i64; 3] = [2, -1, 0];
    const WEIGHT: [f64; 4] = [0.5, 9.0, 2.0, 9.0];

    fn svm() -> SmoothTopkSvm {
        SmoothTopkSvm::new(2, 0.5, 1.0).unwrap()
    }

    fn criterion(reduction: Reduction) -> Criterion<SmoothTopkSvm> {
        let criterion = Criterion::new(svm()).with_ignore_index(-1);
        let criterion = criterion.with_weight(WEIGHT.to_vec()).unwrap();
        criterion.with_reduction(reduction)
    }

    /// Values and gradient of the three samples without options; the second one's label is 1.
    fn plain() -> ([f64; 3], [f64; 12]) {
        let (mut values, mut grad) = ([0.0; 3], [0.0; 12]);
        svm()
            .forward_backward(&SCORES, &[2, 1, 0], &mut values, &mut grad)
            .unwrap();
        (values, grad)
    }

    #[test]
    fn weights_of_labels_and_ignored_samples() {
        let (plain_values, plain_grad) = plain();
        let total = 2.0 * plain_values[0] + 0.5 * plain_values[2];
        let cases = [
            (
                Reduction::None,
                1.0,
                vec![2.0 * plain_values[0], 0.0, 0.5 * plain_values[2]],
            ),
            (Reduction::Sum, 1.0, vec![total]),
            (Reduction::Mean, 2.5, vec![total / 2.5]),
        ];
        for (reduction, divisor, expected) in cases {
            let mut values = vec![f64::NAN; expected.len()];
            let mut grad = [f64::NAN; 12];
            let criterion = criterion(reduction);
            criterion
                .forward_backward(&SCORES, &LABELS, &mut values, &mut grad)
                .unwrap();
            for (found, expected) in values.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-14, "{reduction:?}");
            }
            for (i, (found, plain)) in grad.iter().zip(plain_grad).enumerate() {
                let expected = [2.0, 0.0, 0.5][i / 4] / divisor * plain;
                assert!((found - expected).abs() < 1e-15, "{reduction:?} {i}");
            }
            let mut forward = vec![f64::NAN; expected.len()];
            criterion.forward(&SCORES, &LABELS, &mut forward).unwrap();
            assert_eq!(forward, values);
        }
    }

    #[test]
    fn scores_of_ignored_samples_are_not_looked_at() {
        let mut scores = SCORES;
        scores[4..8].fill(f64::NAN);
        let (mut mean, mut grad) = ([0.0], [1.0; 12]);
        criterion(Reduction::Mean)
            .forward_backward(&scores, &LABELS, &mut mean, &mut grad)
            .unwrap();
        assert!(mean[0].is_finite());
        assert_eq!(grad[4..8], [0.0; 4]);
    }

    #[test]
    fn no_samples() {
        let of = |reduction, scores: &[f64], labels: &[i64]| {
            let mut value = [1.0];
            let criterion = criterion(reduction);
            criterion.forward(scores, labels, &mut value).unwrap();
            value[0]
        };
        assert_eq!(of(Reduction::Sum, &[], &[]), 0.0);
        assert!(of(Reduction::Mean, &[], &[]).is_nan());
        assert_eq!(of(Reduction::Sum, &SCORES, &[-1; 3]), 0.0);
        assert!(of(Reduction::Mean, &SCORES, &[-1; 3]).is_nan());
        let nothing: &mut [f64; 0] = &mut [];
        criterion(Reduction::None)
            .forward_backward(&[], &[], nothing, &mut [])
            .unwrap();
    }

    #[test]
    fn sums_do_not_depend_on_the_executor() {
        struct Backwards;
        impl Executor for Backwards {
            fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
                assert!(tasks > 1);
                (0..tasks).rev().for_each(task);
            }
        }
        let (samples, classes) = (200, 300);
        let scores: Vec<f32> = (0..samples * classes).map(|i| f32::sin(i as f32)).collect();
        let labels: Vec<i64> = (0..samples as i64).collect();
        let criterion = Criterion::new(svm());
        let (mut mean, mut grad) = ([0.0], vec![0.0; scores.len()]);
        criterion
            .forward_backward(&scores, &labels, &mut mean, &mut grad)
            .unwrap();
        let (mut mean_backwards, mut grad_backwards) = ([0.0], vec![0.0; scores.len()]);
        let mut losses = vec![f64::NAN; samples];
        let outputs = Outputs {
            values: &mut mean_backwards,
            losses: Some(&mut losses),
            grad: Some(&mut grad_backwards),
        };
        criterion
            .compute(&Backwards, &scores, &labels, outputs)
            .unwrap();
        assert_eq!(mean, mean_backwards);
        assert_eq!(grad, grad_backwards);
        let mut values = vec![f32::NAN; samples];
        let each = criterion.with_reduction(Reduction::None);
        each.forward(&scores, &labels, &mut values).unwrap();
        let rounded: Vec<_> = losses.iter().map(|&loss| loss as f32).collect();
        assert_eq!(values, rounded);
    }

    #[test]
    fn losses_of_samples_have_neither_weight_nor_reduction() {
        let (plain_values, _) = plain();
        for reduction in [Reduction::None, Reduction::Sum, Reduction::Mean] {
            let criterion = criterion(reduction);
            let mut values = vec![f64::NAN; criterion.output_len(3)];
            let mut losses = [f64::NAN; 3];
            let outputs = Outputs {
                losses: Some(&mut losses),
                ..Outputs::new(&mut values)
            };
            criterion
                .compute(&Rayon, &SCORES, &LABELS, outputs)
                .unwrap();
            assert_eq!(losses, [plain_values[0], 0.0, plain_values[2]]);
            let mut alone = vec![f64::NAN; values.len()];
            criterion.forward(&SCORES, &LABELS, &mut alone).unwrap();
            assert_eq!(values, alone);
        }
        // Half precision rounds values and gradient, but not these.
        let scores = SCORES.map(f16::from_f64);
        let (mut values, mut losses) = ([f16::default(); 3], [0.0; 3]);
        let outputs = Outputs {
            losses: Some(&mut losses),
            ..Outputs::new(&mut values)
        };
        Criterion::new(svm())
            .with_reduction(Reduction::None)
            .compute(&Rayon, &scores, &[2, 1, 0], outputs)
            .unwrap();
        assert_eq!(values, losses.map(f16::from_f64));
        assert_ne!(losses, values.map(f64::from));
    }

    #[test]
    fn half_precision_is_computed_in_single() {
        fn check<T: Score>(epsilon: f64) {
            let scores = SCORES.map(T::from_f64);
            let (mut values, mut grad) = ([T::default(); 3], [T::default(); 12]);
            svm()
                .forward_backward(&scores, &[2, 1, 0], &mut values, &mut grad)
                .unwrap();
            // The same scores, once rounded, in double precision.
            let scores = scores.map(Into::<f64>::into);
            let (mut wide_values, mut wide_grad) = ([0.0; 3], [0.0; 12]);
            svm()
                .forward_backward(&scores, &[2, 1, 0], &mut wide_values, &mut wide_grad)
                .unwrap();
            let pairs = values.iter().zip(&wide_values);
            for (&found, &expected) in pairs.chain(grad.iter().zip(&wide_grad)) {
                let error = (found.into() - expected).abs();
                assert!(
                    error <= 0.51 * epsilon * expected.abs() + 1e-6,
                    "{found:?} {expected}"
                );
            }
        }
        check::<f16>(f16::EPSILON.into());
        check::<bf16>(bf16::EPSILON.into());
    }

    #[test]
    fn losses_behind_a_pointer() {
        let losses: [Box<dyn Loss>; 3] = [
            Box::new(CrossEntropy),
            Box::new(MaxTopkSvm::new(2, 1.0).unwrap()),
            Box::new(svm()),
        ];
        let mut values = [0.0; 3];
        for loss in losses {
            loss.forward(&SCORES, &[2, 1, 0], &mut values).unwrap();
        }
        assert_eq!(values, plain().0);
    }

    #[test]
    fn bad_options_and_batches_are_named() {
        let weighted = |weight: &[f64]| Criterion::new(svm()).with_weight(weight.to_vec());
        assert_eq!(
            weighted(&[1.0, -0.5]).unwrap_err().to_string(),
            "the weight of class 1 must be a finite number of at least 0, got -0.5"
        );
        let error = weighted(&[1.0; 3])
            .unwrap()
            .forward(&SCORES, &[0; 3], &mut [0.0])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 class weights for 4 classes: expected one a class"
        );
        let error = criterion(Reduction::Mean)
            .forward(&SCORES, &[0, 1, 4], &mut [0.0])
            .unwrap_err();
        assert_eq!(error.to_string(), "label 4 of sample 2 is not in 0..4");
        let error = criterion(Reduction::Mean)
            .forward(&SCORES, &LABELS, &mut [0.0; 3])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the values slice holds 3 entries, expected 1"
        );
        let (mut mean, mut losses) = ([0.0], [0.0; 2]);
        let outputs = Outputs {
            losses: Some(&mut losses),
            ..Outputs::new(&mut mean)
        };
        let error = criterion(Reduction::Mean)
            .compute(&Rayon, &SCORES, &LABELS, outputs)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the losses slice holds 2 entries, expected 3"
        );
    }
}
