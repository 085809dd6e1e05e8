//! torchvision's EfficientNet.

use super::Definition;
use super::blocks::{conv_norm_activation, divisible, squeeze_excitation};
use crate::builder::{Builder, Conv, Initializers};
use crate::op::Activation::{Sigmoid, Silu};
use crate::op::{Init, Value};

pub(super) const NETWORKS: &[Definition] = &[
    Definition::imagenet("efficientnet_b0", |b, _| efficientnet(b, 1.0, 1.0, 0.2)).bicubic(),
    Definition::imagenet("efficientnet_b1", |b, _| efficientnet(b, 1.0, 1.1, 0.2))
        .images(240, 256)
        .bicubic(),
    Definition::imagenet("efficientnet_b2", |b, _| efficientnet(b, 1.1, 1.2, 0.3))
        .images(288, 288)
        .bicubic(),
    Definition::imagenet("efficientnet_b3", |b, _| efficientnet(b, 1.2, 1.4, 0.3))
        .images(300, 320)
        .bicubic(),
];

/// Factor of expansion, side of the kernel, first stride, channels and blocks of each stage of B0.
pub(super) const STAGES: [[usize; 5]; 7] = [
    [1, 3, 1, 16, 1],
    [6, 3, 2, 24, 2],
    [6, 5, 2, 40, 2],
    [6, 3, 2, 80, 3],
    [6, 5, 1, 112, 3],
    [6, 5, 2, 192, 4],
    [6, 3, 1, 320, 1],
];

/// Block i of n is dropped in training with probability i/n times this.
pub(super) const STOCHASTIC_DEPTH: f64 = 0.2;

fn efficientnet(b: &mut Builder, width: f64, depth: f64, dropout: f64) -> Value {
    b.initializers = Initializers {
        conv: Init::kaiming_normal_out,
        conv_bias: Init::zeros,
        linear: Init::uniform_out,
        linear_bias: Init::zeros,
    };
    let wide = |channels: usize| divisible(channels as f64 * width);
    let deep = |blocks: usize| (blocks as f64 * depth).ceil() as usize;
    let total: usize = STAGES.iter().map(|stage| deep(stage[4])).sum();

    let conv = Conv::new(wide(32), 3).stride(2).centered();
    let mut x = conv_norm_activation(b, "features.0", Value::IMAGES, conv, Some(Silu));
    let mut built = 0;
    for (index, [expansion, kernel, first_stride, channels, blocks]) in (1..).zip(STAGES) {
        for block in 0..deep(blocks) {
            let input = x;
            let hidden = expansion * b.channels(input);
            let squeezed = b.channels(input) / 4;
            let stride = if block == 0 { first_stride } else { 1 };
            let name = format!("features.{index}.{block}");
            let mut part = 0..;
            let mut next = || {
                format!(
                    "{name}.block.{}",
                    part.next().expect("the range has no end")
                )
            };
            if expansion != 1 {
                x = conv_norm_activation(b, &next(), x, Conv::new(hidden, 1), Some(Silu));
            }
            let depthwise = Conv::new(hidden, kernel).stride(stride).groups(hidden);
            x = conv_norm_activation(b, &next(), x, depthwise.centered(), Some(Silu));
            x = squeeze_excitation(b, &next(), x, squeezed, Silu, Sigmoid);
            x = conv_norm_activation(b, &next(), x, Conv::new(wide(channels), 1), None);
            if stride == 1 && b.channels(input) == b.channels(x) {
                let p = STOCHASTIC_DEPTH * built as f64 / total as f64;
                x = b.stochastic_depth(format!("{name}.stochastic_depth"), x, p);
                x = b.add(format!("{name}.add"), x, input);
            }
            built += 1;
        }
    }
    let conv = Conv::new(4 * b.channels(x), 1);
    x = conv_norm_activation(b, "features.8", x, conv, Some(Silu));
    x = b.adaptive_avg_pool("avgpool", x, 1);
    x = b.flatten("flatten", x);
    x = b.dropout("classifier.0", x, dropout);
    b.linear("classifier.1", x, b.classes())
}
