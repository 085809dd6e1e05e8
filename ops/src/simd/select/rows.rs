//! Selection of few scores of several rows with AVX-512: where rows are compared with themselves, each lane is a row.

use std::arch::x86_64::{
    __m512, __mmask16, _CMP_EQ_OQ, _CMP_GT_OQ, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps,
    _mm512_loadu_epi32, _mm512_mask_blend_epi32, _mm512_mask3_fmadd_ps, _mm512_max_ps,
    _mm512_min_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_epi32,
    _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::avx512::{self, load, load_part};
use super::candidates::{BLOCK, Candidates, reach};
use super::network::network;
use super::{FEW, Highest, ROWS, Row};
use crate::simd::LANES;

/// Vectors for which [`Candidates::find_in_few`] is fast.
const FEW_VECTORS: usize = 16;

/// Candidates of a row, up to a vector.
pub(crate) type OfRow = Candidates<{ 2 * LANES }>;

/// Whether the processor has what this needs, and the numbers of classes and scores are small enough.
pub(super) fn is_possible(classes: usize, count: usize) -> bool {
    count <= FEW && classes / LANES <= BLOCK && avx512::is_possible(classes)
}

/// Sets the `count` highest scores of each row as [`highest`](super::highest) does. Returns which rows were done, a bit for
/// each: those with few candidates, no two of which are equal. `None` if some scores are not finite.
///
/// See [`is_possible`] for the limits; `highest` has space for `count` scores.
#[target_feature(enable = "avx512f,avx512bw,popcnt,bmi1")]
pub(super) fn highest_of_each(
    rows: &[Row<'_>],
    count: usize,
    highest: &mut Highest,
) -> Option<u16> {
    let mut maxima = [[0f32; LANES]; ROWS];
    let mut all_finite = true;
    for (maxima, row) in maxima.iter_mut().zip(rows) {
        let (of_lanes, finite) = lane_maxima(row.scores);
        store(maxima, of_lanes);
        all_finite &= finite;
    }
    if !all_finite {
        return None;
    }
    let thresholds = thresholds(&maxima, count);
    let few_vectors = rows[0].scores.len() / LANES <= FEW_VECTORS;
    let reaches = (!few_vectors).then(|| {
        let mut reaches = [[0; BLOCK]; ROWS];
        for ((reaches, row), &threshold) in reaches.iter_mut().zip(rows).zip(&thresholds) {
            *reaches = reach(row.scores.as_chunks().0, threshold);
        }
        reaches
    });
    let mut few = 0;
    let mut buffer = std::mem::take(&mut highest.candidates);
    buffer.resize(ROWS, OfRow::EMPTY);
    let candidates: &mut [_; ROWS] = buffer.first_chunk_mut().expect("it has this length");
    for (i, (candidates, row)) in candidates.iter_mut().zip(rows).enumerate() {
        match &reaches {
            None => candidates.find_in_few(row.scores, thresholds[i]),
            Some(reaches) => candidates.find_in_block(row.scores, thresholds[i], &reaches[i]),
        }
        few |= u16::from(candidates.count().is_some()) << i;
    }
    let mut scores = [[0f32; LANES]; ROWS];
    for ((scores, candidates), row) in scores.iter_mut().zip(&*candidates).zip(rows) {
        store(scores, candidates.scores_without(row.label, 0));
    }
    let done = few & sort(&scores, candidates, highest);
    highest.candidates = buffer;
    Some(done)
}

/// The highest score in each lane, and whether all scores are finite.
#[inline]
#[target_feature(enable = "avx512f")]
fn lane_maxima(scores: &[f32]) -> (__m512, bool) {
    const SIDE_BY_SIDE: usize = 4;
    let zero = _mm512_setzero_ps();
    let mut maxima = [_mm512_set1_ps(f32::NEG_INFINITY); SIDE_BY_SIDE];
    // Zero times a finite number is zero, and NaN times any other.
    let mut sums = [zero; SIDE_BY_SIDE];
    let (vectors, part) = scores.as_chunks();
    let (blocks, others) = vectors.as_chunks::<SIDE_BY_SIDE>();
    for block in blocks {
        for i in 0..SIDE_BY_SIDE {
            let scores = load(&block[i]);
            maxima[i] = _mm512_max_ps(maxima[i], scores);
            sums[i] = _mm512_fmadd_ps(scores, zero, sums[i]);
        }
    }
    for scores in others {
        let scores = load(scores);
        maxima[0] = _mm512_max_ps(maxima[0], scores);
        sums[0] = _mm512_fmadd_ps(scores, zero, sums[0]);
    }
    let scores = load_part(part);
    maxima[1] = _mm512_max_ps(maxima[1], scores);
    sums[1] = _mm512_mask3_fmadd_ps(scores, zero, sums[1], (1 << part.len()) - 1);
    let [a, b, c, d] = maxima;
    let [e, f, g, h] = sums;
    let sum = _mm512_add_ps(_mm512_add_ps(e, f), _mm512_add_ps(g, h));
    let finite = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(sum, zero) == __mmask16::MAX;
    let max = _mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d));
    (max, finite)
}

/// Sets the highest candidates of each row, in descending order: as many as `highest` has space for, which each row has.
/// Returns in which rows no two of them are equal, and none equals one that is not among them.
#[inline]
#[target_feature(enable = "avx512f")]
fn sort(scores: &[[f32; LANES]; ROWS], candidates: &[OfRow; ROWS], highest: &mut Highest) -> u16 {
    let mut columns = transpose(&scores.each_ref().map(|scores| load(scores)));
    let classes = candidates.each_ref().map(|candidates| {
        let classes = candidates.classes(0);
        // SAFETY: there are as many classes as lanes.
        unsafe { _mm512_castsi512_ps(_mm512_loadu_epi32(classes.as_ptr().cast())) }
    });
    let mut classes = transpose(&classes).map(|classes| _mm512_castps_si512(classes));
    network(|a, b| {
        let later_is_higher = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(columns[b], columns[a]);
        (columns[a], columns[b]) = (
            _mm512_max_ps(columns[a], columns[b]),
            _mm512_min_ps(columns[a], columns[b]),
        );
        (classes[a], classes[b]) = (
            _mm512_mask_blend_epi32(later_is_higher, classes[a], classes[b]),
            _mm512_mask_blend_epi32(later_is_higher, classes[b], classes[a]),
        );
    });
    let mut ties = 0;
    let ranks = highest.scores.iter_mut().zip(&mut highest.classes);
    for (i, (of_scores, of_classes)) in ranks.enumerate() {
        store(of_scores, columns[i]);
        // SAFETY: the array has as many classes as there are lanes.
        unsafe { _mm512_storeu_epi32(of_classes.as_mut_ptr().cast(), classes[i]) };
        ties |= _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(columns[i], columns[i + 1]);
    }
    !ties
}

/// The (`count` + 1)-th highest maximum of each row.
#[inline]
#[target_feature(enable = "avx512f")]
fn thresholds(maxima: &[[f32; LANES]; ROWS], count: usize) -> [f32; ROWS] {
    let mut columns = transpose(&maxima.each_ref().map(|maxima| load(maxima)));
    network(|a, b| {
        (columns[a], columns[b]) = (
            _mm512_max_ps(columns[a], columns[b]),
            _mm512_min_ps(columns[a], columns[b]),
        );
    });
    let mut thresholds = [0.0; ROWS];
    // −∞ is the padding.
    store(
        &mut thresholds,
        _mm512_max_ps(columns[count], _mm512_set1_ps(f32::MIN)),
    );
    thresholds
}

/// Makes the first vector of the first lanes, and so on.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &[__m512; ROWS]) -> [__m512; LANES] {
    // Of each four rows: in vector i the numbers i, 4 + i, 8 + i and 12 + i of all four.
    let of_four = |[a, b, c, d]: [__m512; 4]| {
        let pairs = |a, b| {
            [
                _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
                _mm512_castps_pd(_mm512_unpackhi_ps(a, b)),
            ]
        };
        let ([ab_low, ab_high], [cd_low, cd_high]) = (pairs(a, b), pairs(c, d));
        [
            _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low)),
            _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high)),
        ]
    };
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *rows;
    let fours = [
        of_four([a, b, c, d]),
        of_four([e, f, g, h]),
        of_four([i, j, k, l]),
        of_four([m, n, o, p]),
    ];
    let mut columns = *rows;
    for i in 0..4 {
        // Quarters 0 and 2, or 1 and 3, of two vectors.
        let even = |a, b| _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        let odd = |a, b| _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
        let [a, b, c, d] = [fours[0][i], fours[1][i], fours[2][i], fours[3][i]];
        columns[i] = even(even(a, b), even(c, d));
        columns[4 + i] = even(odd(a, b), odd(c, d));
        columns[8 + i] = odd(even(a, b), even(c, d));
        columns[12 + i] = odd(odd(a, b), odd(c, d));
    }
    columns
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(array: &mut [f32; LANES], vector: __m512) {
    // SAFETY: the array has as many numbers as there are lanes, and needs no alignment.
    unsafe { _mm512_storeu_ps(array.as_mut_ptr(), vector) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_rows() {
        if !is_possible(1, 1) {
            return;
        }
        let rows: [[f32; LANES]; ROWS] =
            std::array::from_fn(|row| std::array::from_fn(|lane| (row * 100 + lane) as f32));
        let mut columns = [[0.0; ROWS]; LANES];
        // SAFETY: the processor has AVX-512.
        unsafe { transpose_arrays(&rows, &mut columns) };
        for (lane, column) in columns.iter().enumerate() {
            assert_eq!(*column, rows.map(|row| row[lane]));
        }
    }

    #[target_feature(enable = "avx512f")]
    fn transpose_arrays(rows: &[[f32; LANES]; ROWS], columns: &mut [[f32; ROWS]; LANES]) {
        let vectors = transpose(&rows.each_ref().map(|row| load(row)));
        for (column, vector) in columns.iter_mut().zip(vectors) {
            store(column, vector);
        }
    }
}
