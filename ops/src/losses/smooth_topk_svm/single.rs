//! `f32` scores and k up to [`MAX_K`](crate::elementary_symmetric::tail::MAX_K), several samples side by side.
//!
//! For k > 1 all classes except a few more than k, the [`tail`], are computed in `f32` vectors, and the others with those of
//! the other samples ([`SideBySide`]).

use super::SmoothTopkSvm;
use crate::elementary_symmetric::power_sums::power_sums;
use crate::elementary_symmetric::side_by_side::{SAMPLES, SideBySide};
use crate::elementary_symmetric::tail::{self, Polynomials};
use crate::sample::Sample;
use crate::simd::{self, LanesF64};
use crate::workspace::Workspace;

/// Scores of samples side by side. With their gradients they should fit the first-level cache.
const SCORES: usize = 1 << 13;

/// Number of samples of this many classes that are computed side by side: at least two, which share the time of the
/// heads.
pub(super) fn samples_side_by_side(classes: usize) -> usize {
    (SCORES / classes).clamp(2, SAMPLES)
}

/// Buffers for the samples side by side.
#[derive(Debug, Default)]
struct Buffers {
    heads: [Vec<usize>; SAMPLES],
    tail: Polynomials,
    /// Weights of samples whose gradient is not requested.
    weights: Vec<f32>,
    polynomials: SideBySide,
    /// Coefficients of one sample.
    coefficients: Vec<f32>,
}

impl SmoothTopkSvm {
    /// Sets the losses, of at most [`SAMPLES`] samples, and their gradients.
    pub(super) fn side_by_side_f32(
        &self,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, f32>],
        values: &mut [f64],
    ) {
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
    ) {
        let mut maxima = [0f32; SAMPLES];
        let mut sums = [1.0; SAMPLES];
        for ((sample, max), sum) in samples.iter_mut().zip(&mut maxima).zip(&mut sums) {
            let Sample { scores, label, .. } = *sample;
            if let [first, second] = *scores {
                // The sum has one term, which is 1.
                *max = if label == 0 { second } else { first };
                continue;
            }
            *max = simd::max(&scores[..label]).max(simd::max(&scores[label + 1..]));
            let weights = weights_of(sample, || workspace.f32.scratch(scores.len()));
            simd::weights(scores, *max, self.per_score(), weights);
            weights[label] = 0.0;
            *sum = simd::sum(weights);
        }
        let log_ratios = simd::logarithms(&sums);
        let probabilities = self.finish(samples, &maxima, &log_ratios, values);
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
    }

    /// Sets the losses, and returns p of each sample; `log_ratios` are ln e_k − ln e_{k−1} relative to the k-th highest
    /// wrong score.
    fn finish(
        &self,
        samples: &[Sample<'_, f32>],
        kths: &[f32; SAMPLES],
        log_ratios: &LanesF64,
        values: &mut [f64],
    ) -> LanesF64 {
        let mut hinges = [0.0; SAMPLES];
        let mut small = [0.0; SAMPLES];
        for (lane, sample) in samples.iter().enumerate() {
            let label_score = sample.scores[sample.label].into();
            hinges[lane] = self.hinge(kths[lane].into(), label_score, log_ratios[lane]);
            small[lane] = -(hinges[lane] / self.tau).abs();
        }
        simd::exp(std::slice::from_mut(&mut small));
        let ln_1_plus_small = simd::logarithms_of_1_plus(&small);
        let mut probabilities = [0.0; SAMPLES];
        for (lane, value) in values.iter_mut().enumerate() {
            (*value, probabilities[lane]) =
                self.smoothed(hinges[lane], small[lane], ln_1_plus_small[lane]);
        }
        probabilities
    }

    fn topk_side_by_side(
        &self,
        workspace: &mut Workspace,
        samples: &mut [Sample<'_, f32>],
        values: &mut [f64],
    ) {
        let Buffers {
            heads,
            tail,
            weights,
            polynomials,
            coefficients,
        } = workspace.of_loss();
        let Some(first) = samples.first() else {
            return;
        };
        let classes = first.scores.len();
        let head_size = tail::head_size(self.k).min(classes - 1);
        let has_tail = head_size + 1 < classes;
        let k = self.k as f64;
        let per_score = self.per_score();

        polynomials.start(self.k, head_size);
        let mut kths = [0f32; SAMPLES];
        for (lane, (sample, head)) in samples.iter().zip(&mut *heads).enumerate() {
            let scores = sample.scores;
            simd::highest(scores, sample.label, head_size, head);
            let kth = scores[head[self.k - 1]];
            kths[lane] = kth;
            let offset = |&class: &usize| (f64::from(scores[class]) - f64::from(kth)) * per_score;
            polynomials.set_head(lane, head.iter().map(offset));
        }
        // Factors of the weights.
        let mut scales = [1f32; SAMPLES];
        // Largest weights of the tails.
        let mut largest = [0f32; SAMPLES];
        if has_tail {
            if weights.len() < samples.len() * classes {
                weights.resize(samples.len() * classes, 0.0);
            }
            // One step at a time: a vector of weights can be read fast only some time after single ones of them were set.
            for ((sample, weights), kth) in samples
                .iter_mut()
                .zip(weights.chunks_exact_mut(classes))
                .zip(kths)
            {
                let scores = sample.scores;
                simd::weights(scores, kth, per_score, weights_of(sample, || weights));
            }
            for (((sample, weights), head), largest) in samples
                .iter_mut()
                .zip(weights.chunks_exact_mut(classes))
                .zip(&*heads)
                .zip(&mut largest)
            {
                let label = sample.label;
                let weights = weights_of(sample, || weights);
                *largest = weights[head[head_size - 1]];
                weights[label] = 0.0;
                for &class in head {
                    weights[class] = 0.0;
                }
            }
            for (lane, (sample, weights)) in samples
                .iter_mut()
                .zip(weights.chunks_exact_mut(classes))
                .enumerate()
            {
                let weights = weights_of(sample, || weights);
                if let Some(sums) = power_sums(weights, largest[lane], self.k) {
                    polynomials.set_power_sums(lane, &sums);
                } else {
                    if !tail::fits_unscaled(self.k, classes) {
                        scales[lane] = (k / simd::sum(weights)).min(1.0) as f32;
                    }
                    tail::polynomials(weights, self.k, scales[lane], tail);
                    polynomials.set_tail(lane, 1.0 / f64::from(scales[lane]), &tail.lanes);
                }
            }
        }
        polynomials.compute();

        let mut factors = self.finish(samples, &kths, &polynomials.log_ratios(), values);
        for (factor, sample) in factors.iter_mut().zip(&*samples) {
            *factor *= sample.factor / k;
        }
        if samples.iter().all(|sample| sample.grad.is_none()) {
            return;
        }
        if has_tail {
            let (of_all, terms) = polynomials.tail_coefficients(&factors, &largest);
            for (lane, sample) in samples.iter_mut().enumerate() {
                if let Some(grad) = &mut sample.grad {
                    coefficients.clear();
                    let of_all = &of_all[..terms[lane] as usize];
                    coefficients.extend(of_all.iter().map(|coefficient| coefficient[lane]));
                    tail::derivatives(grad, coefficients);
                }
            }
        }
        let differences = polynomials.head_differences();
        for (lane, sample) in samples.iter_mut().enumerate() {
            if let Some(grad) = &mut sample.grad {
                for (&class, difference) in heads[lane].iter().zip(differences) {
                    grad[class] = (factors[lane] * difference[lane]) as f32;
                }
                grad[sample.label] = -factors[lane] as f32;
            }
        }
    }
}

/// Memory for the weights of the classes: that of the gradient, which replaces them, or else `buffer`.
fn weights_of<'m>(
    sample: &'m mut Sample<'_, f32>,
    buffer: impl FnOnce() -> &'m mut [f32],
) -> &'m mut [f32] {
    match &mut sample.grad {
        Some(grad) => grad,
        None => buffer(),
    }
}
