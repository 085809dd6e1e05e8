//! Initial values of the layers that are added to a network.

use crate::op::{Fan, Init};

/// Initial values of the weights and biases of layers.
#[derive(Clone, Copy)]
pub(crate) struct Initializers {
    pub(crate) conv: fn(Fan) -> Init,
    pub(crate) conv_bias: fn(Fan) -> Init,
    pub(crate) linear: fn(Fan) -> Init,
    pub(crate) linear_bias: fn(Fan) -> Init,
}

impl Default for Initializers {
    /// PyTorch's own.
    fn default() -> Self {
        Self {
            conv: Init::layer,
            conv_bias: Init::layer,
            linear: Init::layer,
            linear_bias: Init::layer,
        }
    }
}
