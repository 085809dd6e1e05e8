//! Chroma at the size of luma: libjpeg's triangle filters.

use multiversion::multiversion;

/// Doubles the width of a row of at least three samples, which may be followed by one more that is not wanted.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn columns(row: &[u8], out: &mut [[u8; 2]]) {
    widen(out, row.len(), |at| 4 * u16::from(row[at]), [4, 8]);
}

/// Doubles the width of a row of at least three samples, a quarter of which are of the row `near` above or
/// below.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn both(row: &[u8], near: &[u8], out: &mut [[u8; 2]]) {
    let near = &near[..row.len()];
    let sum = |at: usize| 3 * u16::from(row[at]) + u16::from(near[at]);
    widen(out, row.len(), sum, [8, 7]);
}

/// Three quarters of a row and one of another one, above or below.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn rows(row: &[u8], near: &[u8], out: &mut [u8], is_below: bool) {
    let half = 1 + u16::from(is_below);
    for ((out, &row), &near) in out.iter_mut().zip(row).zip(near) {
        *out = ((3 * u16::from(row) + u16::from(near) + half) >> 2) as u8;
    }
}

/// Two samples of each of `len` sums, which are 4 times as large as samples: three quarters of it, and a
/// quarter of its neighbour to the left or right.
#[inline(always)]
fn widen(out: &mut [[u8; 2]], len: usize, sum: impl Fn(usize) -> u16, half: [u16; 2]) {
    let out = &mut out[..len];
    let pair = |left: u16, sum: u16, right: u16| {
        let pair = [3 * sum + left + half[0], 3 * sum + right + half[1]];
        pair.map(|sum| (sum >> 4) as u8)
    };
    out[0] = pair(sum(0), sum(0), sum(1));
    for (left, out) in out[1..len - 1].iter_mut().enumerate() {
        *out = pair(sum(left), sum(left + 1), sum(left + 2));
    }
    out[len - 1] = pair(sum(len - 2), sum(len - 1), sum(len - 1));
}
