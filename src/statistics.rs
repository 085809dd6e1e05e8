//! What a step changes besides parameters, kept so that a skipped step changes nothing.

use tch::{Kind, TchError, Tensor, no_grad};

/// Buffers of the network, such as the statistics of batch normalisation, and running metrics, with their values before
/// the step.
///
/// The buffers share one piece of memory, so that saving and restoring them are single operations, which matters on a
/// GPU.
#[derive(Debug)]
pub(crate) struct Statistics {
    /// All buffers, and the running metrics.
    values: [Tensor; 2],
    before: [Tensor; 2],
}

impl Statistics {
    /// Moves the buffers, of `f32`, into one piece of memory, of which they become views.
    pub(crate) fn new(buffers: &[Tensor], running_metrics: Tensor) -> Result<Self, TchError> {
        let device = running_metrics.device();
        let lengths = buffers.iter().map(Tensor::numel);
        let total: usize = lengths.sum();
        let all = Tensor::f_zeros([total as i64], (Kind::Float, device))?;
        let mut start = 0;
        for buffer in buffers {
            let len = buffer.numel() as i64;
            let view = all.f_narrow(0, start, len)?.f_view(&buffer.size()[..])?;
            view.shallow_clone().f_copy_(buffer)?;
            buffer.shallow_clone().f_set_data(&view)?;
            start += len;
        }
        let values = [all, running_metrics];
        Ok(Self {
            before: values.each_ref().map(Tensor::copy),
            values,
        })
    }

    /// Saves the values.
    pub(crate) fn save(&mut self) -> Result<(), TchError> {
        copy(&mut self.before, &self.values)
    }

    /// Restores the saved values.
    pub(crate) fn restore(&mut self) -> Result<(), TchError> {
        copy(&mut self.values, &self.before)
    }

    /// Restores the saved values if `skip`, a scalar on the device, is 1.
    pub(crate) fn restore_if(&mut self, skip: &Tensor) -> Result<(), TchError> {
        let skip = skip.f_gt(0.0)?;
        for (value, before) in self.values.iter_mut().zip(&self.before) {
            let chosen = before.f_where_self(&skip, value)?;
            no_grad(|| value.f_copy_(&chosen))?;
        }
        Ok(())
    }
}

fn copy(to: &mut [Tensor; 2], from: &[Tensor; 2]) -> Result<(), TchError> {
    no_grad(|| {
        to.iter_mut()
            .zip(from)
            .try_for_each(|(to, from)| to.f_copy_(from))
    })
}
