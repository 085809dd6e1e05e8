use crate::LossError;
use crate::noise::standard_normals;
use crate::parameters::{
    check_alpha, check_k, check_min_classes, first_negative_or_not_finite, is_finite_nonnegative,
    more_than,
};
use crate::ranking::{Ranked, of_rank};
use crate::sample::{Sample, SampleLoss};
use crate::workspace::Workspace;

/// The noised top-k loss of Garcin, Servajean, Joly and Salmon, "Stochastic Smoothing of the Top-K
/// Calibrated Hinge Loss for Deep Imbalanced Classification", ICML 2022
/// ([arXiv 2202.02193](https://arxiv.org/abs/2202.02193)).
///
/// It is [`Psi5`](crate::Psi5) with the (k + 1)-th largest score smoothed by noise. For scores s ∈ Rⁿ,
/// label y, margin α ≥ 0, and standard normal vectors z⁽¹⁾, …, z⁽ᴮ⁾, with t⁽ᵇ⁾ the (k + 1)-th largest entry
/// of s + εz⁽ᵇ⁾ and i⁽ᵇ⁾ its class,
///
/// ```text
/// loss = max(0, α + (t⁽¹⁾ + … + t⁽ᴮ⁾) / B − s_y)
/// ```
///
/// The noise affects the ranking and the t, but not s_y. Where the loss is positive, its derivative with
/// respect to the score of class i is the fraction of the draws with i⁽ᵇ⁾ = i, minus 1 for the label;
/// otherwise all derivatives are 0. This is the derivative for the given noise, and an unbiased estimate
/// of that of the expected t. ε = 0 gives [`Psi5`](crate::Psi5) for any B; of equal entries the lower
/// class comes first. At least k + 1 classes are needed. Time is O(n·B) per sample.
///
/// The loss that the paper calls imbalanced has one margin per class, set by
/// [`with_margins`](Self::with_margins) or [`with_class_counts`](Self::with_class_counts). (The authors'
/// code also multiplies that loss by about 60, for scores that are cosines.)
///
/// The noise is a function of the seed, the sample's index in the batch, the draw and the class, by
/// [`noise::standard_normal`](crate::noise::standard_normal): the same call gives the same values, on any
/// number of threads. Give each training step [its own seed](Self::with_seed).
#[derive(Clone, Debug, PartialEq)]
pub struct BalancedNoisedTopk {
    k: usize,
    epsilon: f64,
    draws: usize,
    alpha: f64,
    margins: Option<Vec<f64>>,
    seed: u64,
}

impl BalancedNoisedTopk {
    /// A loss for top-`k` accuracy with noise of standard deviation `epsilon`, averaged over `draws`,
    /// and margin `alpha`. `epsilon` and `alpha` are in units of the scores. The paper uses `alpha` = 1,
    /// `epsilon` = 0.2 with 10 draws for CIFAR-100, and 1 with 5 draws for Pl@ntNet-300K.
    ///
    /// # Errors
    /// If `k` or `draws` is 0, or `epsilon` or `alpha` is negative or not finite.
    pub fn new(
        k: usize,
        epsilon: f64,
        draws: usize,
        alpha: f64,
        seed: u64,
    ) -> Result<Self, LossError> {
        if !is_finite_nonnegative(epsilon) {
            return Err(LossError::Epsilon(epsilon));
        }
        if draws == 0 {
            return Err(LossError::ZeroDraws);
        }
        Ok(Self {
            k: check_k(k)?,
            epsilon,
            draws,
            alpha: check_alpha(alpha)?,
            margins: None,
            seed,
        })
    }

    /// Replaces the margin by one margin per class, which applies to samples with that label.
    ///
    /// # Errors
    /// If a margin is negative or not finite.
    pub fn with_margins(mut self, margins: Vec<f64>) -> Result<Self, LossError> {
        if let Some((class, margin)) = first_negative_or_not_finite(&margins) {
            return Err(LossError::Margin { class, margin });
        }
        self.margins = Some(margins);
        Ok(self)
    }

    /// Sets margins C / count^¼ for classes with these numbers of training samples, as in LDAM (Cao et al.,
    /// NeurIPS 2019), with C chosen so that the largest margin is `max_margin`. The authors use 0.2, for
    /// cosines.
    ///
    /// # Errors
    /// If a count is 0, or `max_margin` is negative or not finite.
    pub fn with_class_counts(self, counts: &[u64], max_margin: f64) -> Result<Self, LossError> {
        check_alpha(max_margin)?;
        if let Some(class) = counts.iter().position(|&count| count == 0) {
            return Err(LossError::NoSamples { class });
        }
        let lowest = counts.iter().min().map_or(1.0, |&lowest| lowest as f64);
        let margin = |&count: &u64| max_margin * (lowest / count as f64).powf(0.25);
        self.with_margins(counts.iter().map(margin).collect())
    }

    /// The same loss with the noise of another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Number of highest scores among which the label should be.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Standard deviation of the noise.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Number of noise vectors per sample.
    pub fn draws(&self) -> usize {
        self.draws
    }

    /// Margin of all classes, unless there is [one per class](Self::margins).
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Margin of each class, if they were set.
    pub fn margins(&self) -> Option<&[f64]> {
        self.margins.as_deref()
    }

    /// Seed of the noise.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// Buffers for one sample.
#[derive(Debug, Default)]
struct Buffers {
    noised: Vec<f64>,
    ranked: Vec<Ranked>,
}

impl SampleLoss for BalancedNoisedTopk {
    fn min_classes(&self) -> usize {
        more_than(self.k)
    }

    fn check_classes(&self, classes: usize) -> Result<(), LossError> {
        check_min_classes(self.min_classes(), classes)?;
        match &self.margins {
            Some(margins) if margins.len() != classes => Err(LossError::MarginCount {
                margins: margins.len(),
                classes,
            }),
            _ => Ok(()),
        }
    }

    fn work_per_score(&self) -> usize {
        self.draws.saturating_mul(16)
    }

    fn compute_f64(&self, workspace: &mut Workspace, sample: Sample<'_, f64>) -> f64 {
        let Sample {
            scores,
            label,
            factor,
            mut grad,
            ..
        } = sample;
        if let Some(grad) = &mut grad {
            grad.fill(0.0);
        }
        let Buffers { noised, ranked } = workspace.of_loss();
        noised.resize(scores.len(), 0.0);
        let mut sum = 0.0;
        for draw in 0..self.draws {
            standard_normals(self.seed, sample.index as u64, draw as u64, noised);
            for (noised, score) in noised.iter_mut().zip(scores) {
                *noised = score + self.epsilon * *noised;
            }
            let (next, class) = of_rank(self.k, noised, ranked);
            // Near the hinge differences of scores are small; sums of scores need not be.
            sum += next - scores[label];
            if let Some(grad) = &mut grad {
                grad[class] += 1.0;
            }
        }
        let draws = self.draws as f64;
        let alpha = match &self.margins {
            Some(margins) => margins[label],
            None => self.alpha,
        };
        let hinge = alpha + sum / draws;
        if let Some(grad) = grad {
            if hinge > 0.0 {
                grad[label] -= draws;
                for g in grad {
                    *g *= factor / draws;
                }
            } else {
                grad.fill(0.0);
            }
        }
        hinge.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::evaluate::{assert_gradient_is_slope, distinct_scores, evaluate, sorted};
    use crate::noise::standard_normal;
    use crate::{Criterion, Loss, Psi5, Reduction};

    fn loss(k: usize, epsilon: f64, draws: usize) -> BalancedNoisedTopk {
        BalancedNoisedTopk::new(k, epsilon, draws, 1.0, 42).unwrap()
    }

    /// The definition, for the sample of this index in the batch.
    fn by_sorting(loss: &BalancedNoisedTopk, scores: &[f64], label: usize, sample: u64) -> f64 {
        let noised = |draw: usize| {
            let z = |class| standard_normal(loss.seed, sample, draw as u64, class as u64);
            sorted((0..scores.len()).map(|i| scores[i] + loss.epsilon * z(i)))[loss.k]
        };
        let mean = (0..loss.draws).map(noised).sum::<f64>() / loss.draws as f64;
        f64::max(0.0, loss.alpha + mean - scores[label])
    }

    #[test]
    fn equals_the_definition_with_all_classes_sorted() {
        for (seed, k) in [1, 2, 3, 6, 8].into_iter().enumerate() {
            for label in 0..9 {
                for (epsilon, draws) in [(0.3, 1), (1.0, 5), (0.01, 10)] {
                    let scores = distinct_scores(9, 1.0, seed as u64);
                    let loss = loss(k, epsilon, draws);
                    let (value, _) = evaluate(&loss, &scores, label);
                    let expected = by_sorting(&loss, &scores, label, 0);
                    assert!((value - expected).abs() < 1e-14);
                    assert_gradient_is_slope(&loss, &scores, label);
                }
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_threads_or_tasks() {
        // Several tasks, with some ignored samples.
        let (samples, classes) = (120, 500);
        let scores = distinct_scores(samples * classes, 2.0, 5);
        let labels: Vec<i64> = (0..samples as i64)
            .map(|i| if i % 7 == 3 { -1 } else { i })
            .collect();
        let loss = loss(5, 0.5, 3);
        let mut values = vec![f64::NAN; samples];
        let mut grad = vec![f64::NAN; scores.len()];
        Criterion::new(&loss)
            .with_reduction(Reduction::None)
            .with_ignore_index(-1)
            .forward_backward(&scores, &labels, &mut values, &mut grad)
            .unwrap();
        let mut workspace = Workspace::default();
        for (index, &label) in labels.iter().enumerate() {
            if let Ok(label) = usize::try_from(label) {
                let row = index * classes..(index + 1) * classes;
                let mut row_grad = vec![f64::NAN; classes];
                let sample = Sample {
                    index,
                    scores: &scores[row.clone()],
                    label,
                    factor: 1.0,
                    grad: Some(&mut row_grad),
                };
                assert_eq!(loss.compute_f64(&mut workspace, sample), values[index]);
                assert_eq!(row_grad, grad[row.clone()]);
                let expected = by_sorting(&loss, &scores[row], label, index as u64);
                assert!((values[index] - expected).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn the_noise_depends_on_the_seed() {
        let scores = distinct_scores(20, 1.0, 9);
        let of = |seed| evaluate(&loss(3, 1.0, 5).with_seed(seed), &scores, 4);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1).0, of(2).0);
        assert_eq!(loss(3, 1.0, 5).with_seed(7).seed(), 7);
    }

    #[test]
    fn without_noise_it_equals_psi5() {
        for (k, label) in [(1, 0), (3, 4), (8, 8)] {
            let psi5 = Psi5::new(k, 1.0).unwrap();
            for scores in [distinct_scores(9, 1.0, 2), vec![0.5; 9]] {
                let expected = evaluate(&psi5, &scores, label);
                assert_eq!(evaluate(&loss(k, 0.0, 1), &scores, label), expected);
                assert_eq!(evaluate(&loss(k, 0.0, 4), &scores, label), expected);
            }
        }
    }

    #[test]
    fn tends_to_the_expected_order_statistic() {
        // The mean of the least of two standard normal values is −1/√π.
        let draws = 40_000;
        let (value, grad) = evaluate(&loss(1, 1.0, draws), &[0.0, 0.0], 0);
        let expected = 1.0 - 1.0 / std::f64::consts::PI.sqrt();
        assert!((value - expected).abs() < 5.0 / f64::sqrt(draws as f64));
        assert!((grad[1] - 0.5).abs() < 2.5 / f64::sqrt(draws as f64));
    }

    #[test]
    fn margins_apply_per_class() {
        let scores = [0.3, 0.1, 0.2];
        let margins = loss(1, 0.5, 5).with_margins(vec![1.0, 2.0, 3.0]).unwrap();
        for label in 0..3 {
            let alpha = margins.margins().unwrap()[label];
            let one = BalancedNoisedTopk::new(1, 0.5, 5, alpha, 42).unwrap();
            assert_eq!(
                evaluate(&margins, &scores, label),
                evaluate(&one, &scores, label)
            );
        }
        let counted = loss(1, 0.5, 5).with_class_counts(&[160, 10, 810], 0.3);
        let counted = counted.unwrap();
        let expected = [0.15, 0.3, 0.1];
        for (margin, expected) in counted.margins().unwrap().iter().zip(expected) {
            assert!((margin - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn finite_at_any_scale() {
        for scale in [1e-30, 1.0, 1e30] {
            for (k, label) in [(1, 0), (3, 4), (8, 8)] {
                let scores = distinct_scores(9, scale, 1);
                let (value, grad) = evaluate(&loss(k, 1.0, 5), &scores, label);
                assert!(value.is_finite() && value >= 0.0);
                assert!(grad.iter().all(|g| g.abs() <= 1.0));
            }
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        let new = |k, epsilon, draws, alpha| {
            let error = BalancedNoisedTopk::new(k, epsilon, draws, alpha, 0).unwrap_err();
            error.to_string()
        };
        assert_eq!(new(0, 1.0, 5, 1.0), "k must be at least 1, got 0");
        assert_eq!(
            new(1, -1.0, 5, 1.0),
            "epsilon (standard deviation of the noise) must be a finite number of at least 0, got -1"
        );
        assert_eq!(
            new(1, 1.0, 0, 1.0),
            "the number of draws must be at least 1, got 0"
        );
        assert_eq!(
            new(1, 1.0, 5, f64::INFINITY),
            "alpha (margin) must be a finite number of at least 0, got inf"
        );
        let error = loss(1, 1.0, 5).with_margins(vec![0.0, -2.0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the margin of class 1 must be a finite number of at least 0, got -2"
        );
        let error = loss(1, 1.0, 5).with_class_counts(&[3, 0], 1.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "class 1 has no training samples; per-class margins are computed from sample counts"
        );
        let margins: Box<dyn Loss> = Box::new(loss(1, 1.0, 5).with_margins(vec![1.0; 4]).unwrap());
        let error = margins.forward(&[0.0; 3], &[0], &mut [0.0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "4 class margins for 3 classes: expected one per class"
        );
        assert_eq!(
            loss(3, 1.0, 5).check_classes(3),
            Err(LossError::TooFewClasses {
                needed: 4,
                classes: 3
            })
        );
    }
}
