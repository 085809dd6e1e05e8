//! Memory that is reused from one sample to the next.

use std::any::Any;

use crate::ranking::Ranked;

/// Buffers of one thread, for all losses.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) f64: SampleBuffers<f64>,
    pub(crate) f32: SampleBuffers<f32>,
    pub(crate) ranked: Vec<Ranked>,
    /// The highest scores of a sample by [`simd::highest`](crate::simd::highest).
    pub(crate) highest: Vec<usize>,
    /// One entry for each type of buffers that a loss requested.
    of_losses: Vec<Box<dyn Any>>,
}

impl Workspace {
    /// The buffers of type `B`, which belong to one loss, with the contents from its last use.
    ///
    /// Buffers are found by type so that this module does not depend on the losses.
    pub(crate) fn of_loss<B: Any + Default>(&mut self) -> &mut B {
        let index = self
            .of_losses
            .iter()
            .position(|buffers| buffers.is::<B>())
            .unwrap_or_else(|| {
                self.of_losses.push(Box::new(B::default()));
                self.of_losses.len() - 1
            });
        self.of_losses[index]
            .downcast_mut()
            .expect("the buffers at this index have this type")
    }
}

/// A sample converted to another type.
#[derive(Debug, Default)]
pub(crate) struct SampleBuffers<T> {
    pub(crate) scores: Vec<T>,
    pub(crate) grad: Vec<T>,
}

impl<T: Copy + Default> SampleBuffers<T> {
    /// Space for one number per class, for a sample whose gradient is not requested.
    pub(crate) fn scratch(&mut self, classes: usize) -> &mut [T] {
        self.grad.resize(classes, T::default());
        &mut self.grad
    }
}
