//! Layers that are not trained in some epochs.

use super::Learner;

impl Learner {
    /// Freezes or trains the layers of `--freeze`, as an epoch has it, from 1; returns whether that changed.
    ///
    /// Frozen parameters get no gradients, so that the optimizer leaves them and its state of them alone, and batch
    /// normalisation in frozen layers uses its running statistics.
    pub(crate) fn begin_epoch(&mut self, epoch: usize) -> bool {
        let unfreeze = self.settings.unfreeze_epoch;
        let trains = unfreeze.is_some_and(|first| epoch >= first);
        let mut changed = false;
        for &index in &self.frozen {
            let parameter = &self.optimizer.parameters()[index];
            if parameter.requires_grad() != trains {
                let _ = parameter.set_requires_grad(trains);
                changed = true;
            }
        }
        changed
    }

    /// Number of parameters that are not trained now, and of all.
    pub(crate) fn frozen_len(&self) -> [usize; 2] {
        let parameters = self.optimizer.parameters().iter();
        parameters.fold([0, 0], |[frozen, all], parameter| {
            let count = parameter.numel();
            let is_frozen = !parameter.requires_grad();
            [frozen + if is_frozen { count } else { 0 }, all + count]
        })
    }
}
