//! Weights whose names are not quite those of an architecture: wrapped in other modules, or of another library.

mod schemes;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use topk_weights::{Mismatch, StateDict, Tensor};

use crate::architecture::{Architecture, MatchError};
use crate::architectures::architectures;
use schemes::{SCHEMES, Scheme};

/// Number of prefixes that a note shows.
const SHOWN: usize = 3;

/// Weights under the names of an architecture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Renamed {
    /// The weights.
    pub weights: StateDict,
    /// What was decided about the names, one line each.
    pub notes: Vec<String>,
    /// Whether the weights are of a library that publishes some for images of different mean and std.
    pub ambiguous_normalization: bool,
}

/// The name here of a tensor in a scheme; without a scheme, the same name.
fn converted(scheme: Option<&Scheme>, name: &str) -> Option<String> {
    match scheme {
        None => Some(name.to_owned()),
        Some(scheme) => (scheme.convert)(&name.split('.').collect::<Vec<_>>()),
    }
}

impl Architecture {
    /// Gives weights the names of this architecture, where they differ:
    ///
    /// - A prefix of a module around the network, such as `model.` or `backbone.`, is removed. Tensors elsewhere are
    ///   left out, except those of the classifier, such as `head.fc.weight`.
    /// - Names of timm, transformers and the authors are converted for the families that are otherwise the same
    ///   network.
    ///
    /// Weights that have neither are returned as they are.
    ///
    /// # Errors
    /// [`MatchError::Ambiguous`] if there are several such networks.
    pub fn renamed(&self, weights: StateDict) -> Result<Renamed, MatchError> {
        let shapes: HashMap<String, Vec<usize>> = self.parameter_shapes().into_iter().collect();
        let classifier: HashSet<String> = self.classifier().into_iter().collect();
        let reading = self.reading(&weights, &shapes, &classifier)?;
        let Some((prefix, scheme)) = reading else {
            return Ok(Renamed {
                weights,
                ..Renamed::default()
            });
        };
        let mut renamed = Renamed {
            ambiguous_normalization: scheme.is_some_and(|scheme| scheme.ambiguous_normalization),
            ..Renamed::default()
        };
        let mut prefixes = BTreeSet::new();
        let mut others = BTreeMap::new();
        let tensors = &mut renamed.weights.tensors;
        for (name, tensor) in weights.tensors {
            match name.strip_prefix(&prefix) {
                Some(rest) => {
                    let new = converted(scheme, rest).unwrap_or_else(|| rest.to_owned());
                    let fits = |shape: &Vec<usize>| reshaped(&tensor, shape);
                    let joined = scheme.and(shapes.get(&new)).and_then(fits);
                    tensors.insert(new, joined.unwrap_or(tensor));
                }
                None => {
                    others.insert(name, tensor);
                }
            }
        }
        renamed.weights.metadata = weights.metadata;
        // A classifier beside the network, such as `head.fc.weight`, if there is only one.
        for wanted in &classifier {
            if tensors.contains_key(wanted) {
                continue;
            }
            let found = others.keys().filter_map(|name| {
                let (at, new) = suffixes(name)
                    .filter_map(|(at, suffix)| Some((at, converted(scheme, suffix)?)))
                    .find(|(_, new)| new == wanted)?;
                Some((name.clone(), name[..at].to_owned(), new))
            });
            if let [(name, prefix, new)] = &found.collect::<Vec<_>>()[..] {
                tensors.extend(others.remove(name).map(|tensor| (new.clone(), tensor)));
                prefixes.insert(prefix.clone());
            }
        }
        if !prefix.is_empty() {
            prefixes.insert(prefix.clone());
        }
        prefixes.remove("");
        if !prefixes.is_empty() {
            let shown: Vec<_> = prefixes
                .iter()
                .take(SHOWN)
                .map(|p| format!("`{p}`"))
                .collect();
            let mut note = format!("took the weights under {}", shown.join(" and "));
            if let Some((first, _)) = others.first_key_value() {
                let count = match others.len() {
                    1 => "1 other tensor".to_owned(),
                    count => format!("{count} other tensors"),
                };
                note.push_str(&format!(", and left out {count}, such as `{first}`"));
            }
            renamed.notes.push(note);
        }
        if let Some(scheme) = scheme {
            let name = self.name();
            let library = scheme.library;
            renamed.notes.push(format!(
                "converted the names of {library} to those of {name}"
            ));
        }
        Ok(renamed)
    }

    /// The prefix and scheme of names that have most of this architecture's parameters, if they are needed.
    fn reading(
        &self,
        weights: &StateDict,
        shapes: &HashMap<String, Vec<usize>>,
        classifier: &HashSet<String>,
    ) -> Result<Option<(String, Option<&'static Scheme>)>, MatchError> {
        let schemes = SCHEMES
            .iter()
            .filter(|scheme| self.name().starts_with(scheme.family));
        let required = shapes
            .keys()
            .filter(|name| !classifier.contains(*name))
            .count();
        let mut best: Option<(usize, String, Option<&'static Scheme>)> = None;
        for scheme in std::iter::once(None).chain(schemes.map(Some)) {
            let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
            for name in weights.tensors.keys() {
                for (at, suffix) in suffixes(name) {
                    let new = converted(scheme, suffix).map(|new| self.current_name(new));
                    if new
                        .is_some_and(|new| shapes.contains_key(&new) && !classifier.contains(&new))
                    {
                        *votes.entry(&name[..at]).or_default() += 1;
                    }
                }
            }
            // A prefix that occurs first in the order of names does not win by that.
            let most = votes.values().max().copied().unwrap_or(0);
            let mut prefixes = votes.into_iter().filter(|&(_, count)| count == most);
            let Some((prefix, _)) = prefixes.next() else {
                continue;
            };
            let enough = match scheme {
                None => 2 * most >= required,
                Some(_) => most == required,
            };
            if !enough || best.as_ref().is_some_and(|&(count, ..)| count >= most) {
                continue;
            }
            if let Some((other, _)) = prefixes.next() {
                if prefix.is_empty() {
                    continue;
                }
                return Err(MatchError::Ambiguous {
                    architecture: self.name().to_owned(),
                    prefixes: [prefix.to_owned(), other.to_owned()],
                });
            }
            best = Some((most, prefix.to_owned(), scheme));
        }
        Ok(best
            .map(|(_, prefix, scheme)| (prefix, scheme))
            .filter(|(prefix, scheme)| !prefix.is_empty() || scheme.is_some()))
    }

    /// The error that these tensors do not fit, in one line if it is clear why.
    pub(crate) fn mismatch<'a>(
        &self,
        mismatch: Mismatch,
        tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
    ) -> MatchError {
        let architecture = self.name().to_owned();
        let found: HashMap<&str, &[usize]> = tensors.clone().collect();
        let fits = |other: &&Architecture| other.name() != architecture && other.has(&found);
        if let Some(other) = architectures().iter().find(fits) {
            let other = other.name().to_owned();
            return MatchError::OtherArchitecture {
                architecture,
                other,
            };
        }
        let expected = self.parameter_shapes();
        let missing = mismatch.missing.len();
        if 2 * missing >= expected.len()
            && let Some((library, example)) = schemes::library(tensors.map(|(name, _)| name))
        {
            return MatchError::OtherNames {
                architecture,
                library,
                example: example.to_owned(),
                expected: expected[0].0.clone(),
            };
        }
        let classifier = self.classifier();
        let missing = mismatch.missing.iter().map(|(name, _)| name);
        let wrong_shape = mismatch.wrong_shape.iter().map(|(name, ..)| name);
        let mut unfit = missing.clone().chain(wrong_shape);
        let advice = if unfit.all(|name| classifier.contains(name))
            && mismatch.unexpected.is_empty()
        {
            "Only the last layer does not fit, as for another number of classes: use --classifier new to start with a \
             new one"
        } else if mismatch.missing.is_empty() && mismatch.unexpected.is_empty() {
            "They are of a network of other sizes: choose another --model"
        } else {
            "Choose the --model that they are of, or give them its names, which are those in PyTorch"
        };
        MatchError::Mismatch {
            architecture,
            mismatch,
            advice,
        }
    }

    /// Whether tensors have the names and shapes of this architecture, for any number of classes.
    fn has(&self, tensors: &HashMap<&str, &[usize]>) -> bool {
        let classifier = self.classifier();
        let shapes = self.parameter_shapes();
        let fits = |(name, shape): &(String, Vec<usize>)| {
            tensors.get(name.as_str()).is_some_and(|found| {
                *found == shape.as_slice()
                    || classifier.contains(name) && found.get(1..) == shape.get(1..)
            })
        };
        let counted = tensors
            .keys()
            .filter(|name| !self.is_ignorable(name))
            .count();
        counted == shapes.len() && shapes.iter().all(fits)
    }
}

/// The parts of a name that begin at its start or after a dot, longest first, with their offsets.
fn suffixes(name: &str) -> impl Iterator<Item = (usize, &str)> {
    let dots = name.match_indices('.').map(|(at, _)| at + 1);
    std::iter::once(0).chain(dots).map(|at| (at, &name[at..]))
}

/// A tensor in a shape that differs only in dimensions of 1 and in which of them are joined.
fn reshaped(tensor: &Tensor, shape: &[usize]) -> Option<Tensor> {
    (tensor.shape() != shape)
        .then(|| Tensor::new(shape, tensor.dtype(), tensor.bytes().to_vec()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Classifier, architecture};

    fn file(shapes: impl IntoIterator<Item = (String, Vec<usize>)>) -> StateDict {
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let zeros = vec![0.0; shape.iter().product()];
            (name, Tensor::from_f32(&shape, &zeros).unwrap())
        });
        StateDict {
            tensors: tensors.collect(),
            ..StateDict::default()
        }
    }

    fn net() -> Architecture {
        architecture("basic-4", [3, 32, 32], 7).unwrap()
    }

    fn wrapped(prefix: impl Fn(&str) -> String) -> StateDict {
        let shapes = net().parameter_shapes().into_iter();
        file(shapes.map(|(name, shape)| (prefix(&name), shape)))
    }

    #[test]
    fn prefixes_of_other_modules_are_removed() {
        let net = net();
        let plain = wrapped(str::to_owned);
        assert_eq!(net.renamed(plain.clone()).unwrap().notes.len(), 0);
        let mut lightning = wrapped(|name| format!("model.net.{name}"));
        let loss = Tensor::from_f32(&[2], &[1.0; 2]).unwrap();
        lightning
            .tensors
            .insert("criterion.weight".to_owned(), loss);
        let renamed = net.renamed(lightning).unwrap();
        assert_eq!(renamed.weights, plain);
        assert_eq!(
            renamed.notes,
            [
                "took the weights under `model.net.`, and left out 1 other tensor, such as \
              `criterion.weight`"
            ]
        );
        let split = wrapped(|name| match name.starts_with("fc.") {
            true => format!("head.{name}"),
            false => format!("backbone.{name}"),
        });
        let renamed = net.renamed(split).unwrap();
        assert_eq!(renamed.weights, plain);
        assert_eq!(
            renamed.notes,
            ["took the weights under `backbone.` and `head.`"]
        );
    }

    #[test]
    fn two_networks_are_an_error() {
        let mut two = wrapped(|name| format!("encoder_q.{name}"));
        two.tensors
            .extend(wrapped(|name| format!("encoder_k.{name}")).tensors);
        assert_eq!(
            net().renamed(two).unwrap_err().to_string(),
            "the file has weights of basic-4 under `encoder_k.` and under `encoder_q.`: load it in \
             PyTorch and save those of one network"
        );
    }

    #[test]
    fn a_file_of_another_network_is_recognised() {
        let small = architecture("resnet18", [3, 224, 224], 12).unwrap();
        let large = architecture("resnet34", [3, 224, 224], 12).unwrap();
        let error = large.matched(file(small.parameter_shapes()), Classifier::Keep);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the weights do not fit resnet34: they are those of resnet18; use --model resnet18"
        );
        let names = [("_conv_stem.weight", 3), ("_blocks.0._bn0.weight", 4)];
        let other = file(names.map(|(name, len)| (name.to_owned(), vec![len])));
        assert_eq!(
            large
                .matched(other, Classifier::Keep)
                .unwrap_err()
                .to_string(),
            "the weights do not fit resnet34: their names are those of the package \
             efficientnet_pytorch, such as `_conv_stem.weight`, but names such as `conv1.weight` are \
             expected; convert the names, or export the network to ONNX in PyTorch"
        );
    }
}
