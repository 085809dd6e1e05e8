//! torchvision's ConvNeXt.

use super::Definition;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Activation, Init, Value};

pub(super) const NETWORKS: &[Definition] = &[Definition::imagenet("convnext_tiny", |b, _| {
    convnext(b, [3, 3, 9, 3], [96, 192, 384, 768], 0.1)
})
.images(224, 236)];

const EPS: f64 = 1e-6;

/// Stages of the given depths and channels. In training, blocks are dropped with a probability that rises
/// linearly from 0 to `stochastic_depth`.
fn convnext(
    b: &mut Builder,
    depths: [usize; 4],
    channels: [usize; 4],
    stochastic_depth: f64,
) -> Value {
    // The original cuts off normal numbers beyond ±2, 100 standard deviations away.
    b.initializers = Initializers {
        conv: |_| Init::Normal { std: 0.02 },
        conv_bias: Init::zeros,
        linear: |_| Init::Normal { std: 0.02 },
        linear_bias: Init::zeros,
    };
    let total: usize = depths.iter().sum();
    let mut x = Value::IMAGES;
    let mut built = 0;
    for (stage, (depth, channels)) in depths.into_iter().zip(channels).enumerate() {
        let name = format!("features.{}", 2 * stage);
        if stage == 0 {
            let conv = Conv::new(channels, 4).stride(4).biased();
            x = b.conv(format!("{name}.0"), x, conv);
            x = norm(b, &format!("{name}.1"), x);
        } else {
            x = norm(b, &format!("{name}.0"), x);
            let conv = Conv::new(channels, 2).stride(2).biased();
            x = b.conv(format!("{name}.1"), x, conv);
        }
        for block in 0..depth {
            let p = stochastic_depth * built as f64 / (total - 1) as f64;
            x = residual(b, &format!("features.{}.{block}", 2 * stage + 1), x, p);
            built += 1;
        }
    }
    x = b.adaptive_avg_pool("avgpool", x, 1);
    x = norm(b, "classifier.0", x);
    x = b.flatten("classifier.1", x);
    b.linear("classifier.2", x, b.classes())
}

/// `LayerNorm2d`: layer norm over the channels of each pixel.
fn norm(b: &mut Builder, name: &str, x: Value) -> Value {
    let x = b.permute(format!("{name}.permute"), x, &[0, 2, 3, 1]);
    let x = b.layer_norm(name, x, EPS);
    b.permute(format!("{name}.permute"), x, &[0, 3, 1, 2])
}

fn residual(b: &mut Builder, name: &str, input: Value, p: f64) -> Value {
    let channels = b.channels(input);
    let conv = Conv::new(channels, 7).centered().groups(channels).biased();
    let mut x = b.conv(format!("{name}.block.0"), input, conv);
    x = b.permute(format!("{name}.block.1"), x, &[0, 2, 3, 1]);
    x = b.layer_norm(format!("{name}.block.2"), x, EPS);
    x = b.linear(format!("{name}.block.3"), x, 4 * channels);
    x = b.activation(format!("{name}.block.4"), x, Activation::Gelu);
    x = b.linear(format!("{name}.block.5"), x, channels);
    x = b.permute(format!("{name}.block.6"), x, &[0, 3, 1, 2]);
    x = b.layer_scale(
        format!("{name}.scaled"),
        x,
        format!("{name}.layer_scale"),
        1e-6,
    );
    x = b.stochastic_depth(format!("{name}.stochastic_depth"), x, p);
    b.add(format!("{name}.add"), x, input)
}
