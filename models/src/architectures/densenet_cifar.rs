//! `DenseNet3` of the authors' code, a DenseNet-BC for CIFAR.

use super::Definition;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Init, Pool, Value};

pub(super) const NETWORKS: &[Definition] = &[Definition::cifar(
    "densenet-DEPTH-GROWTH",
    &[40, 40],
    |b, numbers| densenet(b, numbers[0], numbers[1]),
)];

/// Three blocks of equal depth, with bottlenecks, and half of the channels kept between them.
fn densenet(b: &mut Builder, depth: usize, growth: usize) -> Value {
    b.require_sides([32, 32]);
    if depth < 10 || depth % 6 != 4 {
        b.reject_numbers("DEPTH must be 6n + 4, such as 40");
    }
    b.initializers = Initializers {
        conv: Init::kaiming_normal_out,
        linear_bias: Init::zeros,
        ..Initializers::default()
    };
    let layers = depth.saturating_sub(4) / 6;
    let conv = Conv::new(2 * growth, 3).centered();
    let mut x = b.conv("conv1", Value::IMAGES, conv);
    for block in 1..=3 {
        for layer in 0..layers {
            let name = format!("block{block}.layer.{layer}");
            let y = norm_conv(b, &name, 1, x, Conv::new(4 * growth, 1));
            let y = norm_conv(b, &name, 2, y, Conv::new(growth, 3).centered());
            x = b.concat(format!("{name}.cat"), &[x, y]);
        }
        if block < 3 {
            let name = format!("trans{block}");
            let conv = Conv::new(b.channels(x) / 2, 1);
            x = norm_conv(b, &name, 1, x, conv);
            x = b.avg_pool(format!("{name}.pool"), x, Pool::new(2, 2));
        }
    }
    x = b.batch_norm("bn1", x);
    x = b.relu("relu", x);
    x = b.avg_pool("avgpool", x, Pool::new(8, 8));
    x = b.flatten("flatten", x);
    b.linear("fc", x, b.classes())
}

fn norm_conv(b: &mut Builder, name: &str, number: usize, x: Value, conv: Conv) -> Value {
    let x = b.batch_norm(format!("{name}.bn{number}"), x);
    let x = b.relu(format!("{name}.relu"), x);
    b.conv(format!("{name}.conv{number}"), x, conv)
}

#[cfg(test)]
mod tests {
    use crate::{ArchitectureError, architecture};

    #[test]
    fn size_matches_the_authors_code() {
        let net = architecture("densenet-40-40", [3, 32, 32], 100).unwrap();
        assert_eq!(net.trainable_len(), 1_941_620);
    }

    #[test]
    fn unsupported_depths_are_errors() {
        for name in ["densenet-41-12", "densenet-4-12", "densenet-1-1"] {
            let error = architecture(name, [3, 32, 32], 100).unwrap_err();
            assert!(
                matches!(error, ArchitectureError::Numbers { .. }),
                "{error}"
            );
        }
    }
}
