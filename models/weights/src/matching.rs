use std::collections::BTreeMap;

use thiserror::Error;

use crate::state_dict::StateDict;
use crate::tensor::Tensor;

/// What becomes of the classifier's weights.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Head<'a> {
    /// They must fit as they are.
    #[default]
    Keep,
    /// Of these tensors, which all have the classes as first dimension, those with another number of
    /// classes are left out, to be initialised anew.
    New(&'a [&'a str]),
}

/// How weights are matched with a network.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Matching<'a> {
    /// Names that a network may lack: whole, or the beginning or end of dotted ones, such as
    /// `num_batches_tracked` or `AuxLogits`.
    pub ignored: &'a [&'a str],
    /// What becomes of the classifier's weights.
    pub head: Head<'a>,
}

/// Weights that fit a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// The tensors, by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Names of the classifier's tensors that have to be initialised anew.
    pub new: Vec<String>,
}

/// Every name and shape in which weights differ from what a network has.
#[derive(Clone, Debug, Default, Eq, Error, PartialEq)]
#[error("{}", self.faults().join("; "))]
pub struct Mismatch {
    /// Tensors that the network has and the weights have not: name and shape, in the network's order.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors of another shape: name, shape and the network's shape, in its order.
    pub wrong_shape: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors that the network has not: name and shape, by name.
    pub unexpected: Vec<(String, Vec<usize>)>,
}

impl Mismatch {
    /// A sentence about each.
    pub fn faults(&self) -> Vec<String> {
        let missing = self.missing.iter();
        let missing = missing.map(|(name, shape)| format!("{name} of shape {shape:?} is missing"));
        let wrong = self.wrong_shape.iter();
        let wrong = wrong.map(|(name, shape, expected)| {
            format!("{name} has shape {shape:?}, expected {expected:?}")
        });
        let unexpected = self.unexpected.iter();
        let unexpected =
            unexpected.map(|(name, shape)| format!("{name} of shape {shape:?} is unexpected"));
        missing.chain(wrong).chain(unexpected).collect()
    }
}

impl Matching<'_> {
    /// Matches weights with the names and shapes of a network's tensors.
    ///
    /// # Errors
    /// With everything that is missing, unexpected or of another shape.
    pub fn apply<'a>(
        &self,
        weights: StateDict,
        expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Matched, Mismatch> {
        let mut rest = weights.tensors;
        let mut mismatch = Mismatch::default();
        let mut matched = Matched {
            tensors: BTreeMap::new(),
            new: Vec::new(),
        };
        for (name, shape) in expected {
            match rest.remove(name) {
                Some(tensor) if tensor.shape() == shape => {
                    matched.tensors.insert(name.to_owned(), tensor);
                }
                Some(tensor) if self.replaces(name, tensor.shape(), shape) => {
                    matched.new.push(name.to_owned());
                }
                Some(tensor) => mismatch.wrong_shape.push((
                    name.to_owned(),
                    tensor.shape().to_vec(),
                    shape.to_vec(),
                )),
                None if self.ignores(name) => {}
                None => mismatch.missing.push((name.to_owned(), shape.to_vec())),
            }
        }
        let unexpected = rest.into_iter().filter(|(name, _)| !self.ignores(name));
        mismatch.unexpected = unexpected
            .map(|(name, tensor)| (name, tensor.shape().to_vec()))
            .collect();
        if mismatch == Mismatch::default() {
            Ok(matched)
        } else {
            Err(mismatch)
        }
    }

    /// Whether a tensor is the classifier's and differs in the number of classes alone.
    fn replaces(&self, name: &str, shape: &[usize], expected: &[usize]) -> bool {
        let Head::New(classifier) = self.head else {
            return false;
        };
        classifier.contains(&name)
            && shape.len() == expected.len()
            && shape.get(1..) == expected.get(1..)
    }

    fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|&ignored| {
            let dotted = |rest: Option<&str>, dot: fn(&str) -> bool| {
                rest.is_some_and(|rest| rest.is_empty() || dot(rest))
            };
            dotted(name.strip_prefix(ignored), |rest| rest.starts_with('.'))
                || dotted(name.strip_suffix(ignored), |rest| rest.ends_with('.'))
        })
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
        let matched = Matching::default()
            .apply(weights(&NETWORK), NETWORK)
            .unwrap();
        assert_eq!(matched.tensors, weights(&NETWORK).tensors);
        assert!(matched.new.is_empty());
    }

    #[test]
    fn every_difference_is_listed() {
        let other = weights(&[
            ("conv.weight", &[4, 1, 2, 2]),
            ("fc.weight", &[5, 4]),
            ("fc.bias", &[]),
            ("extra", &[2]),
        ]);
        let mismatch = Matching::default().apply(other, NETWORK).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "bn.weight of shape [4] is missing; conv.weight has shape [4, 1, 2, 2], expected \
             [4, 3, 2, 2]; fc.bias has shape [], expected [5]; extra of shape [2] is unexpected"
        );
    }

    #[test]
    fn a_new_head_takes_another_number_of_classes() {
        let of = |classes: usize, features: usize| {
            weights(&[
                ("conv.weight", &[4, 3, 2, 2]),
                ("bn.weight", &[4]),
                ("fc.weight", &[classes, features]),
                ("fc.bias", &[classes]),
            ])
        };
        let new = Matching {
            head: Head::New(&["fc.weight", "fc.bias"]),
            ..Matching::default()
        };
        let matched = new.apply(of(7, 4), NETWORK).unwrap();
        assert_eq!(matched.new, ["fc.weight", "fc.bias"]);
        assert_eq!(matched.tensors.len(), 2);
        let matched = new.apply(of(5, 4), NETWORK).unwrap();
        assert!(matched.new.is_empty());
        let mismatch = new.apply(of(7, 9), NETWORK).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "fc.weight has shape [7, 9], expected [5, 4]"
        );
        assert!(Matching::default().apply(of(7, 4), NETWORK).is_err());
    }

    #[test]
    fn ignored_names_may_be_absent_on_either_side() {
        let mut found = weights(&NETWORK);
        for name in ["bn.num_batches_tracked", "AuxLogits.fc.weight"] {
            let tensor = Tensor::from_i64(&[], &[3]).unwrap();
            found.tensors.insert(name.to_owned(), tensor);
        }
        let ignored = ["num_batches_tracked", "AuxLogits", "bn.weight"];
        let matching = Matching {
            ignored: &ignored,
            ..Matching::default()
        };
        let matched = matching.apply(found.clone(), NETWORK).unwrap();
        assert_eq!(matched.tensors, weights(&NETWORK).tensors);
        found.tensors.remove("bn.weight");
        assert!(matching.apply(found.clone(), NETWORK).is_ok());
        found.tensors.insert(
            "xAuxLogits".to_owned(),
            Tensor::from_i64(&[], &[3]).unwrap(),
        );
        let mismatch = matching.apply(found, NETWORK).unwrap_err();
        assert_eq!(mismatch.to_string(), "xAuxLogits of shape [] is unexpected");
    }
}
