//! `BasicConvNet` of the authors' code, a small network for CIFAR.

use super::Definition;
use crate::builder::{Builder, Conv, Initializers};
use crate::op::{Init, Pool, Value};

pub(super) const NETWORKS: &[Definition] = &[Definition::cifar("basic-N", &[32], |b, numbers| {
    basic(b, numbers[0])
})];

/// Three stages of two convolutions, `planes` channels wide and doubling at each stage, then global average
/// pooling.
fn basic(b: &mut Builder, planes: usize) -> Value {
    b.require_sides([32, 32]);
    b.initializers = Initializers {
        conv: Init::kaiming_normal_out,
        linear_bias: Init::zeros,
        ..Initializers::default()
    };
    // Modules of a `Sequential` are named by their index.
    let mut index = 0..;
    let mut next = || format!("base.{}", index.next().expect("the range has no end"));
    let mut x = Value::IMAGES;
    for stage in 0..3 {
        for _ in 0..2 {
            x = b.conv(next(), x, Conv::new(planes << stage, 3).centered());
            x = b.batch_norm(next(), x);
            x = b.relu(next(), x);
        }
        x = b.max_pool(next(), x, Pool::new(2, 2));
    }
    x = b.avg_pool(next(), x, Pool::new(4, 4));
    x = b.flatten("flatten", x);
    b.linear("fc", x, b.classes())
}

#[cfg(test)]
mod tests {
    use crate::architecture;

    #[test]
    fn parameters_match_the_authors_code() {
        let net = architecture("basic-16", [3, 32, 32], 100).unwrap();
        let names = net.parameter_shapes();
        assert_eq!(names.len(), 6 * 5 + 2);
        let has = |name: &str, shape: &[usize]| names.contains(&(name.into(), shape.into()));
        assert!(has("base.0.weight", &[16, 3, 3, 3]));
        assert!(has("base.1.running_var", &[16]));
        assert!(has("base.17.weight", &[64, 64, 3, 3]));
        assert!(has("base.18.bias", &[64]));
        assert!(has("fc.weight", &[100, 64]));
        // 432 + 2304 + 4608 + 9216 + 18432 + 36864 of convolutions, 448 of batch norm, 6500.
        assert_eq!(net.trainable_len(), 78_804);
    }
}
