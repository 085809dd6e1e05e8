//! Properties of the losses for any scores, on random samples that are the same in every run.

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult};
use topk_ops::{
    BalancedNoisedTopk, CrossEntropy, DfTopk, DifferentiableTopkCrossEntropy, LapSum, Lml, Loss,
    LossError, MaxTopkSvm, Psi5, Score, SmoothTopkSvm, TopkHingeAlpha, TopkHingeBeta,
    TruncatedTopkEntropy,
};

/// A loss, and the properties that it lacks.
struct Member {
    loss: Box<dyn Loss>,
    /// Gradients at equal scores depend on the order of the classes.
    non_smooth: bool,
    /// Values depend on the order of the classes.
    noised: bool,
    /// Values may grow with the label's score.
    relaxed: bool,
}

fn family(k: usize, tau: f64, alpha: f64) -> Vec<Member> {
    let member = |loss| Member {
        loss,
        non_smooth: false,
        noised: false,
        relaxed: false,
    };
    let smooth = |loss| member(loss);
    let non_smooth = |loss| Member {
        non_smooth: true,
        ..member(loss)
    };
    let weights = vec![1.0 / k as f64; k];
    vec![
        smooth(Box::new(CrossEntropy)),
        smooth(Box::new(SmoothTopkSvm::new(k, tau, alpha).unwrap())),
        smooth(Box::new(Lml::new(k).unwrap())),
        smooth(Box::new(LapSum::new(k, tau).unwrap())),
        non_smooth(Box::new(DfTopk::new(k, tau).unwrap())),
        non_smooth(Box::new(MaxTopkSvm::new(k, alpha).unwrap())),
        non_smooth(Box::new(TopkHingeAlpha::new(k, alpha).unwrap())),
        non_smooth(Box::new(TopkHingeBeta::new(k, alpha).unwrap())),
        non_smooth(Box::new(TruncatedTopkEntropy::new(k).unwrap())),
        non_smooth(Box::new(Psi5::new(k, alpha).unwrap())),
        Member {
            noised: true,
            ..non_smooth(Box::new(
                BalancedNoisedTopk::new(k, tau, 3, alpha, 1).unwrap(),
            ))
        },
        Member {
            relaxed: true,
            ..member(Box::new(
                DifferentiableTopkCrossEntropy::new(weights, tau).unwrap(),
            ))
        },
    ]
}

/// Value and gradient.
fn evaluate<T: Score>(loss: &impl Loss, scores: &[T], label: usize) -> (f64, Vec<f64>) {
    let mut value = [T::default()];
    let mut grad = vec![T::default(); scores.len()];
    loss.forward_backward(scores, &[label as i64], &mut value, &mut grad)
        .unwrap();
    (value[0].into(), grad.into_iter().map(Into::into).collect())
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(1.0, |max, value| max.max(value.abs()))
}

fn assert_near(found: &[f64], expected: &[f64], bar: f64, context: &dyn Loss) -> TestCaseResult {
    let bar = bar * largest(expected);
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        prop_assert!(
            (found - expected).abs() <= bar,
            "{context:?}: {i}: {found} is not {expected}"
        );
    }
    Ok(())
}

#[test]
fn the_largest_k_is_an_error_that_names_the_number_of_classes() {
    let k = usize::MAX;
    let losses: Vec<Box<dyn Loss>> = vec![
        Box::new(SmoothTopkSvm::new(k, 1.0, 1.0).unwrap()),
        Box::new(Lml::new(k).unwrap()),
        Box::new(MaxTopkSvm::new(k, 1.0).unwrap()),
        Box::new(TopkHingeAlpha::new(k, 1.0).unwrap()),
        Box::new(TopkHingeBeta::new(k, 1.0).unwrap()),
        Box::new(TruncatedTopkEntropy::new(k).unwrap()),
        Box::new(Psi5::new(k, 1.0).unwrap()),
        Box::new(BalancedNoisedTopk::new(k, 0.2, 3, 1.0, 1).unwrap()),
        Box::new(LapSum::new(k, 1.0).unwrap()),
        Box::new(DfTopk::new(k, 1.0).unwrap()),
    ];
    for loss in losses {
        let few = Err(LossError::TooFewClasses {
            needed: usize::MAX,
            classes: 3,
        });
        let (mut value, mut grad) = ([0.0], [0.0; 3]);
        let scores = [0.5, 1.0, -2.0];
        assert_eq!(loss.forward(&scores, &[1], &mut value), few, "{loss:?}");
        let found = loss.forward_backward(&scores, &[1], &mut value, &mut grad);
        assert_eq!(found, few, "{loss:?}");
        let single = scores.map(|score: f64| score as f32);
        assert_eq!(loss.forward(&single, &[1], &mut [0.0]), few, "{loss:?}");
    }
}

#[derive(Clone, Debug)]
struct Sample {
    scores: Vec<f64>,
    label: usize,
    k: usize,
    tau: f64,
    alpha: f64,
}

impl Sample {
    fn family(&self) -> Vec<Member> {
        family(self.k, self.tau, self.alpha)
    }

    fn has_ties(&self) -> bool {
        let mut sorted = self.scores.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// Samples of up to `most` classes; in one of three, k is as large as it can be.
fn samples(
    most: usize,
    scores: impl Fn(usize) -> BoxedStrategy<Vec<f64>>,
) -> impl Strategy<Value = Sample> {
    (2..=most).prop_flat_map(move |classes| {
        let k = prop_oneof![2 => 1..classes, 1 => Just(classes - 1)];
        let parameters = (-2.0..2.0, prop_oneof![Just(0.0), 0.0..2.0]);
        (scores(classes), 0..classes, k, parameters).prop_map(
            |(scores, label, k, (log_tau, alpha))| Sample {
                scores,
                label,
                k,
                tau: f64::powf(10.0, log_tau),
                alpha,
            },
        )
    })
}

/// Multiples of 2⁻¹⁰ of three spreads, and few distinct numbers: sums of them are exact, and they are
/// the same in single precision.
fn plain(classes: usize) -> BoxedStrategy<Vec<f64>> {
    let of = |range: i32, unit: f64| {
        let score = (-range..=range).prop_map(move |i| f64::from(i) * unit);
        prop::collection::vec(score, classes)
    };
    prop_oneof![
        of(1000, 1.0 / 1024.0),
        of(10_000, 1.0 / 1024.0),
        of(1_000_000, 1.0 / 1024.0),
        of(2, 0.5)
    ]
    .boxed()
}

/// Either sign and any magnitude from 1e-30 to 1e30, and 0.
fn extreme(classes: usize) -> BoxedStrategy<Vec<f64>> {
    let magnitude = || (-30.0..30.0).prop_map(|log| f64::powf(10.0, log));
    let score = prop_oneof![
        4 => magnitude(),
        4 => magnitude().prop_map(|score| -score),
        1 => Just(0.0),
        1 => Just(-0.0),
        1 => prop_oneof![Just(1e30), Just(-1e30), Just(1e-30), Just(-1e-30)],
    ];
    prop::collection::vec(score, classes).boxed()
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1802_07595),
        ..ProptestConfig::default()
    }
}

/// ln of the binomial coefficient.
fn ln_choose(n: usize, k: usize) -> f64 {
    (0..k).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn gradients_sum_to_zero(sample in samples(24, plain)) {
        for Member { loss, .. } in sample.family() {
            let (_, grad) = evaluate(&loss, &sample.scores, sample.label);
            let sum = grad.iter().sum::<f64>();
            prop_assert!(sum.abs() <= 1e-12 * largest(&grad), "{loss:?}: {sum}");
        }
    }

    #[test]
    fn a_permutation_of_the_classes_permutes_the_gradient(
        (sample, order) in samples(24, plain).prop_flat_map(|sample| {
            let order: Vec<usize> = (0..sample.scores.len()).collect();
            (Just(sample), Just(order).prop_shuffle())
        })
    ) {
        let scores: Vec<f64> = order.iter().map(|&class| sample.scores[class]).collect();
        let label = order.iter().position(|&class| class == sample.label).unwrap();
        for Member { loss, non_smooth, noised, .. } in sample.family() {
            if noised {
                continue;
            }
            let (value, grad) = evaluate(&loss, &sample.scores, sample.label);
            let (permuted, permuted_grad) = evaluate(&loss, &scores, label);
            assert_near(&[permuted], &[value], 1e-13, &loss)?;
            if !(non_smooth && sample.has_ties()) {
                let grad: Vec<f64> = order.iter().map(|&class| grad[class]).collect();
                assert_near(&permuted_grad, &grad, 1e-12, &loss)?;
            }
        }
    }

    #[test]
    fn a_shift_of_all_scores_changes_nothing(sample in samples(24, plain), shift in -5000..5000) {
        let shifted = sample.scores.iter().map(|score| score + f64::from(shift));
        let shifted: Vec<f64> = shifted.collect();
        for Member { loss, .. } in sample.family() {
            let (value, grad) = evaluate(&loss, &sample.scores, sample.label);
            let (found, found_grad) = evaluate(&loss, &shifted, sample.label);
            assert_near(&[found], &[value], 1e-11, &loss)?;
            assert_near(&found_grad, &grad, 1e-13, &loss)?;
        }
    }

    #[test]
    fn the_smooth_loss_is_the_log_sum_exp_over_all_sets(sample in samples(8, plain)) {
        let Sample { scores, label, k, tau, alpha } = &sample;
        let (mut all, mut with_label) = (Vec::new(), Vec::new());
        for set in 0u32..1 << scores.len() {
            if set.count_ones() as usize == *k {
                let members = (0..scores.len()).filter(|i| set >> i & 1 == 1);
                let mean = members.map(|i| scores[i] - scores[*label]).sum::<f64>() / *k as f64;
                if set >> label & 1 == 1 {
                    all.push(mean / tau);
                    with_label.push(mean / tau);
                } else {
                    all.push((alpha + mean) / tau);
                }
            }
        }
        let log_sum_exp = |exponents: &[f64]| {
            let max = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            max + exponents.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
        };
        let expected = tau * (log_sum_exp(&all) - log_sum_exp(&with_label));
        let loss = SmoothTopkSvm::new(*k, *tau, *alpha).unwrap();
        let (value, _) = evaluate(&loss, scores, *label);
        // The two terms are differences to the label's score, which may be far from the others.
        let bar = 1e-14 * largest(&[largest(scores), *tau]);
        prop_assert!((value - expected).abs() <= bar, "{value} is not {expected}");
    }

    #[test]
    fn the_smooth_loss_is_near_the_hard_one(sample in samples(24, plain)) {
        // Of σ_j, the j highest scores alone give one of its C(n − 1, j) terms, and the largest:
        // ln σ_k − ln σ_(k−1) is the k-th wrong score, over kτ, but for −ln C(n − 1, k − 1) to
        // ln C(n − 1, k). τ ln(1 + exp(x/τ)) is max(0, x) but for 0 to τ ln 2.
        let Sample { scores, label, k, tau, alpha } = sample;
        let (hard, _) = evaluate(&MaxTopkSvm::new(k, alpha).unwrap(), &scores, label);
        let wrong = scores.len() - 1;
        let below = ln_choose(wrong, k - 1);
        let above = ln_choose(wrong, k) + 2f64.ln();
        for tau in [tau, 1e-3, 1e-6, 1e-9, 1e-12] {
            let (smooth, _) = evaluate(&SmoothTopkSvm::new(k, tau, alpha).unwrap(), &scores, label);
            let rounding = 1e-14 * hard.max(1.0);
            prop_assert!(smooth >= hard - tau * below - rounding, "{smooth} {hard} {tau}");
            prop_assert!(smooth <= hard + tau * above + rounding, "{smooth} {hard} {tau}");
        }
    }

    #[test]
    fn losses_do_not_grow_with_the_score_of_the_label(
        sample in samples(24, plain),
        rise in prop_oneof![1e-6..1.0, 1.0..1e3],
    ) {
        let mut raised = sample.scores.clone();
        raised[sample.label] += rise;
        for Member { loss, relaxed, .. } in sample.family() {
            if relaxed {
                continue;
            }
            let (value, grad) = evaluate(&loss, &sample.scores, sample.label);
            let (after, _) = evaluate(&loss, &raised, sample.label);
            prop_assert!(after <= value + 1e-13 * value.max(1.0), "{loss:?}: {value} {after}");
            prop_assert!(grad[sample.label] <= 0.0, "{loss:?}: {}", grad[sample.label]);
        }
    }

    #[test]
    fn any_finite_scores_give_finite_results(sample in samples(24, extreme)) {
        let single: Vec<f32> = sample.scores.iter().map(|&score| score as f32).collect();
        for Member { loss, relaxed, .. } in sample.family() {
            let results = [
                evaluate(&loss, &sample.scores, sample.label),
                evaluate(&loss, &single, sample.label),
            ];
            for (value, grad) in results {
                prop_assert!(value.is_finite() && (relaxed || value >= 0.0), "{loss:?}: {value}");
                prop_assert!(grad.iter().all(|g| g.is_finite()), "{loss:?}: {grad:?}");
            }
        }
    }

    #[test]
    fn the_value_is_the_same_without_the_gradient(sample in samples(24, extreme)) {
        for Member { loss, .. } in sample.family() {
            let mut value = [0.0];
            loss.forward(&sample.scores, &[sample.label as i64], &mut value).unwrap();
            prop_assert_eq!(value[0], evaluate(&loss, &sample.scores, sample.label).0);
        }
    }

    #[test]
    fn single_precision_agrees_with_double(sample in samples(24, plain)) {
        let single: Vec<f32> = sample.scores.iter().map(|&score| score as f32).collect();
        for Member { loss, .. } in sample.family() {
            let (value, grad) = evaluate(&loss, &single, sample.label);
            let (expected, expected_grad) = evaluate(&loss, &sample.scores, sample.label);
            assert_near(&[value], &[expected], 2e-7, &loss)?;
            assert_near(&grad, &expected_grad, 2e-7, &loss)?;
        }
    }
}
