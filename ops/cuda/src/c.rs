//! The interface for C: `include/topk_cuda.h`, which describes all of it.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use topk_ops::{
    CrossEntropy, LossError, MaxTopkSvm, Psi5, Reduction, SmoothTopkSvm, TopkHingeAlpha,
    TopkHingeBeta, TruncatedTopkEntropy,
};

use crate::plan::PlanError;
use crate::{Batch, CudaError, DriverError, Gradient, KernelLoss, ScoreType, Stream, Upstream};

const INVALID: c_int = 1;
const UNSUPPORTED: c_int = 2;
const NO_DRIVER: c_int = 3;
const FAILED: c_int = 4;

/// `topk_cuda_batch`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CBatch {
    scores: *const c_void,
    scores_stride: i64,
    labels: *const i64,
    class_weights: *const f32,
    samples: i64,
    classes: i64,
    ignore_index: i64,
    has_ignore_index: i32,
    loss: i32,
    score_type: i32,
    reduction: i32,
    tau: f64,
    alpha: f64,
    k: i32,
}

/// Why a call failed, and in words.
struct Failure(c_int, String);

impl Failure {
    fn invalid(message: impl Into<String>) -> Self {
        Self(INVALID, message.into())
    }
}

impl From<LossError> for Failure {
    fn from(error: LossError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Self {
        let code = match &error {
            CudaError::Plan(PlanError::Loss(_)) => INVALID,
            CudaError::Plan(_) => UNSUPPORTED,
            CudaError::Driver(DriverError::NoDriver(_) | DriverError::TooOld(_)) => NO_DRIVER,
            CudaError::Driver(_) | CudaError::Ptx(_) => FAILED,
        };
        Self(code, error.to_string())
    }
}

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

/// Runs a call, and keeps its error for [`topk_cuda_error`].
fn guard(call: impl FnOnce() -> Result<(), Failure>) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        let message = "internal error in topk-ops-cuda; see the message on standard error";
        Err(Failure(FAILED, message.to_owned()))
    });
    let Err(Failure(code, message)) = result else {
        return 0;
    };
    let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
    ERROR.set(message);
    code
}

impl CBatch {
    /// # Safety
    /// `batch` is null or valid.
    unsafe fn read(batch: *const Self) -> Result<Batch, Failure> {
        // SAFETY: the caller's promise.
        let Some(batch) = (unsafe { batch.as_ref() }) else {
            return Err(Failure::invalid("batch is NULL"));
        };
        let size = |name: &str, value: i64| {
            usize::try_from(value)
                .map_err(|_| Failure::invalid(format!("{name} must be at least 0, got {value}")))
        };
        let unknown = |name: &str, value: i32| {
            Failure::invalid(format!(
                "{name} has the unknown value {value}: see topk_cuda.h"
            ))
        };
        let k = || size("k", batch.k.into());
        let loss: KernelLoss = match batch.loss {
            0 => SmoothTopkSvm::new(k()?, batch.tau, batch.alpha)?.into(),
            1 => CrossEntropy.into(),
            2 => MaxTopkSvm::new(k()?, batch.alpha)?.into(),
            3 => TopkHingeAlpha::new(k()?, batch.alpha)?.into(),
            4 => TopkHingeBeta::new(k()?, batch.alpha)?.into(),
            5 => Psi5::new(k()?, batch.alpha)?.into(),
            6 => TruncatedTopkEntropy::new(k()?)?.into(),
            other => return Err(unknown("loss", other)),
        };
        let score_type = match batch.score_type {
            0 => ScoreType::F32,
            1 => ScoreType::F16,
            2 => ScoreType::Bf16,
            other => return Err(unknown("score_type", other)),
        };
        let reduction = match batch.reduction {
            0 => Reduction::None,
            1 => Reduction::Sum,
            2 => Reduction::Mean,
            other => return Err(unknown("reduction", other)),
        };
        let classes = size("classes", batch.classes)?;
        Ok(Batch {
            loss,
            reduction,
            ignore_index: (batch.has_ignore_index != 0).then_some(batch.ignore_index),
            score_type,
            samples: size("samples", batch.samples)?,
            classes,
            scores: batch.scores,
            scores_stride: stride("scores_stride", batch.scores_stride, batch.classes)?,
            labels: batch.labels,
            class_weights: batch.class_weights,
        })
    }
}

/// A stride, which must not make samples overlap.
fn stride(name: &str, stride: i64, classes: i64) -> Result<usize, Failure> {
    usize::try_from(stride)
        .ok()
        .filter(|_| stride >= classes)
        .ok_or_else(|| {
            Failure::invalid(format!(
                "{name} must be at least the number of classes, {classes}, got {stride}"
            ))
        })
}

/// The gradient of a batch, in this memory.
fn gradient_of(
    batch: &Batch,
    memory: *mut c_void,
    gradient_stride: i64,
) -> Result<Gradient, Failure> {
    Ok(Gradient {
        memory,
        stride: stride("gradient_stride", gradient_stride, batch.classes as i64)?,
    })
}

/// The reason for the last failure on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn topk_cuda_error() -> *const c_char {
    ERROR.with_borrow(|error| error.as_ptr())
}

/// # Safety
/// `batch` is valid, and `bytes` a place for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn topk_cuda_workspace_bytes(
    batch: *const CBatch,
    bytes: *mut usize,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe {
            let batch = CBatch::read(batch)?;
            bytes.write(batch.workspace_bytes());
        }
        Ok(())
    })
}

/// # Safety
/// As for [`Batch::prepare`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn topk_cuda_prepare(batch: *const CBatch, stream: *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| unsafe { Ok(CBatch::read(batch)?.prepare(Stream::from_raw(stream))?) })
}

/// # Safety
/// As for [`Batch::loss`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn topk_cuda_loss(
    batch: *const CBatch,
    loss: *mut f32,
    workspace: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe {
            let batch = CBatch::read(batch)?;
            Ok(batch.loss(loss, None, workspace, Stream::from_raw(stream))?)
        }
    })
}

/// # Safety
/// As for [`Batch::loss`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn topk_cuda_loss_and_gradient(
    batch: *const CBatch,
    loss: *mut f32,
    gradient: *mut c_void,
    gradient_stride: i64,
    workspace: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe {
            let batch = CBatch::read(batch)?;
            let gradient = gradient_of(&batch, gradient, gradient_stride)?;
            Ok(batch.loss(loss, Some(gradient), workspace, Stream::from_raw(stream))?)
        }
    })
}

/// # Safety
/// As for [`Batch::gradient`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn topk_cuda_gradient(
    batch: *const CBatch,
    upstream: *const f32,
    upstream_per_sample: i32,
    skip_if_one: i32,
    gradient: *mut c_void,
    gradient_stride: i64,
    workspace: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe {
            let batch = CBatch::read(batch)?;
            let gradient = gradient_of(&batch, gradient, gradient_stride)?;
            let upstream = Upstream {
                memory: upstream,
                per_sample: upstream_per_sample != 0,
            };
            Ok(batch.gradient(
                upstream,
                skip_if_one != 0,
                gradient,
                workspace,
                Stream::from_raw(stream),
            )?)
        }
    })
}
