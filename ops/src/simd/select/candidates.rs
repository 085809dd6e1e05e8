//! The scores that reach a threshold, found with AVX-512.

use std::arch::x86_64::{
    __m512, __mmask16, _CMP_GE_OQ, _mm512_add_epi32, _mm512_cmp_ps_mask, _mm512_cmpneq_epi32_mask,
    _mm512_loadu_epi16, _mm512_loadu_epi32, _mm512_mask_mov_ps, _mm512_maskz_compress_epi32,
    _mm512_maskz_compress_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_storeu_epi32,
    _mm512_storeu_ps, _mm512_test_epi16_mask,
};

use super::avx512::{load, load_part};
use crate::simd::LANES;

/// Vectors of which those with a candidate are found at once.
pub(super) const BLOCK: usize = 64;

/// Which scores reach a threshold: a bit for each score of each vector of a block.
pub(super) type Reach = [__mmask16; BLOCK];

/// 0, 1, …, 15.
const LANE_NUMBERS: [i32; LANES] = {
    let mut numbers = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        numbers[lane] = lane as i32;
        lane += 1;
    }
    numbers
};

/// Classes whose scores reach a threshold, in ascending order, and these scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<const SPACE: usize> {
    /// Above the capacity, some were not kept.
    len: usize,
    classes: [u32; SPACE],
    scores: [f32; SPACE],
}

impl<const SPACE: usize> Candidates<SPACE> {
    pub(super) const EMPTY: Self = Self {
        len: 0,
        classes: [0; _],
        scores: [0.0; _],
    };

    /// How many are kept: behind them is space for a vector, which is appended as a whole.
    const CAPACITY: usize = SPACE - LANES;

    /// How many there are, or `None` if they are too many.
    pub(super) fn count(&self) -> Option<usize> {
        (self.len <= Self::CAPACITY).then_some(self.len)
    }

    /// The `i`-th vector of classes.
    pub(super) fn classes(&self, i: usize) -> &[u32; LANES] {
        &self.classes.as_chunks().0[i]
    }

    /// Finds them vector by vector: for few vectors, since a loop over those that have some would end unpredictably.
    #[inline]
    #[target_feature(enable = "avx512f,popcnt")]
    pub(super) fn find_in_few(&mut self, scores: &[f32], threshold: f32) {
        let mut len = 0;
        for (i, vector) in scores.as_chunks().0.iter().enumerate() {
            let vector = load(vector);
            let reach = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(vector, _mm512_set1_ps(threshold));
            len = self.append(len, i * LANES, vector, reach);
        }
        self.append_part(len, scores, threshold);
    }

    /// Finds them in at most [`BLOCK`] vectors, for which [`reach`] was called, and a part of one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,popcnt,bmi1")]
    pub(super) fn find_in_block(&mut self, scores: &[f32], threshold: f32, reach: &Reach) {
        let len = self.append_block(0, 0, scores.as_chunks().0, reach);
        self.append_part(len, scores, threshold);
    }

    /// Finds them in any number of vectors.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,popcnt,bmi1")]
    pub(super) fn find(&mut self, scores: &[f32], threshold: f32) {
        let mut len = 0;
        for (i, vectors) in scores.as_chunks().0.chunks(BLOCK).enumerate() {
            len = self.append_block(len, i * BLOCK * LANES, vectors, &reach(vectors, threshold));
            if len > Self::CAPACITY {
                self.len = len;
                return;
            }
        }
        self.append_part(len, scores, threshold);
    }

    /// The scores of the `i`-th vector of candidates; −∞ for the label and in lanes without a class.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn scores_without(&self, label: usize, i: usize) -> __m512 {
        // SAFETY: there are as many classes as lanes.
        let classes = unsafe { _mm512_loadu_epi32(self.classes(i).as_ptr().cast()) };
        let used = (1u32 << self.len.saturating_sub(i * LANES).min(LANES)) - 1;
        let others = _mm512_cmpneq_epi32_mask(classes, _mm512_set1_epi32(label as i32));
        let none = _mm512_set1_ps(f32::NEG_INFINITY);
        let scores = load(&self.scores.as_chunks().0[i]);
        _mm512_mask_mov_ps(none, used as u16 & others, scores)
    }

    /// Appends to the first `len` ones those of a block, whose first class is `first`. Returns the new number.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,popcnt,bmi1")]
    fn append_block(
        &mut self,
        mut len: usize,
        first: usize,
        vectors: &[[f32; LANES]],
        reach: &Reach,
    ) -> usize {
        // Which vectors have one is unpredictable: a branch for each would cost more than the comparisons.
        let mut with_one = not_zero(reach);
        while with_one != 0 {
            let i = with_one.trailing_zeros() as usize;
            len = self.append(len, first + i * LANES, load(&vectors[i]), reach[i % BLOCK]);
            with_one &= with_one - 1;
        }
        len
    }

    /// Appends those after the last whole vector, and sets the number.
    #[inline]
    #[target_feature(enable = "avx512f,popcnt")]
    fn append_part(&mut self, len: usize, scores: &[f32], threshold: f32) {
        let part = scores.as_chunks::<LANES>().1;
        let vector = load_part(part);
        let reach = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(vector, _mm512_set1_ps(threshold));
        self.len = self.append(len, scores.len() - part.len(), vector, reach);
    }

    /// Appends those of a vector, whose first class is `first`.
    #[inline]
    #[target_feature(enable = "avx512f,popcnt")]
    fn append(&mut self, len: usize, first: usize, scores: __m512, reach: __mmask16) -> usize {
        // SAFETY: there are as many numbers as lanes.
        let lanes = unsafe { _mm512_loadu_epi32(LANE_NUMBERS.as_ptr()) };
        let classes = _mm512_add_epi32(lanes, _mm512_set1_epi32(first as i32));
        let start = len.min(Self::CAPACITY);
        // SAFETY: there is space for a vector after the capacity.
        unsafe {
            _mm512_storeu_epi32(
                self.classes.as_mut_ptr().add(start).cast(),
                _mm512_maskz_compress_epi32(reach, classes),
            );
            _mm512_storeu_ps(
                self.scores.as_mut_ptr().add(start),
                _mm512_maskz_compress_ps(reach, scores),
            );
        }
        len + reach.count_ones() as usize
    }
}

/// Which scores of at most [`BLOCK`] vectors reach the threshold.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn reach(vectors: &[[f32; LANES]], threshold: f32) -> Reach {
    let threshold = _mm512_set1_ps(threshold);
    let mut reach = [0; BLOCK];
    for (reach, scores) in reach.iter_mut().zip(vectors) {
        *reach = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(load(scores), threshold);
    }
    reach
}

/// A bit for each number that is not 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn not_zero(numbers: &Reach) -> u64 {
    let [low, high] = [&numbers[..BLOCK / 2], &numbers[BLOCK / 2..]].map(|half| {
        // SAFETY: half of the numbers are a vector.
        let half = unsafe { _mm512_loadu_epi16(half.as_ptr().cast()) };
        u64::from(_mm512_test_epi16_mask(half, half))
    });
    low | high << 32
}
