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
