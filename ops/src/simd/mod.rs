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
mod reduce;
mod select;

use multiversion::target::target_cfg_f;

pub(crate) use exp::{exp, weights};
pub(crate) use reduce::{all_finite, max, scale, sum};
pub(crate) use select::highest;

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

/// Number of `f64` lanes.
pub(crate) const LANES_F64: usize = 8;

/// One `f64` vector.
pub(crate) type LanesF64 = [f64; LANES_F64];
