//! The transform for AVX2, whose sums of two products are one instruction.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_abs_epi16, _mm_add_epi32, _mm_cvtsi128_si32, _mm_cvtsi128_si64,
    _mm_extract_epi64, _mm_hadd_epi32, _mm_loadu_si128, _mm_madd_epi16, _mm_mullo_epi16,
    _mm_packs_epi16, _mm_set1_epi8, _mm_setzero_si128, _mm_unpackhi_epi8, _mm_unpackhi_epi16,
    _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi8, _mm_unpacklo_epi16,
    _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm_xor_si128, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_packs_epi32,
    _mm256_permute4x64_epi64, _mm256_set_m128i, _mm256_set1_epi32, _mm256_srai_epi32,
    _mm256_sub_epi32,
};

use super::{Coefficients, EVEN, ODD, Quantization, SAFE, SHIFTS, is_small};

/// Eight 16-bit values.
type Row = __m128i;

/// The samples of each row, the first one in the lowest byte.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn samples(
    coefficients: &Coefficients,
    quantization: &Quantization,
) -> Option<[u64; 8]> {
    const FIRST: i32 = SHIFTS[0];
    const SECOND: i32 = SHIFTS[1];
    let mut sums = _mm_setzero_si128();
    let mut rows = [sums; 8];
    let stored = coefficients
        .as_chunks()
        .0
        .iter()
        .zip(quantization.0.as_chunks().0);
    for (row, (coefficients, factors)) in rows.iter_mut().zip(stored) {
        let [coefficients, factors] = [load(coefficients), load(factors)];
        *row = _mm_mullo_epi16(coefficients, factors);
        let products = _mm_madd_epi16(_mm_abs_epi16(coefficients), factors);
        sums = _mm_add_epi32(sums, products);
    }
    let sums = _mm_hadd_epi32(sums, sums);
    let sum = _mm_cvtsi128_si32(_mm_hadd_epi32(sums, sums)).cast_unsigned();
    if sum > SAFE && !is_small(coefficients, quantization) {
        return None;
    }
    let columns = transposed(pass::<FIRST>(rows));
    Some(bytes(pass::<SECOND>(columns)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(row: &[i16; 8]) -> Row {
    let row: *const [i16; 8] = row;
    // SAFETY: it is valid for reads of 16 bytes, and needs no alignment.
    unsafe { _mm_loadu_si128(row.cast()) }
}

/// Eight one-dimensional transforms side by side, whose results are divided by 2^`SHIFT` and rounded.
#[inline]
#[target_feature(enable = "avx2")]
fn pass<const SHIFT: i32>(rows: [Row; 8]) -> [Row; 8] {
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let outer = pairs(rows[0], rows[4]);
    let inner = pairs(rows[2], rows[6]);
    let [outer0, outer1] = EVEN[0].map(|factors| _mm256_add_epi32(sums(outer, factors), half));
    let [inner0, inner1] = EVEN[1].map(|factors| sums(inner, factors));
    let even = [
        _mm256_add_epi32(outer0, inner0),
        _mm256_add_epi32(outer1, inner1),
        _mm256_sub_epi32(outer1, inner1),
        _mm256_sub_epi32(outer0, inner0),
    ];
    let lower = pairs(rows[1], rows[3]);
    let upper = pairs(rows[5], rows[7]);
    let odd = |i: usize| _mm256_add_epi32(sums(lower, ODD[0][i]), sums(upper, ODD[1][i]));
    let mut out = [half; 8];
    for i in 0..4 {
        let odd = odd(i);
        out[i] = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even[i], odd));
        out[7 - i] = _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even[i], odd));
    }
    let [out01, out23, out45, out67] = [
        narrow(out[0], out[1]),
        narrow(out[2], out[3]),
        narrow(out[4], out[5]),
        narrow(out[6], out[7]),
    ];
    [
        out01[0], out01[1], out23[0], out23[1], out45[0], out45[1], out67[0], out67[1],
    ]
}

/// Alternating values of two rows.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs(a: Row, b: Row) -> __m256i {
    _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b))
}

/// The sum of each pair, times these factors.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(pairs: __m256i, [a, b]: [i16; 2]) -> __m256i {
    let factors = i32::from(a) & 0xffff | i32::from(b) << 16;
    _mm256_madd_epi16(pairs, _mm256_set1_epi32(factors))
}

/// Two rows of 32-bit values, which fit into 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow(a: __m256i, b: __m256i) -> [Row; 2] {
    let both = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
    [
        _mm256_castsi256_si128(both),
        _mm256_extracti128_si256::<1>(both),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [Row; 8]) -> [Row; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    // Two, four and eight values of each column.
    let a = [
        _mm_unpacklo_epi16(r0, r1),
        _mm_unpackhi_epi16(r0, r1),
        _mm_unpacklo_epi16(r2, r3),
        _mm_unpackhi_epi16(r2, r3),
        _mm_unpacklo_epi16(r4, r5),
        _mm_unpackhi_epi16(r4, r5),
        _mm_unpacklo_epi16(r6, r7),
        _mm_unpackhi_epi16(r6, r7),
    ];
    let b = [
        _mm_unpacklo_epi32(a[0], a[2]),
        _mm_unpackhi_epi32(a[0], a[2]),
        _mm_unpacklo_epi32(a[1], a[3]),
        _mm_unpackhi_epi32(a[1], a[3]),
        _mm_unpacklo_epi32(a[4], a[6]),
        _mm_unpackhi_epi32(a[4], a[6]),
        _mm_unpacklo_epi32(a[5], a[7]),
        _mm_unpackhi_epi32(a[5], a[7]),
    ];
    [
        _mm_unpacklo_epi64(b[0], b[4]),
        _mm_unpackhi_epi64(b[0], b[4]),
        _mm_unpacklo_epi64(b[1], b[5]),
        _mm_unpackhi_epi64(b[1], b[5]),
        _mm_unpacklo_epi64(b[2], b[6]),
        _mm_unpackhi_epi64(b[2], b[6]),
        _mm_unpacklo_epi64(b[3], b[7]),
        _mm_unpackhi_epi64(b[3], b[7]),
    ]
}

/// Columns of differences from grey as rows of samples.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes(columns: [Row; 8]) -> [u64; 8] {
    let [c0, c1, c2, c3, c4, c5, c6, c7] = columns;
    let grey = _mm_set1_epi8(-128);
    let pack = |a: Row, b: Row| _mm_xor_si128(_mm_packs_epi16(a, b), grey);
    let [c04, c15, c26, c37] = [pack(c0, c4), pack(c1, c5), pack(c2, c6), pack(c3, c7)];
    // Two, four and eight samples of each row.
    let [c01, c45] = [_mm_unpacklo_epi8(c04, c15), _mm_unpackhi_epi8(c04, c15)];
    let [c23, c67] = [_mm_unpacklo_epi8(c26, c37), _mm_unpackhi_epi8(c26, c37)];
    let [left0, left4] = [_mm_unpacklo_epi16(c01, c23), _mm_unpackhi_epi16(c01, c23)];
    let [right0, right4] = [_mm_unpacklo_epi16(c45, c67), _mm_unpackhi_epi16(c45, c67)];
    let rows = [
        _mm_unpacklo_epi32(left0, right0),
        _mm_unpackhi_epi32(left0, right0),
        _mm_unpacklo_epi32(left4, right4),
        _mm_unpackhi_epi32(left4, right4),
    ];
    let mut out = [0; 8];
    for (out, rows) in out.as_chunks_mut::<2>().0.iter_mut().zip(rows) {
        *out = [_mm_cvtsi128_si64(rows), _mm_extract_epi64::<1>(rows)].map(|row| row as u64);
    }
    out
}
