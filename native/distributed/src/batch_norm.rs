use std::ffi::c_char;
use std::ptr;

use tch::{TchError, Tensor};
use topk_libtorch::call::tensor_result;
use torch_sys::C_tensor;

use crate::error::DistributedError;
use crate::group::{Group, RawGroup};

unsafe extern "C" {
    fn topk_sync_batch_norm(
        group: *const RawGroup,
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        momentum: f64,
        eps: f64,
        result: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// Tensors of shape `[C]` and f32, and constants of a batch normalisation.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// The factor after normalisation.
    pub weight: &'a Tensor,
    /// What is added after that.
    pub bias: &'a Tensor,
    /// The running mean, which is updated.
    pub running_mean: &'a Tensor,
    /// The running variance, unbiased, which is updated.
    pub running_var: &'a Tensor,
    /// The weight of this batch in the running statistics, from 0 to 1.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
}

/// Batch normalisation in training, as PyTorch's `SyncBatchNorm`: of images `[N, C, H, W]` with the mean and the variance of
/// each channel over the images of all ranks.
///
/// Ranks may have different numbers of images, or none. The gradient is that of the sum of all ranks' losses, so all ranks
/// must run the backward pass. The gradients of weight and bias are those of this rank's images; a
/// [`Reducer`](crate::Reducer) averages them.
///
/// # Errors
/// If another rank does not take part.
pub fn sync_batch_norm(
    group: &Group,
    x: &Tensor,
    norm: BatchNorm<'_>,
) -> Result<Tensor, DistributedError> {
    let BatchNorm {
        weight,
        bias,
        running_mean,
        running_var,
        momentum,
        eps,
    } = norm;
    let mut normalized = Err(TchError::Torch(String::new()));
    group.run("synchronised batch normalisation", |group| {
        let mut result = ptr::null_mut();
        // SAFETY: the group and the tensors are live; the C++ side catches exceptions, and otherwise makes a new tensor.
        let computed = unsafe {
            let error = topk_sync_batch_norm(
                group,
                x.as_ptr(),
                weight.as_ptr(),
                bias.as_ptr(),
                running_mean.as_ptr(),
                running_var.as_ptr(),
                momentum,
                eps,
                &mut result,
            );
            tensor_result(error, result)
        };
        normalized = Ok(computed?);
        Ok(())
    })?;
    Ok(normalized?)
}
