use super::{LANES, Lanes};

/// Candidates that are sorted side by side; there are rarely more.
const CANDIDATES: usize = 128;

/// Groups of classes whose maxima are found side by side.
const GROUPS: usize = 128;

/// Sets `highest` to the indices of the `count` highest scores without the label's, in descending
/// order of score. Of equal scores the lower class comes first.
///
/// `count` must be below the number of scores.
pub(crate) fn highest(scores: &[f32], label: usize, count: usize, highest: &mut Vec<usize>) {
    debug_assert!(count < scores.len());
    highest.clear();
    if count > GROUPS / 2 || !few_candidates(scores, label, count, highest) {
        highest.extend((0..scores.len()).filter(|&class| class != label));
        let order = |&a: &usize, &b: &usize| scores[b].total_cmp(&scores[a]).then(a.cmp(&b));
        if count < highest.len() {
            highest.select_nth_unstable_by(count - 1, order);
        }
        highest.truncate(count);
        highest.sort_unstable_by(order);
    }
}

vectorized! {
    /// Does the same if there are few candidates; returns whether it did. `count` is at most half of
    /// [`GROUPS`].
    fn few_candidates(scores: &[f32], label: usize, count: usize, highest: &mut Vec<usize>) -> bool {
        let maxima = group_maxima(scores);
        // count + 1 groups have a maximum of at least the (count + 1)-th largest maximum: so at least
        // count + 1 scores reach it, the label's possibly among them, and few others do.
        let threshold = match count {
            0..=10 => nth_largest(
                &halves::<{ GROUPS / 4 }>(&halves::<{ GROUPS / 2 }>(&maxima)),
                count,
            ),
            11..=20 => nth_largest(&halves::<{ GROUPS / 2 }>(&maxima), count),
            _ => nth_largest(&maxima, count),
        };
        let mut candidates = [0; CANDIDATES + LANES];
        let Some(len) = indices_from(scores, threshold, &mut candidates) else {
            return false;
        };

        let mut values = [[f32::NEG_INFINITY; LANES]; CANDIDATES / LANES];
        for (value, &class) in values.as_flattened_mut().iter_mut().zip(&candidates[..len]) {
            let class = class as usize;
            *value = if class == label {
                f32::NEG_INFINITY
            } else {
                scores[class]
            };
        }
        let mut sorted = [0; CANDIDATES];
        rank(&values[..len.div_ceil(LANES)], &candidates, &mut sorted);
        highest.extend(sorted[..count].iter().map(|&class| class as usize));
        true
    }
}

/// Largest score of each group; a group is every [`GROUPS`]-th class.
#[inline(always)]
fn group_maxima(scores: &[f32]) -> [f32; GROUPS] {
    // Flat loops of known length: for a loop over lanes within one over vectors LLVM emits gathers.
    let mut maxima = [f32::NEG_INFINITY; GROUPS];
    let (blocks, rest) = scores.as_chunks::<GROUPS>();
    for block in blocks {
        for i in 0..GROUPS {
            maxima[i] = if block[i] > maxima[i] {
                block[i]
            } else {
                maxima[i]
            };
        }
    }
    for (max, &score) in maxima.iter_mut().zip(rest) {
        *max = if score > *max { score } else { *max };
    }
    maxima
}

/// Maxima of pairs of groups.
#[inline(always)]
fn halves<const HALF: usize>(maxima: &[f32]) -> [f32; HALF] {
    let mut halves = [0.0; HALF];
    for i in 0..HALF {
        halves[i] = f32::max(maxima[i], maxima[i + HALF]);
    }
    halves
}

/// The (n + 1)-th largest number; there are more than `n`.
#[inline(always)]
fn nth_largest<const N: usize>(numbers: &[f32; N], n: usize) -> f32 {
    let mut larger = [0u32; N];
    for &other in numbers {
        for i in 0..N {
            larger[i] += u32::from(other > numbers[i]);
        }
    }
    let mut nth = *numbers;
    for i in 0..N {
        nth[i] = if larger[i] <= n as u32 {
            nth[i]
        } else {
            f32::INFINITY
        };
    }
    let mut width = N;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            nth[i] = f32::min(nth[i], nth[i + width]);
        }
    }
    nth[0]
}

/// Puts the indices of all scores of at least `threshold` into `indices` and returns their number, or
/// `None` if there are too many.
#[inline(always)]
fn indices_from(
    scores: &[f32],
    threshold: f32,
    indices: &mut [u32; CANDIDATES + LANES],
) -> Option<usize> {
    // −∞ is the padding.
    let threshold = threshold.max(f32::MIN);
    let mut len = 0;
    let (vectors, rest) = scores.as_chunks::<LANES>();
    for (i, vector) in vectors.iter().enumerate() {
        append_hits(vector, i * LANES, threshold, indices, &mut len);
        if len > CANDIDATES {
            return None;
        }
    }
    let mut padded = [f32::NEG_INFINITY; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    append_hits(&padded, vectors.len() * LANES, threshold, indices, &mut len);
    (len <= CANDIDATES).then_some(len)
}

#[inline(always)]
fn append_hits(
    vector: &Lanes,
    first: usize,
    threshold: f32,
    indices: &mut [u32; CANDIDATES + LANES],
    len: &mut usize,
) {
    // There is nearly never a hit: one branch for all lanes.
    let mut hit = false;
    for &score in vector {
        hit |= score >= threshold;
    }
    if hit {
        let mut hits = 0u16;
        for (lane, &score) in vector.iter().enumerate() {
            hits |= u16::from(score >= threshold) << lane;
        }
        while hits != 0 {
            indices[*len] = first as u32 + hits.trailing_zeros();
            *len += 1;
            hits &= hits - 1;
        }
    }
}

/// Sorts `classes` by their `values` into `sorted`, in descending order.
#[inline(always)]
fn rank(values: &[Lanes], classes: &[u32], sorted: &mut [u32; CANDIDATES]) {
    for (i, vector) in values.iter().enumerate() {
        let mut rank = [0u32; LANES];
        for (j, &other) in values.as_flattened().iter().enumerate() {
            for lane in 0..LANES {
                let before = (j as u32) < (i * LANES + lane) as u32;
                let first = (other > vector[lane]) | (before & (other == vector[lane]));
                rank[lane] += u32::from(first);
            }
        }
        for lane in 0..LANES {
            sorted[rank[lane] as usize] = classes[i * LANES + lane];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_sorting() {
        let mut found = Vec::new();
        for (classes, distinct) in [
            (2, 9),
            (17, 5),
            (40, 100),
            (300, 7),
            (1000, 1),
            (5000, 9000),
        ] {
            let scores: Vec<f32> = (0..classes)
                .map(|i| ((i * 7919 + 13) % distinct) as f32 - 3.0)
                .collect();
            for count in [1, 2, 10, 11, 20, 21, 64, 65, 200] {
                if count >= classes {
                    break;
                }
                for label in [0, classes / 2, classes - 1] {
                    let mut expected: Vec<usize> = (0..classes).filter(|&i| i != label).collect();
                    expected.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
                    highest(&scores, label, count, &mut found);
                    assert_eq!(
                        found,
                        expected[..count],
                        "{classes} {distinct} {count} {label}"
                    );
                }
            }
        }
    }
}
