//! Selection with AVX-512, of which LLVM makes poor use here: the results of comparisons, as bits, choose what to keep.

use std::arch::x86_64::{
    __m512, __mmask16, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_NEQ_OQ, _mm512_add_epi32, _mm512_cmp_ps_mask,
    _mm512_cmple_epi32_mask, _mm512_cmpneq_epi32_mask, _mm512_loadu_epi16, _mm512_loadu_epi32,
    _mm512_loadu_ps, _mm512_mask_add_epi32, _mm512_mask_cmp_ps_mask, _mm512_mask_i32gather_ps,
    _mm512_mask_loadu_ps, _mm512_mask_reduce_min_ps, _mm512_maskz_compress_epi32, _mm512_max_ps,
    _mm512_reduce_max_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512,
    _mm512_storeu_epi32, _mm512_storeu_ps, _mm512_test_epi16_mask,
};

use super::{CANDIDATES, FEW, GROUPS, bisect};
use crate::simd::LANES;

/// Vectors of maxima that are found side by side.
const VECTORS: usize = GROUPS / LANES;

/// Vectors of which those with a candidate are found at once.
pub(super) const BLOCK: usize = 64;

/// 0, 1, …, 15.
pub(super) const LANE_NUMBERS: [i32; LANES] = {
    let mut numbers = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        numbers[lane] = lane as i32;
        lane += 1;
    }
    numbers
};

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
    let mut classes = [0; CANDIDATES + 2 * LANES];
    let Some(len) = reaching(scores, threshold, &mut classes) else {
        return false;
    };
    sort(scores, label, &classes, len, highest);
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

/// Puts the classes whose scores reach a threshold into `classes` and returns their number, or `None` if there are too many.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,popcnt,bmi1")]
fn reaching(
    scores: &[f32],
    threshold: f32,
    classes: &mut [u32; CANDIDATES + 2 * LANES],
) -> Option<usize> {
    let threshold = _mm512_set1_ps(threshold);
    let reach = |scores| _mm512_cmp_ps_mask::<_CMP_GE_OQ>(scores, threshold);
    let mut len = 0;
    // SAFETY: there are as many numbers as lanes.
    let lanes = unsafe { _mm512_loadu_epi32(LANE_NUMBERS.as_ptr()) };
    let mut append = |first: usize, reach: __mmask16| {
        let numbers = _mm512_add_epi32(lanes, _mm512_set1_epi32(first as i32));
        let appended = _mm512_maskz_compress_epi32(reach, numbers);
        // SAFETY: there are at most CANDIDATES classes, so that a vector more fits.
        unsafe { _mm512_storeu_epi32(classes.as_mut_ptr().add(len).cast(), appended) };
        len += reach.count_ones() as usize;
        len <= CANDIDATES
    };
    let (vectors, part) = scores.as_chunks();
    for (block, vectors) in vectors.chunks(BLOCK).enumerate() {
        let mut bits: [__mmask16; BLOCK] = [0; BLOCK];
        for (bits, scores) in bits.iter_mut().zip(vectors) {
            *bits = reach(load(scores));
        }
        // Which vectors have one is unpredictable: a branch for each would cost more than the comparisons.
        let mut with_one = not_zero(&bits);
        while with_one != 0 {
            let i = with_one.trailing_zeros() as usize;
            if !append((block * BLOCK + i) * LANES, bits[i % BLOCK]) {
                return None;
            }
            with_one &= with_one - 1;
        }
    }
    append(scores.len() - part.len(), reach(load_part(part))).then_some(len)
}

/// A bit for each number that is not 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn not_zero(numbers: &[u16; BLOCK]) -> u64 {
    let [low, high] = [&numbers[..BLOCK / 2], &numbers[BLOCK / 2..]].map(|half| {
        // SAFETY: half of the numbers are a vector.
        let half = unsafe { _mm512_loadu_epi16(half.as_ptr().cast()) };
        u64::from(_mm512_test_epi16_mask(half, half))
    });
    low | high << 32
}

/// Puts the first `len` classes into `sorted`, in descending order of their scores, and the label after all others. Of equal
/// scores the earlier one comes first.
#[inline]
#[target_feature(enable = "avx512f")]
fn sort(
    scores: &[f32],
    label: usize,
    classes: &[u32; CANDIDATES + 2 * LANES],
    len: usize,
    sorted: &mut Vec<usize>,
) {
    let classes = &classes.as_chunks::<LANES>().0[..len.div_ceil(LANES)];
    let none = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut values = [0f32; CANDIDATES];
    for (i, (classes, values)) in classes
        .iter()
        .zip(values.as_chunks_mut::<LANES>().0)
        .enumerate()
    {
        // SAFETY: there are as many classes as lanes.
        let classes = unsafe { _mm512_loadu_epi32(classes.as_ptr().cast()) };
        let used = (1u32 << (len - i * LANES).min(LANES)) - 1;
        let others = _mm512_cmpneq_epi32_mask(classes, _mm512_set1_epi32(label as i32));
        // SAFETY: the first `len` classes have scores, and only those of the mask are read.
        let scores = unsafe {
            _mm512_mask_i32gather_ps::<4>(none, used as u16 & others, classes, scores.as_ptr())
        };
        // SAFETY: there are as many values as lanes.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), scores) };
    }
    sorted.resize(len, 0);
    let one = _mm512_set1_epi32(1);
    for (i, classes) in classes.iter().enumerate() {
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
        for (&rank, &class) in ranks.iter().zip(classes).take(beside.len()) {
            sorted[rank as usize] = class as usize;
        }
    }
}
