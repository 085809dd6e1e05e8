//! torchvision's ResNet, ResNeXt and Wide ResNet, and ResNets for small images.

use super::Definition;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Init, Pool, Value};

pub(super) const NETWORKS: &[Definition] = &[
    Definition::imagenet("resnet18", |b, _| {
        resnet(b, Stem::Large, PLAIN, [2, 2, 2, 2])
    }),
    Definition::imagenet("resnet34", |b, _| {
        resnet(b, Stem::Large, PLAIN, [3, 4, 6, 3])
    }),
    Definition::imagenet("resnet50", |b, _| {
        resnet(b, Stem::Large, BOTTLENECK, [3, 4, 6, 3])
    }),
    Definition::imagenet("resnet101", |b, _| {
        resnet(b, Stem::Large, BOTTLENECK, [3, 4, 23, 3])
    }),
    Definition::imagenet("resnet152", |b, _| {
        resnet(b, Stem::Large, BOTTLENECK, [3, 8, 36, 3])
    }),
    Definition::imagenet("resnext50_32x4d", |b, _| {
        resnet(b, Stem::Large, bottleneck(32, 4), [3, 4, 6, 3])
    }),
    Definition::imagenet("resnext101_32x8d", |b, _| {
        resnet(b, Stem::Large, bottleneck(32, 8), [3, 4, 23, 3])
    }),
    Definition::imagenet("resnext101_64x4d", |b, _| {
        resnet(b, Stem::Large, bottleneck(64, 4), [3, 4, 23, 3])
    })
    .images(224, 232),
    Definition::imagenet("wide_resnet50_2", |b, _| {
        resnet(b, Stem::Large, bottleneck(1, 128), [3, 4, 6, 3])
    }),
    Definition::imagenet("wide_resnet101_2", |b, _| {
        resnet(b, Stem::Large, bottleneck(1, 128), [3, 4, 23, 3])
    }),
];

pub(super) const CIFAR: &[Definition] = &[
    Definition::cifar("resnet18-cifar", &[], |b, _| {
        resnet(b, Stem::Small, PLAIN, [2, 2, 2, 2])
    }),
    Definition::cifar("resnet34-cifar", &[], |b, _| {
        resnet(b, Stem::Small, PLAIN, [3, 4, 6, 3])
    }),
    Definition::cifar("resnet50-cifar", &[], |b, _| {
        resnet(b, Stem::Small, BOTTLENECK, [3, 4, 6, 3])
    }),
    Definition::cifar("resnet101-cifar", &[], |b, _| {
        resnet(b, Stem::Small, BOTTLENECK, [3, 4, 23, 3])
    }),
    Definition::cifar("resnet152-cifar", &[], |b, _| {
        resnet(b, Stem::Small, BOTTLENECK, [3, 8, 36, 3])
    }),
];

/// The first layers.
enum Stem {
    /// A 7×7 convolution and max pooling, each of stride 2.
    Large,
    /// A 3×3 convolution of stride 1, for images of 32×32.
    Small,
}

/// The residual block.
#[derive(Clone, Copy)]
enum Block {
    /// Two 3×3 convolutions.
    Plain,
    /// A 3×3 convolution between two 1×1 convolutions that reduce and expand the channels.
    Bottleneck {
        /// Groups of the middle convolution.
        groups: usize,
        /// Channels per group in a stage of 64 planes.
        width: usize,
    },
}

const PLAIN: Block = Block::Plain;
const BOTTLENECK: Block = bottleneck(1, 64);

const fn bottleneck(groups: usize, width: usize) -> Block {
    Block::Bottleneck { groups, width }
}

fn resnet(b: &mut Builder, stem: Stem, block: Block, depths: [usize; 4]) -> Value {
    b.initializers = Initializers {
        conv: Init::kaiming_normal_out,
        ..Initializers::default()
    };
    let conv = match stem {
        Stem::Large => Conv::new(64, 7).stride(2),
        Stem::Small => Conv::new(64, 3),
    };
    let mut x = b.conv("conv1", Value::IMAGES, conv.centered());
    x = b.batch_norm("bn1", x);
    x = b.relu("relu", x);
    if let Stem::Large = stem {
        let pool = Pool {
            padding: 1,
            ..Pool::new(3, 2)
        };
        x = b.max_pool("maxpool", x, pool);
    }
    for (stage, depth) in depths.into_iter().enumerate() {
        for index in 0..depth {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let name = format!("layer{}.{index}", stage + 1);
            x = residual(b, &name, x, block, 64 << stage, stride);
        }
    }
    x = b.adaptive_avg_pool("avgpool", x, 1);
    x = b.flatten("flatten", x);
    b.linear("fc", x, b.classes())
}

fn residual(
    b: &mut Builder,
    name: &str,
    input: Value,
    block: Block,
    planes: usize,
    stride: usize,
) -> Value {
    let (convs, channels) = match block {
        Block::Plain => (
            vec![
                Conv::new(planes, 3).centered().stride(stride),
                Conv::new(planes, 3).centered(),
            ],
            planes,
        ),
        Block::Bottleneck { groups, width } => {
            let inner = planes * width / 64 * groups;
            let middle = Conv::new(inner, 3).centered().stride(stride).groups(groups);
            let convs = vec![Conv::new(inner, 1), middle, Conv::new(4 * planes, 1)];
            (convs, 4 * planes)
        }
    };
    let mut x = input;
    for (i, conv) in convs.into_iter().enumerate() {
        if i > 0 {
            x = b.relu(format!("{name}.relu"), x);
        }
        x = b.conv(format!("{name}.conv{}", i + 1), x, conv);
        x = b.batch_norm(format!("{name}.bn{}", i + 1), x);
    }
    let mut shortcut = input;
    if stride != 1 || b.channels(input) != channels {
        let conv = Conv::new(channels, 1).stride(stride);
        shortcut = b.conv(format!("{name}.downsample.0"), input, conv);
        shortcut = b.batch_norm(format!("{name}.downsample.1"), shortcut);
    }
    x = b.add(format!("{name}.add"), x, shortcut);
    b.relu(format!("{name}.relu"), x)
}
