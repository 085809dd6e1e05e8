//! torchvision's VGG, without and with batch norm.

use super::Definition;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Init, Pool, Value};

pub(super) const NETWORKS: &[Definition] = &[
    Definition::imagenet("vgg11", |b, _| vgg(b, [1, 1, 2, 2, 2], false)),
    Definition::imagenet("vgg11_bn", |b, _| vgg(b, [1, 1, 2, 2, 2], true)),
    Definition::imagenet("vgg13", |b, _| vgg(b, [2, 2, 2, 2, 2], false)),
    Definition::imagenet("vgg13_bn", |b, _| vgg(b, [2, 2, 2, 2, 2], true)),
    Definition::imagenet("vgg16", |b, _| vgg(b, [2, 2, 3, 3, 3], false)),
    Definition::imagenet("vgg16_bn", |b, _| vgg(b, [2, 2, 3, 3, 3], true)),
    Definition::imagenet("vgg19", |b, _| vgg(b, [2, 2, 4, 4, 4], false)),
    Definition::imagenet("vgg19_bn", |b, _| vgg(b, [2, 2, 4, 4, 4], true)),
];

/// Stages of `depths` convolutions, each followed by max pooling.
fn vgg(b: &mut Builder, depths: [usize; 5], batch_norm: bool) -> Value {
    b.initializers = Initializers {
        conv: Init::kaiming_normal_out,
        conv_bias: Init::zeros,
        linear: |_| Init::Normal { std: 0.01 },
        linear_bias: Init::zeros,
    };
    // Modules of a `Sequential` are named by their index.
    let mut index = 0..;
    let mut next = || format!("features.{}", index.next().expect("the range has no end"));
    let mut x = Value::IMAGES;
    for (depth, channels) in depths.into_iter().zip([64, 128, 256, 512, 512]) {
        for _ in 0..depth {
            x = b.conv(next(), x, Conv::new(channels, 3).centered().biased());
            if batch_norm {
                x = b.batch_norm(next(), x);
            }
            x = b.relu(next(), x);
        }
        x = b.max_pool(next(), x, Pool::new(2, 2));
    }
    x = b.adaptive_avg_pool("avgpool", x, 7);
    x = b.flatten("flatten", x);
    for index in [0, 3] {
        x = b.linear(format!("classifier.{index}"), x, 4096);
        x = b.relu(format!("classifier.{}", index + 1), x);
        x = b.dropout(format!("classifier.{}", index + 2), x, 0.5);
    }
    b.linear("classifier.6", x, b.classes())
}
