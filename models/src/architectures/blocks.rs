//! torchvision's modules that several networks share.

use crate::builder::{Builder, Conv};
use crate::op::{Activation, Value};

/// `Conv2dNormActivation`.
pub(super) fn conv_norm_activation(
    b: &mut Builder,
    name: &str,
    x: Value,
    conv: Conv,
    activation: Option<Activation>,
) -> Value {
    let x = b.conv(format!("{name}.0"), x, conv);
    let x = b.batch_norm(format!("{name}.1"), x);
    match activation {
        Some(activation) => b.activation(format!("{name}.2"), x, activation),
        None => x,
    }
}

/// `SqueezeExcitation`: scales each channel by a factor computed from the means of all channels.
pub(super) fn squeeze_excitation(
    b: &mut Builder,
    name: &str,
    input: Value,
    squeezed: usize,
    activation: Activation,
    scale_activation: Activation,
) -> Value {
    let channels = b.channels(input);
    let x = b.adaptive_avg_pool(format!("{name}.avgpool"), input, 1);
    let x = b.conv(format!("{name}.fc1"), x, Conv::new(squeezed, 1).biased());
    let x = b.activation(format!("{name}.activation"), x, activation);
    let x = b.conv(format!("{name}.fc2"), x, Conv::new(channels, 1).biased());
    let x = b.activation(format!("{name}.scale_activation"), x, scale_activation);
    b.mul(format!("{name}.mul"), input, x)
}

/// `_make_divisible`: the multiple of 8 nearest to a number of channels, at most a tenth below it.
pub(super) fn divisible(channels: f64) -> usize {
    let nearest = ((channels + 4.0) / 8.0).floor().max(1.0) * 8.0;
    let multiple = if nearest < 0.9 * channels {
        nearest + 8.0
    } else {
        nearest
    };
    multiple as usize
}
