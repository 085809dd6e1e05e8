//! torchvision's Vision Transformer.

use super::Definition;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Activation, Init, Value};

pub(super) const NETWORKS: &[Definition] = &[Definition::imagenet("vit_b_16", |b, _| {
    vit(b, 16, 12, 12, 768, 3072)
})];

const EPS: f64 = 1e-6;

/// Divides images into patches of side `patch`; the position embedding has one entry per patch. The
/// original's dropout of 0 is omitted.
fn vit(
    b: &mut Builder,
    patch: usize,
    layers: usize,
    heads: usize,
    features: usize,
    hidden: usize,
) -> Value {
    b.require_multiple(patch);
    b.old_names(&[[".mlp.linear_1.", ".mlp.0."], [".mlp.linear_2.", ".mlp.3."]]);
    b.initializers = Initializers {
        conv: |fan| Init::Normal {
            std: (1.0 / fan.input as f64).sqrt(),
        },
        conv_bias: Init::zeros,
        linear: Init::xavier_uniform,
        linear_bias: |_| Init::Normal { std: 1e-6 },
    };
    let conv = Conv::new(features, patch).stride(patch).biased();
    let mut x = b.conv("conv_proj", Value::IMAGES, conv);
    x = b.flatten_pixels("patches", x);
    x = b.permute("tokens", x, &[0, 2, 1]);
    x = b.class_token("tokens_with_class", x, "class_token");
    x = b.position_embedding("encoder.embedded", x, "encoder.pos_embedding");
    for layer in 0..layers {
        let name = format!("encoder.layers.encoder_layer_{layer}");
        let mut y = b.layer_norm(format!("{name}.ln_1"), x, EPS);
        y = b.attention(format!("{name}.self_attention"), y, heads);
        x = b.add(format!("{name}.add"), y, x);
        y = b.layer_norm(format!("{name}.ln_2"), x, EPS);
        y = b.linear(format!("{name}.mlp.0"), y, hidden);
        y = b.activation(format!("{name}.mlp.1"), y, Activation::Gelu);
        y = b.linear(format!("{name}.mlp.3"), y, features);
        x = b.add(format!("{name}.add"), x, y);
    }
    x = b.layer_norm("encoder.ln", x, EPS);
    x = b.first_token("class", x);
    b.initializers.linear = Init::zeros;
    b.initializers.linear_bias = Init::zeros;
    b.linear("heads.head", x, b.classes())
}
