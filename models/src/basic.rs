//! The seed code's `BasicConvNet`, a small network for CIFAR.

use crate::architecture::{Architecture, ArchitectureError, Builder};

const INPUT_SIZE: [usize; 3] = [3, 32, 32];

/// Three stages of two convolutions, `planes` channels wide and twice as wide at each stage, then
/// an average over what is left of the image.
pub(crate) fn basic(
    name: &str,
    planes: usize,
    input_size: [usize; 3],
    classes: usize,
) -> Result<Architecture, ArchitectureError> {
    if input_size != INPUT_SIZE {
        return Err(ArchitectureError::InputSize {
            name: name.to_owned(),
            expected: INPUT_SIZE,
            found: input_size,
        });
    }
    let mut builder = Builder::new(name, input_size);
    // Modules of one `Sequential` are named by their place in it.
    let mut place = 0..;
    let mut next = || format!("base.{}", place.next().expect("the range has no end"));
    for stage in 0..3 {
        for _ in 0..2 {
            builder.conv2d(&next(), planes << stage, 3, 1);
            builder.batch_norm2d(&next());
            builder.relu(&next());
        }
        builder.max_pool2d(&next(), 2);
    }
    builder.avg_pool2d(&next(), 4);
    builder.flatten("flatten");
    builder.linear("fc", classes);
    Ok(builder.finish())
}

#[cfg(test)]
mod tests {
    use crate::architecture;

    #[test]
    fn parameters_are_those_of_the_seed() {
        let net = architecture("basic-16", [3, 32, 32], 100).unwrap();
        let names: Vec<_> = net
            .parameters()
            .into_iter()
            .map(|p| (p.name, p.shape))
            .collect();
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
