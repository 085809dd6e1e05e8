use std::collections::BTreeMap;

use thiserror::Error;

use crate::state_dict::StateDict;
use crate::tensor::Tensor;

/// Number of names that a message shows.
const SHOWN: usize = 3;

/// Weights that fit a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// The tensors, by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Names of the tensors that were left out and have to be initialised.
    pub new: Vec<String>,
}

/// Every name and shape in which weights differ from those of a network. The message has at most three lines.
#[derive(Clone, Debug, Default, Eq, Error, PartialEq)]
#[error("{}", self.summary().join("\n"))]
pub struct Mismatch {
    /// Tensors of the network that the weights lack: name and shape, in the network's order.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors of another shape: name, shape and the network's shape, in its order.
    pub wrong_shape: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors that the network does not have: name and shape, sorted by name.
    pub unexpected: Vec<(String, Vec<usize>)>,
}

impl Mismatch {
    /// One line for each kind of difference: the first names and how many more there are.
    pub fn summary(&self) -> Vec<String> {
        let named = |tensors: &[(String, Vec<usize>)], how: &str| match tensors {
            [] => None,
            [(name, shape)] => Some(format!("{name} of shape {shape:?} is {how}")),
            _ => {
                let first = tensors.iter().take(SHOWN).map(|(name, _)| name.as_str());
                let mut text = first.collect::<Vec<_>>().join(", ");
                if tensors.len() > SHOWN {
                    text.push_str(&format!(" and {} more", tensors.len() - SHOWN));
                }
                Some(format!("{text} are {how}"))
            }
        };
        let wrong = self.wrong_shape.first().map(|(name, shape, expected)| {
            let more = match self.wrong_shape.len() - 1 {
                0 => String::new(),
                1 => ", and 1 more has another shape too".to_owned(),
                more => format!(", and {more} more have another shape too"),
            };
            format!("{name} has shape {shape:?}, expected {expected:?}{more}")
        });
        let missing = named(&self.missing, "missing");
        let unexpected = named(&self.unexpected, "unexpected");
        [missing, wrong, unexpected].into_iter().flatten().collect()
    }
}

impl StateDict {
    /// Matches the tensors with the names and shapes of a network. The tensors named in `new`, such as those
    /// of a classifier, are left out whatever their shape, and may be missing.
    ///
    /// # Errors
    /// With everything that is missing, unexpected or of another shape.
    pub fn matched<'a>(
        self,
        expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
        new: &[&str],
    ) -> Result<Matched, Mismatch> {
        let mut rest = self.tensors;
        let mut mismatch = Mismatch::default();
        let mut matched = Matched {
            tensors: BTreeMap::new(),
            new: Vec::new(),
        };
        for (name, shape) in expected {
            match rest.remove(name) {
                _ if new.contains(&name) => matched.new.push(name.to_owned()),
                Some(tensor) if tensor.shape() == shape => {
                    matched.tensors.insert(name.to_owned(), tensor);
                }
                Some(tensor) => mismatch.wrong_shape.push((
                    name.to_owned(),
                    tensor.shape().to_vec(),
                    shape.to_vec(),
                )),
                None => mismatch.missing.push((name.to_owned(), shape.to_vec())),
            }
        }
        mismatch.unexpected = rest
            .into_iter()
            .map(|(name, tensor)| (name, tensor.shape().to_vec()))
            .collect();
        if mismatch == Mismatch::default() {
            Ok(matched)
        } else {
            Err(mismatch)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(shapes: &[(&str, &[usize])]) -> StateDict {
        let mut weights = StateDict::default();
        for &(name, shape) in shapes {
            let values = vec![0.5; shape.iter().product()];
            let tensor = Tensor::from_f32(shape, &values).unwrap();
            weights.tensors.insert(name.to_owned(), tensor);
        }
        weights
    }

    const NETWORK: [(&str, &[usize]); 4] = [
        ("conv.weight", &[4, 3, 2, 2]),
        ("bn.weight", &[4]),
        ("fc.weight", &[5, 4]),
        ("fc.bias", &[5]),
    ];

    #[test]
    fn the_same_names_and_shapes_match() {
        let matched = weights(&NETWORK).matched(NETWORK, &[]).unwrap();
        assert_eq!(matched.tensors, weights(&NETWORK).tensors);
        assert!(matched.new.is_empty());
    }

    #[test]
    fn single_differences_are_listed() {
        let other = weights(&[
            ("conv.weight", &[4, 1, 2, 2]),
            ("fc.weight", &[5, 4]),
            ("fc.bias", &[5]),
            ("extra", &[2]),
        ]);
        let mismatch = other.matched(NETWORK, &[]).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "bn.weight of shape [4] is missing\n\
             conv.weight has shape [4, 1, 2, 2], expected [4, 3, 2, 2]\n\
             extra of shape [2] is unexpected"
        );
    }

    #[test]
    fn many_differences_are_counted() {
        let layers: Vec<String> = (10..30).map(|i| format!("layer{i}.weight")).collect();
        let expected = || layers.iter().map(|name| (name.as_str(), [4].as_slice()));
        let wrong: Vec<_> = layers
            .iter()
            .map(|name| (name.as_str(), [3].as_slice()))
            .collect();
        assert_eq!(
            weights(&wrong)
                .matched(expected(), &[])
                .unwrap_err()
                .to_string(),
            "layer10.weight has shape [3], expected [4], and 19 more have another shape too"
        );
        let others: Vec<String> = (10..14).map(|i| format!("block{i}.weight")).collect();
        let others: Vec<_> = others
            .iter()
            .map(|name| (name.as_str(), [4].as_slice()))
            .collect();
        assert_eq!(
            weights(&others)
                .matched(expected(), &[])
                .unwrap_err()
                .to_string(),
            "layer10.weight, layer11.weight, layer12.weight and 17 more are missing\n\
             block10.weight, block11.weight, block12.weight and 1 more are unexpected"
        );
    }

    #[test]
    fn a_new_classifier_ignores_the_old_one() {
        let of = |classes: usize, features: usize| {
            weights(&[
                ("conv.weight", &[4, 3, 2, 2]),
                ("bn.weight", &[4]),
                ("fc.weight", &[classes, features]),
                ("fc.bias", &[classes]),
            ])
        };
        let new = &["fc.weight", "fc.bias"];
        let matched = of(7, 4).matched(NETWORK, new).unwrap();
        assert_eq!(matched.new, ["fc.weight", "fc.bias"]);
        assert_eq!(matched.tensors.len(), 2);
        assert_eq!(of(5, 4).matched(NETWORK, new).unwrap(), matched);
        let headless = weights(&NETWORK[..2]);
        assert_eq!(headless.matched(NETWORK, new).unwrap(), matched);
        assert!(of(7, 4).matched(NETWORK, &[]).is_err());
    }
}
