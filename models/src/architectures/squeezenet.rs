//! torchvision's SqueezeNet.

use super::Definition;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Init, Pool, Value};

pub(super) const NETWORKS: &[Definition] = &[
    Definition::imagenet("squeezenet1_0", |b, _| {
        squeezenet(b, Conv::new(96, 7), &[2, 6, 11])
    }),
    Definition::imagenet("squeezenet1_1", |b, _| {
        squeezenet(b, Conv::new(64, 3), &[2, 5, 8])
    }),
];

/// `pools` are the indices of the poolings among the features; the others from 3 on are fire modules.
fn squeezenet(b: &mut Builder, first: Conv, pools: &[usize]) -> Value {
    b.initializers = Initializers {
        conv: Init::kaiming_uniform,
        conv_bias: Init::zeros,
        ..Initializers::default()
    };
    let mut x = b.conv("features.0", Value::IMAGES, first.stride(2).biased());
    x = b.relu("features.1", x);
    let mut squeezed = [16, 16, 32, 32, 48, 48, 64, 64].into_iter();
    for index in 2..13 {
        let name = format!("features.{index}");
        if pools.contains(&index) {
            let pool = Pool {
                ceil: true,
                ..Pool::new(3, 2)
            };
            x = b.max_pool(name, x, pool);
        } else {
            let channels = squeezed.next().expect("there are 8 fire modules");
            x = fire(b, &name, x, channels);
        }
    }
    x = b.dropout("classifier.0", x, 0.5);
    b.initializers.conv = |_| Init::Normal { std: 0.01 };
    x = b.conv("classifier.1", x, Conv::new(b.classes(), 1).biased());
    x = b.relu("classifier.2", x);
    x = b.adaptive_avg_pool("classifier.3", x, 1);
    b.flatten("flatten", x)
}

/// Reduces to `squeezed` channels, and computes four times that number from them with each of two kernels.
fn fire(b: &mut Builder, name: &str, x: Value, squeezed: usize) -> Value {
    let mut layer = |name: String, x, conv: Conv| {
        let y = b.conv(name.as_str(), x, conv.biased());
        b.relu(format!("{name}_activation"), y)
    };
    let x = layer(format!("{name}.squeeze"), x, Conv::new(squeezed, 1));
    let narrow = Conv::new(4 * squeezed, 1);
    let wide = Conv::new(4 * squeezed, 3).centered();
    let expanded = [
        layer(format!("{name}.expand1x1"), x, narrow),
        layer(format!("{name}.expand3x3"), x, wide),
    ];
    b.concat(name, &expanded)
}
