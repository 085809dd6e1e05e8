//! Which kernel computes a batch, and how it is launched. Needs no driver.

use thiserror::Error;
use topk_ops::LossError;

use crate::KernelLoss;
use crate::ptx::Module;

/// What a plan depends on in a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeviceLimits {
    /// Bytes of shared memory that a block can have when it opts in to more than 48 KiB.
    pub shared_memory: usize,
}

/// A kernel and how to launch it: all grids and blocks have one dimension.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Launch {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// The module that has the kernel.
    pub module: Module,
    /// Number of blocks.
    pub grid: u32,
    /// Threads per block.
    pub block: u32,
    /// Bytes of dynamic shared memory per block.
    pub shared: u32,
}

/// A batch cannot be computed by the kernels.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum PlanError {
    /// The loss cannot be computed with this number of classes.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// k is too large.
    #[error("the CUDA kernels of this loss support k up to {max}, got {k}")]
    K {
        /// The k.
        k: usize,
        /// The largest one.
        max: usize,
    },
    /// There are too many classes.
    #[error("the CUDA kernels support up to {max} classes, got {0}", max = KernelLoss::MAX_CLASSES)]
    Classes(usize),
    /// There are too many samples.
    #[error("the CUDA kernels support up to {max} samples, got {0}", max = i32::MAX)]
    Samples(usize),
}

/// Most classes of a row that a warp holds in registers: 4 and 32 per lane.
const SMALL: usize = 128;
const WARP: usize = 1024;

/// Rows of a block of the kernels in which a warp computes a row.
const ROWS_PER_BLOCK: usize = 4;
const WARPS_BLOCK: u32 = 128;
const ROW_BLOCK: u32 = 512;

/// Samples whose class weights each block sums for itself: `FEW_SAMPLES` in `kernels/sample.cuh`.
pub(crate) const FEW_SAMPLES: usize = 512;
/// `SAMPLES_PER_SUM` there.
const SAMPLES_PER_SUM: usize = 1024;
/// `MAX_WEIGHT_SUMS` there.
pub(crate) const MAX_WEIGHT_SUMS: usize = 64;

/// Bytes of shared memory that no kernel that holds rows there exceeds beside the row; a test adds up what the PTX
/// declares.
const FIXED_SHARED: usize = 32 << 10;

/// The kernel for the loss and the gradient of a batch of at least one sample, and how to launch it.
///
/// Up to 1,024 classes, and k up to 10, a warp holds a row in registers. Above, a block holds it in shared memory, or reads it
/// again from global memory where it does not fit.
///
/// # Errors
/// [`PlanError`] if there are too few or too many classes or samples, or k is too large.
pub fn plan(
    loss: &KernelLoss,
    samples: usize,
    classes: usize,
    device: DeviceLimits,
) -> Result<Launch, PlanError> {
    loss.check_classes(classes)?;
    let (k, max) = (loss.k(), loss.max_k());
    if k > max {
        return Err(PlanError::K { k, max });
    }
    if classes > KernelLoss::MAX_CLASSES {
        return Err(PlanError::Classes(classes));
    }
    let samples = i32::try_from(samples).map_err(|_| PlanError::Samples(samples))? as u32;

    // Names of the kernels with one warp per row (small, warp) and one block per row (shared, global).
    let (module, of_warps, of_blocks) = match k {
        _ if loss.ranked().is_some() => (
            Module::Ranked,
            Some(["topk_ranked_small", "topk_ranked_warp"]),
            ["topk_ranked_shared", "topk_ranked_global"],
        ),
        1 => (
            Module::Top1,
            Some(["topk_svm_1_small", "topk_svm_1_warp"]),
            ["topk_svm_1_shared", "topk_svm_1_global"],
        ),
        2..=5 => (
            Module::Top5,
            Some(["topk_svm_5_small", "topk_svm_5_warp"]),
            ["topk_svm_5_shared", "topk_svm_5_global"],
        ),
        6..=10 => (
            Module::Top10,
            Some(["topk_svm_10_small", "topk_svm_10_warp"]),
            ["topk_svm_10_shared", "topk_svm_10_global"],
        ),
        _ => (
            Module::TopAny,
            None,
            ["topk_svm_any_shared", "topk_svm_any_global"],
        ),
    };
    if let Some([small, warp]) = of_warps
        && classes <= WARP
    {
        return Ok(Launch {
            kernel: if classes <= SMALL { small } else { warp },
            module,
            grid: samples.div_ceil(ROWS_PER_BLOCK as u32),
            block: WARPS_BLOCK,
            shared: 0,
        });
    }
    let [shared, global] = of_blocks;
    let row = row_bytes(classes);
    let fits = row <= largest_dynamic(device) as usize;
    Ok(Launch {
        kernel: if fits { shared } else { global },
        module,
        grid: samples,
        block: ROW_BLOCK,
        shared: if fits { row as u32 } else { 0 },
    })
}

/// Bytes of a row in shared memory, which is read four scores at a time.
fn row_bytes(classes: usize) -> usize {
    4 * classes.next_multiple_of(4)
}

/// Bytes of dynamic shared memory that a kernel may be launched with.
pub(crate) fn largest_dynamic(device: DeviceLimits) -> u32 {
    u32::try_from(device.shared_memory.saturating_sub(FIXED_SHARED)).unwrap_or(u32::MAX)
}

/// The launch that sums the class weights of `samples` samples in parts.
pub fn plan_weights(samples: usize) -> Launch {
    Launch {
        kernel: "topk_weights",
        module: Module::Totals,
        grid: samples.div_ceil(SAMPLES_PER_SUM).min(MAX_WEIGHT_SUMS) as u32,
        block: WARPS_BLOCK,
        shared: 0,
    }
}

/// The launch that reduces the losses of the samples to one.
pub fn plan_reduce() -> Launch {
    Launch {
        kernel: "topk_reduce",
        module: Module::Totals,
        grid: 1,
        block: ROW_BLOCK,
        shared: 0,
    }
}

/// The launch that computes probabilities from losses of at least one sample.
pub fn plan_probability(samples: usize) -> Launch {
    Launch {
        kernel: "topk_probability",
        module: Module::Totals,
        grid: samples.div_ceil(WARPS_BLOCK as usize) as u32,
        block: WARPS_BLOCK,
        shared: 0,
    }
}

#[cfg(test)]
mod tests {
    use topk_ops::{CrossEntropy, MaxTopkSvm, SmoothTopkSvm};

    use super::*;
    use crate::ptx::text;

    const H100: DeviceLimits = DeviceLimits {
        shared_memory: 232_448,
    };
    const T4: DeviceLimits = DeviceLimits {
        shared_memory: 65_536,
    };

    fn svm(k: usize) -> KernelLoss {
        SmoothTopkSvm::new(k, 1.0, 1.0).unwrap().into()
    }

    fn ranked(k: usize) -> KernelLoss {
        MaxTopkSvm::new(k, 1.0).unwrap().into()
    }

    /// All launches that are planned for some samples.
    fn launches() -> Vec<Launch> {
        let mut launches = vec![plan_weights(5000), plan_reduce(), plan_probability(100)];
        let losses = [1, 2, 5, 6, 10, 11, 128].map(svm);
        for loss in losses.into_iter().chain([ranked(3)]) {
            for classes in [129, 1024, 1025, 20_000, KernelLoss::MAX_CLASSES] {
                for device in [T4, H100] {
                    launches.push(plan(&loss, 100, classes, device).unwrap());
                }
            }
            launches.push(plan(&loss, 100, loss.k() + 1, T4).unwrap());
        }
        launches
    }

    #[test]
    fn each_size_has_its_kernel() {
        for (k, classes, device, kernel, grid, shared) in [
            (1, 2, T4, "topk_svm_1_small", 25, 0),
            (5, 128, T4, "topk_svm_5_small", 25, 0),
            (5, 129, T4, "topk_svm_5_warp", 25, 0),
            (6, 1024, T4, "topk_svm_10_warp", 25, 0),
            (10, 1025, T4, "topk_svm_10_shared", 97, 4112),
            (5, 8192, T4, "topk_svm_5_shared", 97, 32_768),
            (5, 8193, T4, "topk_svm_5_global", 97, 0),
            (5, 21_843, H100, "topk_svm_5_shared", 97, 87_376),
            (11, 100, T4, "topk_svm_any_shared", 97, 400),
            (128, 100_000, H100, "topk_svm_any_global", 97, 0),
        ] {
            let launch = plan(&svm(k), 97, classes, device).unwrap();
            let found = (launch.kernel, launch.grid, launch.shared);
            assert_eq!(found, (kernel, grid, shared), "k={k} {classes}");
        }
        let launch = plan(&CrossEntropy.into(), 1, 1, T4).unwrap();
        assert_eq!((launch.kernel, launch.grid), ("topk_svm_1_small", 1));
        assert_eq!(
            [1, 1024, 1025, 1 << 20].map(|n| plan_weights(n).grid),
            [1, 1, 2, 64]
        );
    }

    #[test]
    fn what_the_kernels_cannot_compute_is_named() {
        let message = |loss: KernelLoss, samples, classes| {
            plan(&loss, samples, classes, H100).unwrap_err().to_string()
        };
        assert_eq!(
            message(svm(5), 1, 5),
            "this loss needs at least 6 classes, got 5"
        );
        assert_eq!(
            message(svm(129), 1, 1000),
            "the CUDA kernels of this loss support k up to 128, got 129"
        );
        assert_eq!(
            message(ranked(11), 1, 1000),
            "the CUDA kernels of this loss support k up to 10, got 11"
        );
        assert_eq!(
            message(svm(5), 1, 4_194_305),
            "the CUDA kernels support up to 4194304 classes, got 4194305"
        );
        assert_eq!(
            message(svm(5), 1 << 31, 10),
            "the CUDA kernels support up to 2147483647 samples, got 2147483648"
        );
        assert!(!svm(129).supports(1000) && svm(128).supports(1000));
        assert!(!KernelLoss::from(CrossEntropy).supports(KernelLoss::MAX_CLASSES + 1));
    }

    #[test]
    fn every_kernel_is_in_its_module_and_planned() {
        let mut planned: Vec<_> = launches().iter().map(|l| (l.module, l.kernel)).collect();
        for &(module, kernel) in &planned {
            assert!(module.kernels().unwrap().contains(&kernel), "{kernel}");
        }
        planned.sort_by_key(|&(_, kernel)| kernel);
        planned.dedup();
        let all: usize = Module::ALL
            .map(|module| module.kernels().unwrap().len())
            .iter()
            .sum();
        assert_eq!(planned.len(), all, "{planned:?}");
    }

    #[test]
    fn threads_and_shared_memory_are_what_the_kernels_are_compiled_for() {
        for Launch {
            kernel,
            module,
            block,
            shared,
            ..
        } in launches()
        {
            let ptx = text(module, kernel).unwrap();
            let declared: u32 = ptx
                .lines()
                .find_map(|line| line.strip_prefix(".maxntid "))
                .and_then(|threads| threads.split(',').next()?.trim().parse().ok())
                .unwrap();
            assert_eq!(declared, block, "{kernel}");
            let fixed: usize = ptx
                .lines()
                .filter(|line| line.starts_with(".shared "))
                .map(|line| {
                    let size = line.rsplit_once('[').unwrap().1;
                    size.trim_end_matches("];").parse::<usize>().unwrap()
                })
                .sum();
            assert!(fixed <= FIXED_SHARED, "{kernel} has {fixed} bytes");
            assert!(fixed > 0 || !ptx.contains("st.shared"), "{kernel}");
            // Without opting in, a block has 48 KiB.
            assert!(shared > 0 || fixed <= 48 << 10);
        }
    }

    #[test]
    fn numbers_shared_with_the_kernels_are_the_same() {
        let source = include_str!("../kernels/sample.cuh");
        for (name, value) in [
            ("FEW_SAMPLES", FEW_SAMPLES),
            ("SAMPLES_PER_SUM", SAMPLES_PER_SUM),
            ("MAX_WEIGHT_SUMS", MAX_WEIGHT_SUMS),
        ] {
            let expected = format!("constexpr int {name} = {value};");
            assert!(source.contains(&expected), "{expected}");
        }
        let warps = include_str!("../kernels/svm_of_warps.cuh");
        assert!(warps.contains(&format!("constexpr int ROWS_PER_BLOCK = {ROWS_PER_BLOCK};")));
    }
}
