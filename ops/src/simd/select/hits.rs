//! Comparisons whose results are the bits of a word. LLVM makes no such instructions of a loop.

/// Scores that are compared at once: one bit of a word for each.
pub(super) const SPAN: usize = 64;

/// A bit for each score of at least `threshold`, the lowest for the first.
#[inline(always)]
pub(super) fn portable(span: &[f32; SPAN], threshold: f32) -> u64 {
    let mut hits = 0;
    for (i, &score) in span.iter().enumerate() {
        hits |= u64::from(score >= threshold) << i;
    }
    hits
}

/// [`portable`] with AVX.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn avx(span: &[f32; SPAN], threshold: f32) -> u64 {
    use std::arch::x86_64::{
        _CMP_GE_OQ, _mm256_cmp_ps, _mm256_loadu_ps, _mm256_movemask_ps, _mm256_set1_ps,
    };

    let threshold = _mm256_set1_ps(threshold);
    let mut hits = 0;
    for (i, scores) in span.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: there are 8 scores, and they need no alignment.
        let scores = unsafe { _mm256_loadu_ps(scores.as_ptr()) };
        let mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(scores, threshold));
        hits |= u64::from(mask as u8) << (8 * i);
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_the_scores_of_at_least_the_threshold() {
        let mut span = [0.0; SPAN];
        for (i, score) in span.iter_mut().enumerate() {
            *score = [1.0, -1.0, 0.5, -0.0, f32::NEG_INFINITY, f32::MAX, 0.0][i * i % 7];
        }
        for threshold in [-1.0, 0.0, -0.0, 0.5, 2.0, f32::INFINITY] {
            let mut expected = 0;
            for (i, &score) in span.iter().enumerate() {
                if score >= threshold {
                    expected |= 1 << i;
                }
            }
            assert_eq!(portable(&span, threshold), expected);
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx") {
                    // SAFETY: the processor has AVX.
                    assert_eq!(unsafe { avx(&span, threshold) }, expected);
                }
            }
        }
    }
}
