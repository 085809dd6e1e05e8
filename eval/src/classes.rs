//! Checks that a model and a data set have the same classes.

use topk_labels::{ClassNames, Classes};

use crate::error::EvaluationError;
use crate::model::Model;

/// Number of classes of the model, if they are those of the data.
pub(crate) fn check_classes(
    model: &Model,
    data: &Classes,
    given: Option<&ClassNames>,
) -> Result<usize, EvaluationError> {
    let name = || model.path().display().to_string();
    let named = model.card().and_then(|card| card.class_names.as_ref());
    let known = model.classes().or(named.map(Vec::len));
    let known = known.or(given.map(|given| given.names().len()));
    let expected = known.unwrap_or(data.len());
    let fits = match data {
        // Only some of the classes may have images.
        Classes::Numbered(count) => *count <= expected,
        Classes::Imagenet | Classes::Named(_) => data.len() == expected,
    };
    if !fits {
        return Err(EvaluationError::Classes {
            model: name(),
            expected,
            found: data.len(),
        });
    }
    if let Some(given) = given.filter(|given| given.names().len() != expected) {
        return Err(EvaluationError::ClassNames {
            names: given.path().display().to_string(),
            found: given.names().len(),
            model: name(),
            expected,
        });
    }
    if let (Some(expected), Classes::Named(found)) = (named, data) {
        let pairs = expected.iter().zip(found).enumerate();
        if let Some((class, (expected, found))) = pairs
            .into_iter()
            .find(|(_, (expected, found))| expected != found)
        {
            return Err(EvaluationError::ClassName {
                model: name(),
                class,
                expected: expected.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(expected)
}
