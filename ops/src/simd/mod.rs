//! Vectorized loops over all classes.
//!
//! The instruction set is selected at run time. All variants perform the same operations in the same
//! order, including fused multiply-adds, and give bit-identical results.

/// Compiles a function for each instruction set; the best one that the processor has is called.
macro_rules! vectorized {
    ($($function:tt)*) => {
        #[multiversion::multiversion(
            targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon")
        )]
        $($function)*
    };
}
pub(crate) use vectorized;

mod exp;
mod ln;
mod normal;
mod reduce;
mod select;

use multiversion::target::target_cfg_f;

pub(crate) use exp::{exp, exponentials, weights};
pub(crate) use ln::{ln, ln_1p};
pub(crate) use normal::{PAIRS, normals};
pub(crate) use reduce::{all_finite, max, scale, sum};
pub(crate) use select::{Highest, Row, highest};

vectorized! {
    /// The instruction set extension that the `f32` kernels use on this processor: `AVX-512`, `AVX2` or
    /// `NEON`, or `none` if there is none beyond the target that the program was built for.
    pub fn instructions() -> &'static str {
        let targets = [
            ("AVX-512", target_cfg_f!(target_feature = "avx512f")),
            ("AVX2", target_cfg_f!(target_feature = "avx2")),
            ("NEON", target_cfg_f!(target_feature = "neon")),
        ];
        let used = targets.into_iter().find(|&(_, used)| used);
        used.map_or("none", |(name, _)| name)
    }
}

/// Number of `f32` lanes: classes computed side by side.
pub(crate) const LANES: usize = 16;

/// One `f32` vector.
pub(crate) type Lanes = [f32; LANES];

/// ln 2 as a sum; the first number has so few bits that its multiples by small integers are exact.
pub(crate) const LN_2_PARTS: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];

/// Number of `f64` lanes.
pub(crate) const LANES_F64: usize = 8;

/// One `f64` vector.
pub(crate) type LanesF64 = [f64; LANES_F64];

/// The numbers after the last whole vector, in the last lanes of a vector whose other lanes are `fill`.
#[inline(always)]
pub(crate) fn last_lanes(numbers: &[f32], fill: f32) -> Lanes {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512.
        return unsafe { last_lanes_avx512(numbers, fill) };
    }
    last_lanes_by_lane(numbers, fill)
}

/// Reads the last vector's worth of numbers and hides those that belong to whole vectors: copying only the others would
/// take longer than most computations with them, because a vector cannot be loaded soon after parts of it were stored.
#[inline(always)]
fn last_lanes_by_lane(numbers: &[f32], fill: f32) -> Lanes {
    let hidden = LANES - numbers.len() % LANES;
    let mut lanes = [fill; LANES];
    if let Some(last) = numbers.last_chunk::<LANES>() {
        for lane in 0..LANES {
            lanes[lane] = if lane < hidden { fill } else { last[lane] };
        }
    } else if !numbers.is_empty() {
        lanes[hidden..].copy_from_slice(numbers);
    }
    lanes
}

/// [`last_lanes_by_lane`] by a load with a mask.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn last_lanes_avx512(numbers: &[f32], fill: f32) -> Lanes {
    use std::arch::x86_64::{_mm512_mask_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps};

    let hidden = LANES - numbers.len() % LANES;
    let mask = u32::from(u16::MAX) << hidden;
    let end = numbers.as_ptr_range().end;
    let fill = _mm512_set1_ps(fill);
    // SAFETY: only the lanes of the mask are read, which are the last numbers.
    let vector = unsafe { _mm512_mask_loadu_ps(fill, mask as u16, end.wrapping_sub(LANES)) };
    let mut lanes = [0.0; LANES];
    // SAFETY: there are as many numbers as lanes.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), vector) };
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lanes_are_those_after_whole_vectors() {
        let numbers: Vec<f32> = (1..=50).map(|i| i as f32).collect();
        for len in 0..numbers.len() {
            let mut expected = [-1.0; LANES];
            let rest = &numbers[len / LANES * LANES..len];
            expected[LANES - rest.len()..].copy_from_slice(rest);
            for last in [last_lanes, last_lanes_by_lane] {
                assert_eq!(last(&numbers[..len], -1.0), expected, "{len}");
            }
        }
    }
}
