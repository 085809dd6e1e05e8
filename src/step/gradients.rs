//! What happens to gradients between the backward pass and the optimizer.

use tch::{Kind, TchError, Tensor};

use super::Learner;
use crate::optimizer::ClipMode;

impl Learner {
    /// Unscales and clips the gradients, and adapts the scale of the loss. Returns 1 if they are not finite, and 0
    /// otherwise, on the device.
    pub(super) fn finish_gradients(&mut self) -> Result<Tensor, TchError> {
        if let Some(scaler) = &self.scaler {
            self.optimizer
                .scale_gradients(&scaler.scale().f_reciprocal()?)?;
        }
        let norm = self.optimizer.gradient_norm()?;
        let skip = norm.isfinite().logical_not().to_kind(Kind::Float);
        match self.settings.clip_grad {
            Some((ClipMode::Norm, max_norm)) => {
                // The 1e-6 of PyTorch's clip_grad_norm_ avoids a division by 0.
                let factor = (max_norm / (norm + 1e-6)).clamp_max(1.0);
                self.optimizer.scale_gradients(&factor)?;
            }
            Some((ClipMode::Value, limit)) => self.optimizer.clamp_gradients(limit)?,
            Some((ClipMode::Agc, factor)) => {
                let optimizer = &mut self.optimizer;
                optimizer.clip_gradients_adaptively(&self.backbone, factor)?;
            }
            None => {}
        }
        if let Some(scaler) = &mut self.scaler {
            scaler.update(&skip)?;
        }
        Ok(skip)
    }

    /// Name of the first parameter whose gradient is not finite.
    pub(crate) fn non_finite_gradient(&self) -> Option<&str> {
        let mut pairs = self.names.iter().zip(self.optimizer.parameters());
        let bad = pairs.find(|(_, parameter)| {
            let grad = parameter.grad();
            grad.defined() && grad.isfinite().all().int64_value(&[]) == 0
        });
        bad.map(|(name, _)| name.as_str())
    }
}
