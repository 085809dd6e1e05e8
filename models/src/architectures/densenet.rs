//! torchvision's DenseNet.

use super::Definition;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Init, Pool, Value};

pub(super) const NETWORKS: &[Definition] = &[
    Definition::imagenet("densenet121", |b, _| densenet(b, 32, [6, 12, 24, 16])),
    Definition::imagenet("densenet161", |b, _| densenet(b, 48, [6, 12, 36, 24])),
    Definition::imagenet("densenet169", |b, _| densenet(b, 32, [6, 12, 32, 32])),
    Definition::imagenet("densenet201", |b, _| densenet(b, 32, [6, 12, 48, 32])),
];

fn densenet(b: &mut Builder, growth: usize, depths: [usize; 4]) -> Value {
    b.old_names(&[
        [".norm.1.", ".norm1."],
        [".norm.2.", ".norm2."],
        [".conv.1.", ".conv1."],
        [".conv.2.", ".conv2."],
    ]);
    b.initializers = Initializers {
        conv: Init::kaiming_normal,
        linear_bias: Init::zeros,
        ..Initializers::default()
    };
    let conv = Conv::new(2 * growth, 7).stride(2).centered();
    let mut x = b.conv("features.conv0", Value::IMAGES, conv);
    x = norm_relu(b, "features.", "0", x);
    let pool = Pool {
        padding: 1,
        ..Pool::new(3, 2)
    };
    x = b.max_pool("features.pool0", x, pool);
    for (block, depth) in (1..).zip(depths) {
        if block > 1 {
            let name = format!("features.transition{}.", block - 1);
            x = norm_relu(b, &name, "", x);
            let conv = Conv::new(b.channels(x) / 2, 1);
            x = b.conv(format!("{name}conv"), x, conv);
            x = b.avg_pool(format!("{name}pool"), x, Pool::new(2, 2));
        }
        for layer in 1..=depth {
            let name = format!("features.denseblock{block}.denselayer{layer}.");
            let mut y = norm_relu(b, &name, "1", x);
            y = b.conv(format!("{name}conv1"), y, Conv::new(4 * growth, 1));
            y = norm_relu(b, &name, "2", y);
            let conv = Conv::new(growth, 3).centered();
            y = b.conv(format!("{name}conv2"), y, conv);
            x = b.concat(format!("{name}cat"), &[x, y]);
        }
    }
    x = norm_relu(b, "features.", "5", x);
    x = b.adaptive_avg_pool("avgpool", x, 1);
    x = b.flatten("flatten", x);
    b.linear("classifier", x, b.classes())
}

fn norm_relu(b: &mut Builder, name: &str, number: &str, x: Value) -> Value {
    let x = b.batch_norm(format!("{name}norm{number}"), x);
    b.relu(format!("{name}relu{number}"), x)
}
