//! A batch in device memory.

use std::ffi::c_void;
use std::ptr;

use topk_ops::Reduction;

use crate::arguments::Arguments;
use crate::driver::{Context, Driver, Stream};
use crate::kernels::Kernels;
use crate::plan::{
    DeviceLimits, FEW_SAMPLES, Launch, MAX_WEIGHT_SUMS, plan, plan_probability, plan_reduce,
    plan_weights,
};
use crate::{CudaError, KernelLoss, ScoreType};

/// The inputs of a loss, in device memory of one device.
///
/// Strides are in elements. All pointers are aligned for their elements.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The loss of one sample.
    pub loss: KernelLoss,
    /// One value per sample, their sum, or their mean.
    pub reduction: Reduction,
    /// Samples with this label have loss 0 and gradient 0, whatever their scores, and do not count in the mean.
    pub ignore_index: Option<i64>,
    /// The type of the scores and of the gradient.
    pub score_type: ScoreType,
    /// Number of samples, N; at most 2³¹ − 1.
    pub samples: usize,
    /// Number of classes, C.
    pub classes: usize,
    /// Scores `[N, C]`. The scores of a sample are contiguous.
    pub scores: *const c_void,
    /// From one sample to the next; C for a contiguous array.
    pub scores_stride: usize,
    /// Labels `[N]`.
    pub labels: *const i64,
    /// Class weights `[C]`, or null for 1. They are not checked.
    pub class_weights: *const f32,
}

/// Where a gradient is written to: `[N, C]`, of the type of the scores.
#[derive(Clone, Copy, Debug)]
pub struct Gradient {
    /// The derivatives of the first sample, which are contiguous.
    pub memory: *mut c_void,
    /// From one sample to the next, in elements.
    pub stride: usize,
}

/// The gradient of an objective with respect to the loss, which that of the scores is multiplied by before it is
/// rounded.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    /// One number per sample or for all.
    pub memory: *const f32,
    /// Whether there is one number per sample, which is possible without reduction only.
    pub per_sample: bool,
}

/// Bytes of the workspace for sums of weights, which come first.
const WEIGHTS_BYTES: usize = MAX_WEIGHT_SUMS * size_of::<f64>();

impl Batch {
    /// Whether the kernels can compute this loss of this many classes.
    pub fn is_supported(&self) -> bool {
        self.loss.supports(self.classes)
    }

    /// Bytes of device memory that [`loss`](Self::loss) works in.
    pub fn workspace_bytes(&self) -> usize {
        let values = match self.reduction {
            Reduction::None => 0,
            Reduction::Sum | Reduction::Mean => self.samples * size_of::<f32>(),
        };
        self.gradient_workspace_bytes() + values
    }

    /// Bytes of device memory that [`gradient`](Self::gradient) works in.
    pub fn gradient_workspace_bytes(&self) -> usize {
        if self.needs_weights() {
            WEIGHTS_BYTES
        } else {
            0
        }
    }

    /// Whether the weights of the samples are summed before.
    fn needs_weights(&self) -> bool {
        self.reduction == Reduction::Mean
            && (!self.class_weights.is_null() || self.ignore_index.is_some())
            && self.samples > FEW_SAMPLES
    }

    /// Computes the loss and, if requested, the derivatives of its sum with respect to the scores.
    ///
    /// `result` is `[N]` without reduction, otherwise one number. The work is put on the stream; the call does not wait
    /// for it. A sample with a score that is NaN or infinite, or with a label that is not a class, has a loss and a
    /// gradient of NaN.
    ///
    /// # Errors
    /// [`CudaError`] if the kernels do not support the batch, or the driver fails.
    ///
    /// # Safety
    /// The stream is valid, and all pointers are to memory of its device with the documented numbers of elements, which
    /// stays allocated until the work is done, and that work on other streams does not write to (or, for outputs,
    /// access) meanwhile. `workspace` has [`workspace_bytes`](Self::workspace_bytes) bytes, aligned to 8, and
    /// its contents may be overwritten as soon as the work is done. Outputs do not overlap with each other or
    /// with inputs.
    pub unsafe fn loss(
        &self,
        result: *mut f32,
        gradient: Option<Gradient>,
        workspace: *mut c_void,
        stream: Stream,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.loss_with(Launcher::new(stream)?, result, gradient, workspace) }
    }

    /// Computes the derivatives of an objective with respect to the scores.
    ///
    /// With `skip_if_one`, the gradient of a sample whose upstream gradient is 1 is left as it is: pass the gradient
    /// that [`loss`](Self::loss) wrote, and the usual upstream gradient of 1 costs one launch that does nothing.
    ///
    /// # Errors
    /// As for [`loss`](Self::loss).
    ///
    /// # Safety
    /// As for [`loss`](Self::loss), with a workspace of
    /// [`gradient_workspace_bytes`](Self::gradient_workspace_bytes).
    pub unsafe fn gradient(
        &self,
        upstream: Upstream,
        skip_if_one: bool,
        gradient: Gradient,
        workspace: *mut c_void,
        stream: Stream,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe {
            self.gradient_with(
                Launcher::new(stream)?,
                upstream,
                skip_if_one,
                gradient,
                workspace,
            )
        }
    }

    /// Computes the smooth top-k SVM's p = 1/(1 + exp −u) of each sample, `[N]`: unweighted, and 0 where the label is
    /// ignored. For other losses it has no meaning.
    ///
    /// # Errors
    /// As for [`loss`](Self::loss).
    ///
    /// # Safety
    /// As for [`loss`](Self::loss).
    pub unsafe fn probabilities(&self, result: *mut f32, stream: Stream) -> Result<(), CudaError> {
        let launcher = Launcher::new(stream)?;
        // SAFETY: the caller's promise.
        unsafe { self.probabilities_with(launcher, result) }
    }

    /// Loads the kernels that this batch needs, which otherwise happens in the first call: the driver compiles them for
    /// its GPU, which takes up to a second, and keeps the result in a cache on the disk.
    ///
    /// # Errors
    /// As for [`loss`](Self::loss).
    ///
    /// # Safety
    /// The stream is valid, and `scores` is an address in memory of its device.
    pub unsafe fn prepare(&self, stream: Stream) -> Result<(), CudaError> {
        let launcher = Launcher::new(stream)?;
        // SAFETY: the caller's promise.
        unsafe {
            launcher.run(self.scores, |within| {
                let one = Self {
                    samples: self.samples.max(1),
                    ..*self
                };
                within.function(&one.plan(within.limits()?)?)?;
                if self.needs_weights() {
                    within.function(&plan_weights(self.samples))?;
                }
                if self.reduction != Reduction::None {
                    within.function(&plan_reduce())?;
                }
                Ok(())
            })
        }
    }

    fn plan(&self, limits: DeviceLimits) -> Result<Launch, CudaError> {
        Ok(plan(&self.loss, self.samples, self.classes, limits)?)
    }

    /// Checks a batch without samples, of which no address need be valid.
    fn check_empty(&self) -> Result<(), CudaError> {
        self.plan(DeviceLimits { shared_memory: 0 }).map(|_| ())
    }

    fn arguments(&self) -> Arguments {
        Arguments {
            scores: self.scores,
            labels: self.labels,
            class_weights: self.class_weights,
            upstream: ptr::null(),
            gradient: ptr::null_mut(),
            values: ptr::null_mut(),
            weights: ptr::null_mut(),
            result: ptr::null_mut(),
            samples: self.samples as i64,
            scores_stride: self.scores_stride as i64,
            gradient_stride: 0,
            upstream_stride: 0,
            ignore_index: self.ignore_index.unwrap_or(0),
            tau: self.loss.tau(),
            alpha: self.loss.alpha(),
            per_score: (1.0 / self.loss.k() as f64 / self.loss.tau()).min(f64::MAX),
            classes: self.classes as i32,
            k: self.loss.k() as i32,
            score_type: match self.score_type {
                ScoreType::F32 => 0,
                ScoreType::F16 => 1,
                ScoreType::Bf16 => 2,
            },
            reduction: match self.reduction {
                Reduction::None => 0,
                Reduction::Sum => 1,
                Reduction::Mean => 2,
            },
            has_ignore_index: self.ignore_index.is_some().into(),
            skip_if_one: 0,
            loss: self.loss.ranked().unwrap_or(0),
        }
    }

    /// # Safety
    /// As for [`loss`](Self::loss).
    pub(crate) unsafe fn loss_with(
        &self,
        launcher: Launcher<'_>,
        result: *mut f32,
        gradient: Option<Gradient>,
        workspace: *mut c_void,
    ) -> Result<(), CudaError> {
        if self.samples == 0 && self.reduction == Reduction::None {
            return self.check_empty();
        }
        let mut arguments = self.arguments();
        if self.needs_weights() {
            arguments.weights = workspace.cast();
        }
        if let Some(gradient) = gradient {
            arguments.gradient = gradient.memory;
            arguments.gradient_stride = gradient.stride as i64;
        }
        arguments.values = match self.reduction {
            Reduction::None => result,
            Reduction::Sum | Reduction::Mean => {
                arguments.result = result;
                workspace
                    .wrapping_byte_add(self.gradient_workspace_bytes())
                    .cast()
            }
        };
        // SAFETY: the caller's promise: the pointers are valid, and the workspace has room for the sums of weights and the
        // losses of the samples.
        unsafe {
            launcher.run(self.address(result.cast()), |within| {
                self.launch_rows(&within, &arguments)?;
                if self.reduction != Reduction::None {
                    within.launch(&plan_reduce(), &arguments)?;
                }
                Ok(())
            })
        }
    }

    /// # Safety
    /// As for [`probabilities`](Self::probabilities).
    pub(crate) unsafe fn probabilities_with(
        &self,
        launcher: Launcher<'_>,
        result: *mut f32,
    ) -> Result<(), CudaError> {
        if self.samples == 0 {
            return self.check_empty();
        }
        let unweighted = Self {
            class_weights: ptr::null(),
            reduction: Reduction::None,
            ..*self
        };
        let arguments = Arguments {
            values: result,
            result,
            ..unweighted.arguments()
        };
        // SAFETY: the caller's promise. The losses are replaced by the probabilities.
        unsafe {
            launcher.run(self.address(result.cast()), |within| {
                unweighted.launch_rows(&within, &arguments)?;
                within.launch(&plan_probability(self.samples), &arguments)
            })
        }
    }

    /// # Safety
    /// As for [`gradient`](Self::gradient).
    pub(crate) unsafe fn gradient_with(
        &self,
        launcher: Launcher<'_>,
        upstream: Upstream,
        skip_if_one: bool,
        gradient: Gradient,
        workspace: *mut c_void,
    ) -> Result<(), CudaError> {
        if self.samples == 0 {
            return self.check_empty();
        }
        let mut arguments = self.arguments();
        if self.needs_weights() {
            arguments.weights = workspace.cast();
        }
        arguments.gradient = gradient.memory;
        arguments.gradient_stride = gradient.stride as i64;
        arguments.upstream = upstream.memory;
        let per_sample = upstream.per_sample && self.reduction == Reduction::None;
        arguments.upstream_stride = per_sample.into();
        arguments.skip_if_one = skip_if_one.into();
        let address = self.address(upstream.memory.cast());
        // SAFETY: the caller's promise.
        unsafe { launcher.run(address, |within| self.launch_rows(&within, &arguments)) }
    }

    /// An address of the batch's device; that of the scores of an empty batch need not be valid.
    fn address(&self, other: *const c_void) -> *const c_void {
        if self.samples == 0 {
            other
        } else {
            self.scores
        }
    }

    /// Launches the kernel of the loss, and before it that of the weights.
    ///
    /// # Safety
    /// The pointers in `arguments` must be valid.
    unsafe fn launch_rows(
        &self,
        within: &Within<'_>,
        arguments: &Arguments,
    ) -> Result<(), CudaError> {
        let launch = self.plan(within.limits()?)?;
        if self.samples == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe {
            if self.needs_weights() {
                within.launch(&plan_weights(self.samples), arguments)?;
            }
            within.launch(&launch, arguments)
        }
    }
}

/// What is needed to launch kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launcher<'a> {
    pub(crate) driver: &'a Driver,
    pub(crate) kernels: &'a Kernels,
    pub(crate) stream: Stream,
}

impl Launcher<'static> {
    /// That of this process.
    fn new(stream: Stream) -> Result<Self, CudaError> {
        Ok(Self {
            driver: Driver::get()?,
            kernels: Kernels::get(),
            stream,
        })
    }
}

impl<'a> Launcher<'a> {
    /// # Safety
    /// As for [`Driver::within`].
    unsafe fn run(
        self,
        address: *const c_void,
        task: impl FnOnce(Within<'a>) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe {
            self.driver.within(self.stream, address, |context| {
                task(Within {
                    launcher: self,
                    context,
                })
            })
        }
    }
}

/// A launcher whose context is current.
#[derive(Debug)]
struct Within<'a> {
    launcher: Launcher<'a>,
    context: Context,
}

impl Within<'_> {
    fn limits(&self) -> Result<DeviceLimits, CudaError> {
        let Launcher {
            driver, kernels, ..
        } = self.launcher;
        kernels.limits(driver, self.context)
    }

    fn function(&self, launch: &Launch) -> Result<crate::driver::Function, CudaError> {
        let Launcher {
            driver, kernels, ..
        } = self.launcher;
        kernels.function(driver, self.context, launch)
    }

    /// # Safety
    /// The pointers in `arguments` must be valid.
    unsafe fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<(), CudaError> {
        let function = self.function(launch)?;
        let Launcher { driver, stream, .. } = self.launcher;
        let shape = [launch.grid, launch.block, launch.shared];
        // SAFETY: the function is of the current context, which the stream belongs to, and the kernels take `Arguments`.
        unsafe { driver.launch(function, shape, stream, arguments)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
