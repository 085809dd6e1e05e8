//! `f32` scores and k up to [`MAX_K`](crate::elementary_symmetric::tail::MAX_K), several samples side by side.
//!
//! For k > 1 all classes except a few more than k, the [`tail`], are computed in `f32` vectors, and the others with those of
//! the other samples ([`SideBySide`]).

use super::SmoothTopkSvm;
use crate::elementary_symmetric::power_sums::{self, POWERS, PartialSums};
use crate::elementary_symmetric::side_by_side::{self, OfSamples, SAMPLES, SideBySide, for_lanes};
use crate::elementary_symmetric::tail::{self, Polynomials};
use crate::sample::Sample;
use crate::simd::{self, Highest, Row, vectorized};
use crate::workspace::Workspace;

/// Scores of samples side by side. With their gradients they take 128 KiB, which the second-level cache of most processors
/// has for a core.
const SCORES: usize = 1 << 14;

/// Number of samples of this many classes that are computed side by side: at least two, which share the time of the
/// heads.
pub(super) fn samples_side_by_side(classes: usize) -> usize {
    (SCORES / classes).clamp(2, SAMPLES)
}

/// Buffers for the samples side by side.
#[derive(Debug, Default)]
struct Buffers {
    heads: Highest,
    /// Weights of samples whose gradient is not requested.
    weights: Vec<f32>,
    /// Power sums of the tails.
    sums: [PartialSums; SAMPLES],
    /// The tail of one sample.
    tail: Polynomials,
    polynomials: SideBySide,
}

impl SmoothTopkSvm {
    /// Sets the losses, of at most [`SAMPLES`] samples, and their gradients. Returns whether all scores are finite; if not, they
    /// are unspecified.
    pub(super) fn side_by_side_f32(
        &self,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, f32>],
        values: &mut [f64],
    ) -> bool {
        match self.k {
            1 => self.top1_side_by_side(workspace, samples, values),
            _ => self.topk_side_by_side(workspace, samples, values),
        }
    }

    /// k = 1, where e_1 is a sum and e_0 is 1.
    fn top1_side_by_side(
        &self,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, f32>],
        values: &mut [f64],
    ) -> bool {
        let mut maxima = [0f32; SAMPLES];
        let mut sums = [1.0; SAMPLES];
        for ((sample, max), sum) in samples.iter_mut().zip(&mut maxima).zip(&mut sums) {
            let Sample { scores, label, .. } = *sample;
            if !simd::all_finite(scores) {
                return false;
            }
            if let [first, second] = *scores {
                // The sum has one term, which is 1.
                *max = if label == 0 { second } else { first };
                continue;
            }
            *max = simd::max(&scores[..label]).max(simd::max(&scores[label + 1..]));
            let weights = match &mut sample.grad {
                Some(grad) => grad,
                None => workspace.f32.scratch(scores.len()),
            };
            simd::weights(scores, *max, self.per_score(), weights);
            weights[label] = 0.0;
            *sum = simd::sum(weights);
        }
        let probabilities = self.finish(samples, &maxima, &sums, values);
        for ((sample, p), sum) in samples.iter_mut().zip(probabilities).zip(sums) {
            let label = sample.label;
            let scale = sample.factor * p;
            if let Some(grad) = &mut sample.grad {
                match &mut **grad {
                    [first, second] => (*first, *second) = (scale as f32, scale as f32),
                    grad => simd::scale(grad, (scale / sum) as f32),
                }
                grad[label] = -scale as f32;
            }
        }
        true
    }

    /// Sets the losses, and returns p of each sample; `ratios` are e_k / e_{k−1}, where the k-th highest wrong score has the
    /// weight 1.
    fn finish(
        &self,
        samples: &[Sample<'_, f32>],
        kths: &[f32; SAMPLES],
        ratios: &OfSamples,
        values: &mut [f64],
    ) -> OfSamples {
        let mut label_scores = [0.0; SAMPLES];
        for (score, sample) in label_scores.iter_mut().zip(samples) {
            *score = sample.scores[sample.label];
        }
        let mut probabilities = [0.0; SAMPLES];
        let mut losses = [0.0; SAMPLES];
        finish(
            self,
            side_by_side::lanes_for(samples.len()),
            kths,
            &label_scores,
            ratios,
            &mut losses,
            &mut probabilities,
        );
        values.copy_from_slice(&losses[..samples.len()]);
        probabilities
    }

    /// The loss and p.
    #[inline(always)]
    fn loss_and_probability(&self, kth: f32, label_score: f32, ratio: f64) -> (f64, f64) {
        let hinge = self.hinge(kth.into(), label_score.into(), simd::ln(ratio));
        let small = simd::exp(-(hinge / self.tau).abs());
        self.smoothed(hinge, small, simd::ln_1p(small))
    }

    /// k > 1.
    fn topk_side_by_side(
        &self,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, f32>],
        values: &mut [f64],
    ) -> bool {
        let buffers: &mut Buffers = workspace.of_loss();
        let mut rows = [Row::EMPTY; SAMPLES];
        let rows = &mut rows[..samples.len()];
        for (row, sample) in rows.iter_mut().zip(&*samples) {
            *row = Row {
                scores: sample.scores,
                label: sample.label,
            };
        }
        let Some(first) = rows.first() else {
            return true;
        };
        let classes = first.scores.len();
        let head_size = tail::head_size(self.k).min(classes - 1);
        let has_tail = head_size + 1 < classes;

        if !buffers.heads.find(rows, head_size) {
            return false;
        }
        buffers.polynomials.start(self.k, rows.len());
        let largest = has_tail.then(|| self.set_tails(buffers, rows, samples));
        let Buffers {
            heads, polynomials, ..
        } = buffers;
        let ratios = polynomials.compute(&heads.scores, self.per_score());
        let kths = &heads.scores[self.k - 1];
        let mut factors = self.finish(samples, kths, &ratios, values);
        for (factor, sample) in factors.iter_mut().zip(&*samples) {
            *factor *= sample.factor / self.k as f64;
        }
        if samples.iter().any(|sample| sample.grad.is_some()) {
            set_gradients(buffers, samples, &factors, largest);
        }
        true
    }

    /// Sets the tails of the polynomials, and the gradients to the weights of the tails, and to 0 for other classes. Returns the
    /// largest of these weights of each sample.
    fn set_tails(
        &self,
        buffers: &mut Buffers,
        rows: &[Row<'_>],
        samples: &mut [Sample<'_, f32>],
    ) -> [f32; SAMPLES] {
        let Buffers {
            heads,
            weights,
            sums,
            tail,
            polynomials,
            ..
        } = buffers;
        let classes = rows[0].scores.len();
        let without_grad = samples
            .iter()
            .filter(|sample| sample.grad.is_none())
            .count();
        if weights.len() < without_grad * classes {
            weights.resize(without_grad * classes, 0.0);
        }
        let mut buffer = weights.chunks_exact_mut(classes);
        let mut weights: [&mut [f32]; SAMPLES] = Default::default();
        for (weights, sample) in weights.iter_mut().zip(samples) {
            *weights = match &mut sample.grad {
                Some(grad) => grad,
                None => buffer.next().expect("there is one for each of them"),
            };
        }
        let weights = &mut weights[..rows.len()];

        // One step at a time: a vector of weights can be read fast only some time after single ones of them were set.
        let kths = heads.scores[self.k - 1];
        for ((weights, row), kth) in weights.iter_mut().zip(rows).zip(kths) {
            simd::weights(row.scores, kth, self.per_score(), weights);
        }
        let mut largest = [0f32; SAMPLES];
        let lowest = heads.classes.last().expect("the head has classes");
        for (lane, (weights, row)) in weights.iter_mut().zip(rows).enumerate() {
            largest[lane] = weights[lowest[lane] as usize];
            weights[row.label] = 0.0;
            for classes in &heads.classes {
                weights[classes[lane] as usize] = 0.0;
            }
        }
        let powers = power_sums::powers(self.k, classes);
        let sums = &mut sums[..rows.len()];
        for (sums, weights) in sums.iter_mut().zip(&*weights) {
            power_sums::partial_sums(weights, powers, sums);
        }
        let mut totals = power_sums::totals(sums, powers);
        if self.k > powers {
            let determine = |totals: &[OfSamples; POWERS], powers: usize, lane: usize| {
                let totals = totals.map(|of_samples| of_samples[lane]);
                power_sums::determine(&totals[..powers], largest[lane].into(), self.k)
            };
            for (lane, weights) in weights.iter().enumerate() {
                if determine(&totals, powers, lane) {
                    continue;
                }
                if powers < POWERS {
                    power_sums::partial_sums(weights, POWERS, &mut sums[lane]);
                    let of_lane = power_sums::totals(&sums[lane..=lane], POWERS);
                    for (totals, of_lane) in totals.iter_mut().zip(of_lane) {
                        totals[lane] = of_lane[0];
                    }
                    if determine(&totals, POWERS, lane) {
                        continue;
                    }
                }
                let scale = match tail::fits_unscaled(self.k, classes) {
                    true => 1.0,
                    false => (self.k as f64 / simd::sum(weights)).min(1.0) as f32,
                };
                tail::polynomials(weights, self.k, scale, tail);
                polynomials.set_tail(lane, 1.0 / f64::from(scale), &tail.lanes);
            }
        }
        polynomials.set_power_sums(&totals);
        largest
    }
}

/// Sets the gradients, which are those of the losses times `factors`, from the weights of the tails: `largest` has the
/// largest of each sample, if there are tails.
fn set_gradients(
    buffers: &mut Buffers,
    samples: &mut [Sample<'_, f32>],
    factors: &OfSamples,
    largest: Option<[f32; SAMPLES]>,
) {
    let Buffers {
        heads, polynomials, ..
    } = buffers;
    if let Some(largest) = largest {
        let (of_all, terms) = polynomials.tail_coefficients(factors, &largest);
        for (lane, sample) in samples.iter_mut().enumerate() {
            if let Some(grad) = &mut sample.grad {
                tail::derivatives(grad, &of_all[..terms[lane] as usize], lane);
            }
        }
    }
    let of_heads = polynomials.head_derivatives(factors);
    for (lane, sample) in samples.iter_mut().enumerate() {
        if let Some(grad) = &mut sample.grad {
            for (classes, derivatives) in heads.classes.iter().zip(of_heads) {
                grad[classes[lane] as usize] = derivatives[lane];
            }
            grad[sample.label] = -factors[lane] as f32;
        }
    }
}

vectorized! {
    /// The loss, and p, of each sample in these lanes; see [`SmoothTopkSvm::finish`].
    fn finish(
        svm: &SmoothTopkSvm,
        lanes: usize,
        kths: &[f32; SAMPLES],
        label_scores: &[f32; SAMPLES],
        ratios: &OfSamples,
        losses: &mut OfSamples,
        probabilities: &mut OfSamples,
    ) {
        for_lanes!(lanes, N => {
            for lane in 0..N {
                (losses[lane], probabilities[lane]) =
                    svm.loss_and_probability(kths[lane], label_scores[lane], ratios[lane]);
            }
        });
    }
}
