//! The loops over all classes, vectorised.
//!
//! Which instructions are used is found out when the program runs. All variants do the same
//! operations in the same order, fused multiply-adds included, and give the same results to the bit.

mod exp;
mod polynomials;
mod reduce;
mod select;
mod subset_sizes;

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

pub(crate) use exp::{exp, weights};
pub(crate) use polynomials::{Buffers as PolynomialBuffers, MAX_K, derivatives, polynomials};
pub(crate) use reduce::{all_finite, max, scale, sum};
pub(crate) use select::highest;
pub(crate) use subset_sizes::{add_elements, remove_each};

/// The instruction set extension that the `f32` kernels use on this processor: `AVX-512`, `AVX2` or
/// `NEON`, or `none` beyond what the program is built for.
#[multiversion(targets("x86_64+avx512f+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn instructions() -> &'static str {
    let targets = [
        ("AVX-512", target_cfg_f!(target_feature = "avx512f")),
        ("AVX2", target_cfg_f!(target_feature = "avx2")),
        ("NEON", target_cfg_f!(target_feature = "neon")),
    ];
    let used = targets.into_iter().find(|&(_, used)| used);
    used.map_or("none", |(name, _)| name)
}

/// Classes treated side by side in `f32`.
pub(crate) const LANES: usize = 16;

/// As many `f32` as are treated at once.
pub(crate) type Lanes = [f32; LANES];

/// Numbers treated side by side in `f64`.
pub(crate) const LANES_F64: usize = 8;

/// As many `f64` as are treated at once.
pub(crate) type LanesF64 = [f64; LANES_F64];
