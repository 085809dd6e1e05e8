//! torchvision's Inception v3, with `transform_input` off and without the auxiliary classifier.
//!
//! The published weights need `transform_input`. It turns images with ImageNet's normalisation into images
//! normalised with a mean and std of 0.5, so that normalisation is used directly.

use super::{Definition, HALF};
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{BatchNorm, Init, Pool, Value};

pub(super) const NETWORKS: &[Definition] =
    &[Definition::imagenet("inception_v3", |b, _| inception(b))
        .images(299, 342)
        .normalized(HALF)];

fn inception(b: &mut Builder) -> Value {
    b.ignorable("AuxLogits.");
    b.initializers = Initializers {
        conv: |_| Init::Normal { std: 0.1 },
        linear: |_| Init::Normal { std: 0.1 },
        ..Initializers::default()
    };
    b.batch_norm = BatchNorm {
        eps: 1e-3,
        momentum: 0.1,
    };
    let mut x = layer(
        b,
        "Conv2d_1a_3x3",
        Value::IMAGES,
        Conv::new(32, 3).stride(2),
    );
    x = layer(b, "Conv2d_2a_3x3", x, Conv::new(32, 3));
    x = layer(b, "Conv2d_2b_3x3", x, Conv::new(64, 3).centered());
    x = b.max_pool("maxpool1", x, Pool::new(3, 2));
    x = layer(b, "Conv2d_3b_1x1", x, Conv::new(80, 1));
    x = layer(b, "Conv2d_4a_3x3", x, Conv::new(192, 3));
    x = b.max_pool("maxpool2", x, Pool::new(3, 2));
    for (name, pooled) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
        x = mixed_a(b, name, x, pooled);
    }
    x = mixed_b(b, "Mixed_6a", x);
    let widths = [128, 160, 160, 192];
    for (name, width) in ["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"]
        .into_iter()
        .zip(widths)
    {
        x = mixed_c(b, name, x, width);
    }
    x = mixed_d(b, "Mixed_7a", x);
    for name in ["Mixed_7b", "Mixed_7c"] {
        x = mixed_e(b, name, x);
    }
    x = b.adaptive_avg_pool("avgpool", x, 1);
    x = b.dropout("dropout", x, 0.5);
    x = b.flatten("flatten", x);
    b.linear("fc", x, b.classes())
}

/// `BasicConv2d`.
fn layer(b: &mut Builder, name: &str, x: Value, conv: Conv) -> Value {
    let x = b.conv(format!("{name}.conv"), x, conv);
    let x = b.batch_norm(format!("{name}.bn"), x);
    b.relu(format!("{name}.relu"), x)
}

/// A sequence of layers, by their names in a module.
fn branch<const N: usize>(
    b: &mut Builder,
    module: &str,
    x: Value,
    layers: [(&str, Conv); N],
) -> Value {
    layers.into_iter().fold(x, |x, (name, conv)| {
        layer(b, &format!("{module}.{name}"), x, conv)
    })
}

/// A convolution that keeps the size.
fn square(channels: usize, side: usize) -> Conv {
    Conv::new(channels, side).centered()
}

/// A convolution that keeps the size, with a kernel of this height and width.
fn line(channels: usize, height: usize, width: usize) -> Conv {
    Conv::rectangle(channels, [height, width]).centered()
}

/// 3×3 average pooling, then a 1×1 convolution.
fn pooled_branch(b: &mut Builder, module: &str, x: Value, channels: usize) -> Value {
    let pool = Pool {
        padding: 1,
        ..Pool::new(3, 1)
    };
    let x = b.avg_pool(format!("{module}.avg_pool"), x, pool);
    branch(b, module, x, [("branch_pool", Conv::new(channels, 1))])
}

fn mixed_a(b: &mut Builder, name: &str, x: Value, pooled: usize) -> Value {
    let branches = [
        branch(b, name, x, [("branch1x1", Conv::new(64, 1))]),
        branch(
            b,
            name,
            x,
            [
                ("branch5x5_1", Conv::new(48, 1)),
                ("branch5x5_2", square(64, 5)),
            ],
        ),
        branch(
            b,
            name,
            x,
            [
                ("branch3x3dbl_1", Conv::new(64, 1)),
                ("branch3x3dbl_2", square(96, 3)),
                ("branch3x3dbl_3", square(96, 3)),
            ],
        ),
        pooled_branch(b, name, x, pooled),
    ];
    b.concat(name, &branches)
}

fn mixed_b(b: &mut Builder, name: &str, x: Value) -> Value {
    let branches = [
        branch(b, name, x, [("branch3x3", Conv::new(384, 3).stride(2))]),
        branch(
            b,
            name,
            x,
            [
                ("branch3x3dbl_1", Conv::new(64, 1)),
                ("branch3x3dbl_2", square(96, 3)),
                ("branch3x3dbl_3", Conv::new(96, 3).stride(2)),
            ],
        ),
        b.max_pool(format!("{name}.max_pool"), x, Pool::new(3, 2)),
    ];
    b.concat(name, &branches)
}

fn mixed_c(b: &mut Builder, name: &str, x: Value, width: usize) -> Value {
    let branches = [
        branch(b, name, x, [("branch1x1", Conv::new(192, 1))]),
        branch(
            b,
            name,
            x,
            [
                ("branch7x7_1", Conv::new(width, 1)),
                ("branch7x7_2", line(width, 1, 7)),
                ("branch7x7_3", line(192, 7, 1)),
            ],
        ),
        branch(
            b,
            name,
            x,
            [
                ("branch7x7dbl_1", Conv::new(width, 1)),
                ("branch7x7dbl_2", line(width, 7, 1)),
                ("branch7x7dbl_3", line(width, 1, 7)),
                ("branch7x7dbl_4", line(width, 7, 1)),
                ("branch7x7dbl_5", line(192, 1, 7)),
            ],
        ),
        pooled_branch(b, name, x, 192),
    ];
    b.concat(name, &branches)
}

fn mixed_d(b: &mut Builder, name: &str, x: Value) -> Value {
    let branches = [
        branch(
            b,
            name,
            x,
            [
                ("branch3x3_1", Conv::new(192, 1)),
                ("branch3x3_2", Conv::new(320, 3).stride(2)),
            ],
        ),
        branch(
            b,
            name,
            x,
            [
                ("branch7x7x3_1", Conv::new(192, 1)),
                ("branch7x7x3_2", line(192, 1, 7)),
                ("branch7x7x3_3", line(192, 7, 1)),
                ("branch7x7x3_4", Conv::new(192, 3).stride(2)),
            ],
        ),
        b.max_pool(format!("{name}.max_pool"), x, Pool::new(3, 2)),
    ];
    b.concat(name, &branches)
}

fn mixed_e(b: &mut Builder, name: &str, x: Value) -> Value {
    let branch1x1 = branch(b, name, x, [("branch1x1", Conv::new(320, 1))]);
    let branch3x3 = branch(b, name, x, [("branch3x3_1", Conv::new(384, 1))]);
    let branch3x3 = [
        branch(b, name, branch3x3, [("branch3x3_2a", line(384, 1, 3))]),
        branch(b, name, branch3x3, [("branch3x3_2b", line(384, 3, 1))]),
    ];
    let double = branch(
        b,
        name,
        x,
        [
            ("branch3x3dbl_1", Conv::new(448, 1)),
            ("branch3x3dbl_2", square(384, 3)),
        ],
    );
    let double = [
        branch(b, name, double, [("branch3x3dbl_3a", line(384, 1, 3))]),
        branch(b, name, double, [("branch3x3dbl_3b", line(384, 3, 1))]),
    ];
    let pooled = pooled_branch(b, name, x, 192);
    let branches = [
        branch1x1,
        branch3x3[0],
        branch3x3[1],
        double[0],
        double[1],
        pooled,
    ];
    b.concat(name, &branches)
}
