//! torchvision's MobileNet v2.

use super::Definition;
use super::blocks::conv_norm_activation;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Activation, Init, Value};

pub(super) const NETWORKS: &[Definition] =
    &[Definition::imagenet("mobilenet_v2", |b, _| mobilenet(b))];

/// Factor of expansion, channels, blocks and first stride of each stage.
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

fn mobilenet(b: &mut Builder) -> Value {
    b.initializers = Initializers {
        conv: Init::kaiming_normal_out,
        conv_bias: Init::zeros,
        linear: |_| Init::Normal { std: 0.01 },
        linear_bias: Init::zeros,
    };
    let relu6 = Some(Activation::Relu6);
    let conv = Conv::new(32, 3).stride(2).centered();
    let mut x = conv_norm_activation(b, "features.0", Value::IMAGES, conv, relu6);
    let mut index = 1;
    for [expansion, channels, blocks, first_stride] in STAGES {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let name = format!("features.{index}");
            x = inverted_residual(b, &name, x, expansion, channels, stride);
            index += 1;
        }
    }
    let name = format!("features.{index}");
    x = conv_norm_activation(b, &name, x, Conv::new(1280, 1), relu6);
    x = b.adaptive_avg_pool("avgpool", x, 1);
    x = b.flatten("flatten", x);
    x = b.dropout("classifier.0", x, 0.2);
    b.linear("classifier.1", x, b.classes())
}

fn inverted_residual(
    b: &mut Builder,
    name: &str,
    input: Value,
    expansion: usize,
    channels: usize,
    stride: usize,
) -> Value {
    let hidden = expansion * b.channels(input);
    let mut index = 0..;
    let mut next = || {
        format!(
            "{name}.conv.{}",
            index.next().expect("the range has no end")
        )
    };
    let relu6 = Some(Activation::Relu6);
    let mut x = input;
    if expansion != 1 {
        x = conv_norm_activation(b, &next(), x, Conv::new(hidden, 1), relu6);
    }
    let depthwise = Conv::new(hidden, 3).stride(stride).groups(hidden);
    x = conv_norm_activation(b, &next(), x, depthwise.centered(), relu6);
    x = b.conv(next(), x, Conv::new(channels, 1));
    x = b.batch_norm(next(), x);
    if stride == 1 && b.channels(input) == channels {
        x = b.add(format!("{name}.add"), input, x);
    }
    x
}
