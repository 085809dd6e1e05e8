use std::ffi::{CString, c_char};
use std::ptr;
use std::time::Duration;

use tch::Tensor;
use topk_libtorch::call::{check, tensor_result};
use torch_sys::C_tensor;

use crate::error::DistributedError;
use crate::group::{Group, RawGroup};

/// A reducer of libtorch.
#[repr(C)]
struct RawReducer([u8; 0]);

#[repr(C)]
struct RawOptions {
    bucket_bytes: i64,
    first_bucket_bytes: i64,
    find_unused: bool,
    bucket_view: bool,
}

#[repr(C)]
#[derive(Default)]
struct RawStats {
    rebuilt: bool,
    steps: i64,
    forward_ns: i64,
    backward_ns: i64,
    communication_ns: i64,
    overlap_ns: i64,
}

unsafe extern "C" {
    fn topk_reducer_new(
        group: *mut RawGroup,
        parameters: *const *const C_tensor,
        names: *const *const c_char,
        count: usize,
        options: RawOptions,
        result: *mut *mut RawReducer,
    ) -> *mut c_char;
    fn topk_reducer_free(reducer: *mut RawReducer);
    fn topk_reducer_prepare(reducer: *mut RawReducer) -> *mut c_char;
    fn topk_reducer_rebuild(reducer: *mut RawReducer) -> *mut c_char;
    fn topk_reducer_backward(
        reducer: *mut RawReducer,
        loss: *const C_tensor,
        reduce: bool,
    ) -> *mut c_char;
    fn topk_weighted_sum(
        reducer: *mut RawReducer,
        factor: f64,
        result: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn topk_reducer_buckets(reducer: *mut RawReducer, result: *mut usize) -> *mut c_char;
    fn topk_reducer_bucket_sizes(
        reducer: *mut RawReducer,
        bytes: *mut i64,
        parameters: *mut i64,
        count: usize,
    ) -> *mut c_char;
    fn topk_reducer_stats(reducer: *mut RawReducer, result: *mut RawStats) -> *mut c_char;
}

/// How a [`Reducer`] works. The defaults are those of PyTorch's DDP, except for `bucket_view`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReducerOptions {
    /// Names of the parameters for error messages, in their order; `parameter N` if there are fewer.
    pub names: Vec<String>,
    /// The most bytes of gradients in one message.
    pub bucket_bytes: usize,
    /// The same for the first message, which is smaller, so that it leaves early.
    pub first_bucket_bytes: usize,
    /// Whether some parameters may not contribute to a loss. Costs a traversal of the graph per step.
    pub find_unused_parameters: bool,
    /// Whether gradients are views of the buckets, which saves a copy of them and its memory.
    pub bucket_view: bool,
}

impl Default for ReducerOptions {
    fn default() -> Self {
        Self {
            names: vec![],
            bucket_bytes: 25 << 20,
            first_bucket_bytes: 1 << 20,
            find_unused_parameters: false,
            bucket_view: true,
        }
    }
}

/// Gradients that are reduced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes of gradients.
    pub bytes: usize,
    /// Number of parameters.
    pub parameters: usize,
}

/// What a [`Reducer`] did. Times are averages per step, of the first ten steps and every hundredth after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReducerStats {
    /// The buckets in the order in which they are reduced.
    pub buckets: Vec<Bucket>,
    /// Whether they are in the order in which gradients arrive.
    pub rebuilt: bool,
    /// Time from [`Reducer::prepare`] to [`Reducer::backward`].
    pub forward: Duration,
    /// Time of the backward pass.
    pub backward: Duration,
    /// Time from the start of the first bucket's message to the end of the last.
    pub communication: Duration,
    /// The part of it during which the backward pass still computed.
    pub overlap: Duration,
}

/// Averages gradients over the ranks during the backward pass: libtorch's `Reducer`, the engine of PyTorch's DDP.
///
/// Gradients are sent in buckets as soon as all of a bucket are there. The first backward pass fixes the order of the
/// buckets for the next ones, which can change the rounding of sums; [`warm_up`](Self::warm_up) fixes it before the first
/// step. Between steps, remove gradients rather than zeroing them: libtorch rounds the average of a gradient that is a view
/// of a bucket already in another way.
#[derive(Debug)]
pub struct Reducer {
    reducer: *mut RawReducer,
    group: Group,
    prepared: bool,
}

// SAFETY: a reducer of libtorch may be used by another thread than the one that made it.
unsafe impl Send for Reducer {}

impl Drop for Reducer {
    fn drop(&mut self) {
        // SAFETY: made by `topk_reducer_new`, and owned by this.
        unsafe { topk_reducer_free(self.reducer) }
    }
}

impl Reducer {
    /// Adds hooks to the parameters, which must be leaves that require gradients. They must be the tensors that the
    /// optimizer changes, or shallow clones of them, and have the same shapes and types on all ranks, which is checked.
    /// Broadcast their values first.
    ///
    /// # Errors
    /// On all ranks, if a parameter differs on one of them; if another rank does not take part.
    pub fn new(
        group: &Group,
        parameters: &[Tensor],
        options: ReducerOptions,
    ) -> Result<Self, DistributedError> {
        let names: Vec<String> = (0..parameters.len())
            .map(|i| {
                options
                    .names
                    .get(i)
                    .cloned()
                    .unwrap_or_else(|| format!("parameter {i}"))
            })
            .collect();
        verify(group, parameters, &names)?;
        let names: Vec<CString> = names
            .into_iter()
            .map(|name| CString::new(name.replace('\0', "")).unwrap_or_default())
            .collect();
        let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let pointers: Vec<_> = parameters.iter().map(Tensor::as_ptr).collect();
        let raw = RawOptions {
            bucket_bytes: options.bucket_bytes as i64,
            first_bucket_bytes: options.first_bucket_bytes as i64,
            find_unused: options.find_unused_parameters,
            bucket_view: options.bucket_view,
        };
        let mut reducer = ptr::null_mut();
        group.run("preparing the reduction", |group| {
            // SAFETY: the group, and this many tensors and strings, outlive the call, which catches exceptions.
            unsafe {
                check(topk_reducer_new(
                    group,
                    pointers.as_ptr(),
                    names.as_ptr(),
                    pointers.len(),
                    raw,
                    &mut reducer,
                ))
            }
        })?;
        Ok(Self {
            reducer,
            group: group.clone(),
            prepared: false,
        })
    }

    /// Before the forward pass of a step whose gradients are to be averaged.
    ///
    /// # Errors
    /// If the last backward pass did not reach all parameters, or another rank does not take part in reordering the
    /// buckets after the first one.
    pub fn prepare(&mut self) -> Result<(), DistributedError> {
        let reducer = self.reducer;
        self.group.run("reordering the reduction", |_| {
            // SAFETY: the reducer is live; the C++ side catches exceptions.
            unsafe { check(topk_reducer_prepare(reducer)) }
        })?;
        self.prepared = true;
        Ok(())
    }

    /// The backward pass. After [`prepare`](Self::prepare), gradients are averages over all ranks when it returns;
    /// otherwise they stay local and add to those that are there, as in PyTorch's `no_sync`.
    ///
    /// # Errors
    /// If another rank does not take part, or the loss cannot be differentiated.
    pub fn backward(&mut self, loss: &Tensor) -> Result<(), DistributedError> {
        let (reducer, reduce) = (self.reducer, std::mem::take(&mut self.prepared));
        self.group.run("averaging gradients", |_| {
            // SAFETY: the reducer and the loss are live; the C++ side catches exceptions.
            unsafe { check(topk_reducer_backward(reducer, loss.as_ptr(), reduce)) }
        })
    }

    /// A [`backward`](Self::backward) pass without a network, in which this rank contributes the same gradient for
    /// every element: 0 if it has no images for this step, NaN if its loss is not finite.
    ///
    /// # Errors
    /// If another rank does not take part.
    pub fn backward_constant(&mut self, gradient: f64) -> Result<(), DistributedError> {
        let mut sum = ptr::null_mut();
        // SAFETY: the reducer is live; the C++ side catches exceptions, and otherwise makes a new tensor.
        let loss =
            unsafe { tensor_result(topk_weighted_sum(self.reducer, gradient, &mut sum), sum) }?;
        self.backward(&loss)
    }

    /// Fixes the order of the buckets before the first step, with a backward pass without a network. Leaves
    /// parameters as they are, and their gradients undefined.
    ///
    /// Without it, the first backward pass uses other buckets than the next ones, so that a run that is resumed would add
    /// in another order than one that was not interrupted.
    ///
    /// # Errors
    /// If another rank does not take part.
    pub fn warm_up(&mut self) -> Result<(), DistributedError> {
        self.prepare()?;
        self.backward_constant(0.0)?;
        self.group.run("ordering the reduction", |_| {
            // SAFETY: the reducer is live; the C++ side catches exceptions.
            unsafe { check(topk_reducer_rebuild(self.reducer)) }
        })
    }

    /// What was reduced so far, and how long it took.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn stats(&self) -> Result<ReducerStats, DistributedError> {
        let mut count = 0;
        let mut raw = RawStats::default();
        // SAFETY: the reducer and the results are live; the C++ side catches exceptions.
        unsafe {
            check(topk_reducer_buckets(self.reducer, &mut count))?;
            check(topk_reducer_stats(self.reducer, &mut raw))?;
        }
        let (mut bytes, mut parameters) = (vec![0; count], vec![0; count]);
        // SAFETY: as above, and both arrays have this many elements.
        unsafe {
            check(topk_reducer_bucket_sizes(
                self.reducer,
                bytes.as_mut_ptr(),
                parameters.as_mut_ptr(),
                count,
            ))
        }?;
        let buckets = bytes.into_iter().zip(parameters);
        let duration = |ns: i64| Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
        Ok(ReducerStats {
            buckets: buckets
                .map(|(bytes, parameters): (i64, i64)| Bucket {
                    bytes: bytes as usize,
                    parameters: parameters as usize,
                })
                .collect(),
            rebuilt: raw.rebuilt,
            forward: duration(raw.forward_ns),
            backward: duration(raw.backward_ns),
            communication: duration(raw.communication_ns),
            overlap: duration(raw.overlap_ns),
        })
    }
}

/// A parameter's type and shape, such as `Float [64, 3, 7, 7]`.
fn description(parameter: &Tensor) -> String {
    format!("{:?} {:?}", parameter.kind(), parameter.size())
}

/// Compares the parameters of all ranks with rank 0's. The outcome is the same on all ranks.
fn verify(group: &Group, parameters: &[Tensor], names: &[String]) -> Result<(), DistributedError> {
    let own: Vec<String> = parameters.iter().map(description).collect();
    let all = group.gather_bytes(own.join("\n").as_bytes())?;
    let all: Vec<Vec<String>> = all
        .iter()
        .map(|bytes| {
            String::from_utf8_lossy(bytes)
                .lines()
                .map(str::to_owned)
                .collect()
        })
        .collect();
    compare(&all, names)
}

/// Finds the first parameter of which some ranks differ from rank 0; `all` has the descriptions of each rank.
fn compare(all: &[Vec<String>], names: &[String]) -> Result<(), DistributedError> {
    let Some((zero, others)) = all.split_first() else {
        return Ok(());
    };
    let differing = |differs: &dyn Fn(&Vec<String>) -> bool| -> Vec<usize> {
        let others = others.iter().enumerate();
        others
            .filter(|(_, other)| differs(other))
            .map(|(i, _)| i + 1)
            .collect()
    };
    for (i, reference) in zero.iter().enumerate() {
        let ranks = differing(&|other| other.get(i).is_some_and(|here| here != reference));
        if let Some(&first) = ranks.first() {
            return Err(DistributedError::Parameter {
                parameter: names
                    .get(i)
                    .cloned()
                    .unwrap_or_else(|| format!("parameter {i}")),
                here: all[first][i].clone(),
                differing: ranks,
                reference: reference.clone(),
            });
        }
    }
    let ranks = differing(&|other| other.len() != zero.len());
    match ranks.first() {
        None => Ok(()),
        Some(&first) => Err(DistributedError::ParameterCount {
            here: all[first].len(),
            differing: ranks,
            reference: zero.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn the_first_parameter_that_differs_is_named_with_its_ranks() {
        let names = list("stem|head.weight");
        let same = list("Float [4]|Float [2, 4]");
        let other = list("Float [4]|Float [3, 4]");
        assert_eq!(compare(&[same.clone(), same.clone()], &names), Ok(()));
        let error =
            compare(&[same.clone(), other.clone(), same.clone(), other], &names).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the parameter head.weight is Float [3, 4] on ranks 1 and 3, but Float [2, 4] on rank 0: all ranks must \
             train the same network"
        );
        let short = compare(&[same, list("Float [4]")], &names).unwrap_err();
        assert_eq!(
            short.to_string(),
            "the network has 1 parameters on rank 1, but 2 on rank 0: all ranks must train the same network"
        );
    }
}
