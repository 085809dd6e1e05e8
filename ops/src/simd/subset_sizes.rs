use multiversion::multiversion;

use super::{LANES_F64, LanesF64};

/// The recursion of the sizes of random subsets: P_j ← q P_j + p P_{j−1} for each element in turn,
/// where it is in the subset with probability p and not with probability q.
///
/// `rows` are the probabilities before each element and after the last; each of them takes `width`
/// vectors, and the first one is given.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn add_elements(p: &[f64], q: &[f64], width: usize, rows: &mut [LanesF64]) {
    for (i, (&p, &q)) in p.iter().zip(q).enumerate() {
        let (row, next) = rows[i * width..(i + 2) * width].split_at_mut(width);
        let mut below = 0.0;
        for (row, next) in row.iter().zip(next) {
            let mut shifted = [below; LANES_F64];
            shifted[1..].copy_from_slice(&row[..LANES_F64 - 1]);
            below = row[LANES_F64 - 1];
            for lane in 0..LANES_F64 {
                next[lane] = q.mul_add(row[lane], p * shifted[lane]);
            }
        }
    }
}

/// For each element, the probabilities that k − 1 and that k − 2 of the others are in the subset.
///
/// `rows` are those of [`add_elements`]. `after` is a buffer.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn remove_each(
    p: &[f64],
    q: &[f64],
    k: usize,
    rows: &[LanesF64],
    after: &mut Vec<LanesF64>,
    without: &mut [[f64; 2]],
) {
    // P_{k−1}, …, P_0 of the elements after the current one, in this order, and zeros. The sizes
    // of the others are the convolution of those before and those after, which this order makes a
    // product entry by entry.
    let width = k / LANES_F64 + 1;
    after.clear();
    after.resize(width, [0.0; LANES_F64]);
    after.as_flattened_mut()[k - 1] = 1.0;
    let before = rows.chunks_exact(width);
    for (((&p, &q), before), without) in p.iter().zip(q).zip(before).zip(without).rev() {
        let mut sums = [[0.0; LANES_F64]; 2];
        for v in 0..width {
            let row = after[v];
            let mut shifted = [0.0; LANES_F64];
            shifted[..LANES_F64 - 1].copy_from_slice(&row[1..]);
            if let Some(above) = after.get(v + 1) {
                shifted[LANES_F64 - 1] = above[0];
            }
            for lane in 0..LANES_F64 {
                sums[0][lane] = before[v][lane].mul_add(row[lane], sums[0][lane]);
                sums[1][lane] = before[v][lane].mul_add(shifted[lane], sums[1][lane]);
                after[v][lane] = q.mul_add(row[lane], p * shifted[lane]);
            }
        }
        for (without, sum) in without.iter_mut().zip(sums) {
            *without =
                (sum[0] + sum[4] + (sum[2] + sum[6])) + (sum[1] + sum[5] + (sum[3] + sum[7]));
        }
    }
}
