//! torchvision's MobileNet v3.

use super::Definition;
use super::blocks::{conv_norm_activation, divisible, squeeze_excitation};
use crate::builder::{Builder, Conv, Initializers};
use crate::op::Activation::{Hardsigmoid, Hardswish, Relu};
use crate::op::{Activation, BatchNorm, Init, Value};

pub(super) const NETWORKS: &[Definition] = &[
    Definition::imagenet("mobilenet_v3_small", |b, _| mobilenet(b, &SMALL, 1024)),
    Definition::imagenet("mobilenet_v3_large", |b, _| mobilenet(b, &LARGE, 1280)),
];

/// A block: side of the kernel, hidden and output channels, whether it has squeeze-and-excitation,
/// activation, stride.
type Block = (usize, usize, usize, bool, Activation, usize);

const SMALL: [Block; 11] = [
    (3, 16, 16, true, Relu, 2),
    (3, 72, 24, false, Relu, 2),
    (3, 88, 24, false, Relu, 1),
    (5, 96, 40, true, Hardswish, 2),
    (5, 240, 40, true, Hardswish, 1),
    (5, 240, 40, true, Hardswish, 1),
    (5, 120, 48, true, Hardswish, 1),
    (5, 144, 48, true, Hardswish, 1),
    (5, 288, 96, true, Hardswish, 2),
    (5, 576, 96, true, Hardswish, 1),
    (5, 576, 96, true, Hardswish, 1),
];

const LARGE: [Block; 15] = [
    (3, 16, 16, false, Relu, 1),
    (3, 64, 24, false, Relu, 2),
    (3, 72, 24, false, Relu, 1),
    (5, 72, 40, true, Relu, 2),
    (5, 120, 40, true, Relu, 1),
    (5, 120, 40, true, Relu, 1),
    (3, 240, 80, false, Hardswish, 2),
    (3, 200, 80, false, Hardswish, 1),
    (3, 184, 80, false, Hardswish, 1),
    (3, 184, 80, false, Hardswish, 1),
    (3, 480, 112, true, Hardswish, 1),
    (3, 672, 112, true, Hardswish, 1),
    (5, 672, 160, true, Hardswish, 2),
    (5, 960, 160, true, Hardswish, 1),
    (5, 960, 160, true, Hardswish, 1),
];

fn mobilenet(b: &mut Builder, blocks: &[Block], features: usize) -> Value {
    b.initializers = Initializers {
        conv: Init::kaiming_normal_out,
        conv_bias: Init::zeros,
        linear: |_| Init::Normal { std: 0.01 },
        linear_bias: Init::zeros,
    };
    b.batch_norm = BatchNorm {
        eps: 1e-3,
        momentum: 0.01,
    };
    let conv = Conv::new(16, 3).stride(2).centered();
    let mut x = conv_norm_activation(b, "features.0", Value::IMAGES, conv, Some(Hardswish));
    for (index, block) in (1..).zip(blocks) {
        x = inverted_residual(b, &format!("features.{index}"), x, block);
    }
    let name = format!("features.{}", blocks.len() + 1);
    let conv = Conv::new(6 * b.channels(x), 1);
    x = conv_norm_activation(b, &name, x, conv, Some(Hardswish));
    x = b.adaptive_avg_pool("avgpool", x, 1);
    x = b.flatten("flatten", x);
    x = b.linear("classifier.0", x, features);
    x = b.activation("classifier.1", x, Hardswish);
    x = b.dropout("classifier.2", x, 0.2);
    b.linear("classifier.3", x, b.classes())
}

fn inverted_residual(b: &mut Builder, name: &str, input: Value, block: &Block) -> Value {
    let &(kernel, hidden, channels, excited, activation, stride) = block;
    let mut index = 0..;
    let mut next = || {
        format!(
            "{name}.block.{}",
            index.next().expect("the range has no end")
        )
    };
    let mut x = input;
    if hidden != b.channels(input) {
        let conv = Conv::new(hidden, 1);
        x = conv_norm_activation(b, &next(), x, conv, Some(activation));
    }
    let depthwise = Conv::new(hidden, kernel).stride(stride).groups(hidden);
    x = conv_norm_activation(b, &next(), x, depthwise.centered(), Some(activation));
    if excited {
        let squeezed = divisible((hidden / 4) as f64);
        x = squeeze_excitation(b, &next(), x, squeezed, Relu, Hardsigmoid);
    }
    x = conv_norm_activation(b, &next(), x, Conv::new(channels, 1), None);
    if stride == 1 && b.channels(input) == channels {
        x = b.add(format!("{name}.add"), x, input);
    }
    x
}
