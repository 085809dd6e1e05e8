//! Selection with AVX-512, of which LLVM makes poor use here: the results of comparisons, as bits, choose what to keep.

use std::arch::x86_64::{
    __m512, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_NEQ_OQ, _mm512_add_epi32, _mm512_cmp_ps_mask,
    _mm512_cmple_epi32_mask, _mm512_loadu_ps, _mm512_mask_add_epi32, _mm512_mask_cmp_ps_mask,
    _mm512_mask_loadu_ps, _mm512_mask_reduce_min_ps, _mm512_max_ps, _mm512_reduce_max_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_storeu_epi32, _mm512_storeu_ps,
};

use super::candidates::Candidates;
use super::{CANDIDATES, FEW, GROUPS, bisect};
use crate::simd::LANES;

/// Vectors of maxima that are found side by side.
const VECTORS: usize = GROUPS / LANES;

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(scores: &[f32; LANES]) -> __m512 {
    // SAFETY: there are as many scores as lanes, and they need no alignment.
    unsafe { _mm512_loadu_ps(scores.as_ptr()) }
}

/// The scores, of which there are fewer than lanes, and −∞ in the other lanes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_part(scores: &[f32]) -> __m512 {
    debug_assert!(scores.len() < LANES);
    let mask = (1 << scores.len()) - 1;
    // SAFETY: only the lanes of the mask are read, of which there are as many as scores.
    unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(f32::NEG_INFINITY), mask, scores.as_ptr()) }
}

/// Whether the processor has what this needs, and classes have numbers of 31 bits.
pub(super) fn is_possible(classes: usize) -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi1")
        && i32::try_from(classes).is_ok()
}

/// [`of_few_candidates`](super::of_few_candidates) with AVX-512.
#[target_feature(enable = "avx512f,avx512bw,popcnt,bmi1")]
pub(super) fn of_few_candidates(
    scores: &[f32],
    label: usize,
    count: usize,
    highest: &mut Vec<usize>,
) -> bool {
    let maxima = group_maxima(scores);
    let threshold = if count <= FEW {
        nth_largest(of_each_lane(&maxima), count)
    } else {
        reached_by_more_than(&maxima, count)
    };
    // −∞ is the padding.
    let threshold = threshold.max(f32::MIN);
    let mut candidates = Candidates::EMPTY;
    candidates.find(scores, threshold);
    let Some(len) = candidates.count() else {
        return false;
    };
    sort(&candidates, len, label, highest);
    highest.truncate(count);
    true
}

/// Maxima of groups: each lane of each vector has one.
#[inline]
#[target_feature(enable = "avx512f")]
fn group_maxima(scores: &[f32]) -> [__m512; VECTORS] {
    let mut maxima = [_mm512_set1_ps(f32::NEG_INFINITY); VECTORS];
    let (vectors, part) = scores.as_chunks();
    let (blocks, others) = vectors.as_chunks::<VECTORS>();
    for block in blocks {
        for (max, scores) in maxima.iter_mut().zip(block) {
            *max = _mm512_max_ps(*max, load(scores));
        }
    }
    for (max, scores) in maxima.iter_mut().zip(others) {
        *max = _mm512_max_ps(*max, load(scores));
    }
    let max = &mut maxima[others.len()];
    *max = _mm512_max_ps(*max, load_part(part));
    maxima
}

/// The maxima of all groups in each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn of_each_lane(maxima: &[__m512; VECTORS]) -> __m512 {
    let max = |a, b| _mm512_max_ps(a, b);
    let [a, b, c, d, e, f, g, h] = *maxima;
    max(max(max(a, b), max(c, d)), max(max(e, f), max(g, h)))
}

/// The (n + 1)-th largest number.
#[inline]
#[target_feature(enable = "avx512f")]
fn nth_largest(numbers: __m512, n: usize) -> f32 {
    let mut array = [0f32; LANES];
    // SAFETY: the array has as many numbers as there are lanes.
    unsafe { _mm512_storeu_ps(array.as_mut_ptr(), numbers) };
    let one = _mm512_set1_epi32(1);
    let mut larger = [_mm512_setzero_si512(); 2];
    for pair in array.as_chunks::<2>().0 {
        for (larger, &other) in larger.iter_mut().zip(pair) {
            let is_larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(_mm512_set1_ps(other), numbers);
            *larger = _mm512_mask_add_epi32(*larger, is_larger, *larger, one);
        }
    }
    let larger = _mm512_add_epi32(larger[0], larger[1]);
    let few_larger = _mm512_cmple_epi32_mask(larger, _mm512_set1_epi32(n as i32));
    _mm512_mask_reduce_min_ps(few_larger, numbers)
}

/// A number that more than `count` of the maxima reach, and if possible few more: by bisection.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,popcnt,bmi1")]
fn reached_by_more_than(maxima: &[__m512; VECTORS], count: usize) -> f32 {
    let none = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut low = f32::INFINITY;
    for &max in maxima {
        let of_scores = _mm512_cmp_ps_mask::<_CMP_NEQ_OQ>(max, none);
        low = low.min(_mm512_mask_reduce_min_ps(of_scores, max));
    }
    let high = _mm512_reduce_max_ps(of_each_lane(maxima));
    bisect((low, high), count, |threshold| {
        let threshold = _mm512_set1_ps(threshold);
        let mut reach = 0;
        for &max in maxima {
            reach += _mm512_cmp_ps_mask::<_CMP_GE_OQ>(max, threshold).count_ones();
        }
        reach
    })
}

/// Puts the candidates, of which there are `len`, into `sorted`, in descending order of their scores, and the label after all
/// others. Of equal scores the earlier one comes first.
#[inline]
#[target_feature(enable = "avx512f")]
fn sort(
    candidates: &Candidates<{ CANDIDATES + LANES }>,
    len: usize,
    label: usize,
    sorted: &mut Vec<usize>,
) {
    let mut values = [0f32; CANDIDATES];
    let vectors = values.as_chunks_mut::<LANES>().0.iter_mut().enumerate();
    for (i, values) in vectors.take(len.div_ceil(LANES)) {
        // SAFETY: there are as many values as lanes.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), candidates.scores_without(label, i)) };
    }
    sorted.resize(len, 0);
    let one = _mm512_set1_epi32(1);
    for i in 0..len.div_ceil(LANES) {
        let own = load(&values.as_chunks().0[i]);
        let mut rank = _mm512_setzero_si512();
        let (before, others) = values[..len].split_at(i * LANES);
        for &other in before {
            let first = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(_mm512_set1_ps(other), own);
            rank = _mm512_mask_add_epi32(rank, first, rank, one);
        }
        let (beside, after) = others.split_at(others.len().min(LANES));
        let mut later = !1;
        for &other in beside {
            let other = _mm512_set1_ps(other);
            let first = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(other, own)
                | _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(later, other, own);
            rank = _mm512_mask_add_epi32(rank, first, rank, one);
            later <<= 1;
        }
        for &other in after {
            let first = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(_mm512_set1_ps(other), own);
            rank = _mm512_mask_add_epi32(rank, first, rank, one);
        }
        let mut ranks = [0u32; LANES];
        // SAFETY: there are as many ranks as lanes.
        unsafe { _mm512_storeu_epi32(ranks.as_mut_ptr().cast(), rank) };
        for (&rank, &class) in ranks.iter().zip(candidates.classes(i)).take(beside.len()) {
            sorted[rank as usize] = class as usize;
        }
    }
}
