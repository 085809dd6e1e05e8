//! torchvision's Vision Transformer.

use super::Definition;
use crate::builder::{Builder, Conv, Rules};
use crate::op::{Activation, Init, Value};

pub(super) const NETWORKS: &[Definition] = &[Definition::imagenet("vit_b_16", |b, _| {
    vit(b, 16, 12, 12, 768, 3072)
})];

const EPS: f64 = 1e-6;

/// Images in squares of side `patch`; the position embedding has the size that the images call for.
/// Dropout is 0 in the original, and left out.
fn vit(
    b: &mut Builder,
    patch: usize,
    layers: usize,
    heads: usize,
    features: usize,
    hidden: usize,
) -> Value {
    b.sides_of(patch);
    b.old_names(&[[".mlp.linear_1.", ".mlp.0."], [".mlp.linear_2.", ".mlp.3."]]);
    b.rules = Rules {
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
        let mut made = b.layer_norm(format!("{name}.ln_1"), x, EPS);
        made = b.attention(format!("{name}.self_attention"), made, heads);
        x = b.add(format!("{name}.add"), made, x);
        made = b.layer_norm(format!("{name}.ln_2"), x, EPS);
        made = b.linear(format!("{name}.mlp.0"), made, hidden);
        made = b.activation(format!("{name}.mlp.1"), made, Activation::Gelu);
        made = b.linear(format!("{name}.mlp.3"), made, features);
        x = b.add(format!("{name}.add"), x, made);
    }
    x = b.layer_norm("encoder.ln", x, EPS);
    x = b.first_token("class", x);
    b.rules.linear = Init::zeros;
    b.rules.linear_bias = Init::zeros;
    b.linear("heads.head", x, b.classes())
}
