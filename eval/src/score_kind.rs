//! What the scores of a model are: logits, or probabilities.

use topk_labels::{Classes, imagenet};
use topk_onnx::Ending;
use topk_results::OutputKind;

use crate::trial::Values;

/// Number of outputs of ImageNet models with a background class.
const WITH_BACKGROUND: usize = imagenet::CLASSES + 1;

/// A decision, and the line that says so if it is not the usual one.
pub(crate) type Decided<T> = (T, Option<String>);

/// What the scores are: as requested, or according to the graph and the values of a run.
pub(crate) fn output_kind(
    requested: Option<OutputKind>,
    ending: Ending,
    values: Values,
) -> Decided<OutputKind> {
    let shown = match (ending, values) {
        (Ending::Softmax, Values::SumToOne | Values::Unit | Values::Unknown) => (
            OutputKind::Probs,
            Some("the graph ends with a softmax: its output is used as probabilities"),
        ),
        (Ending::Softmax, Values::Any) => (
            OutputKind::Logits,
            Some(
                "the graph ends with a softmax, but its output is not from 0 to 1: it is used as logits",
            ),
        ),
        (Ending::LogSoftmax, _) => (
            OutputKind::Logits,
            Some(
                "the graph ends with the logarithm of a softmax: its output is used as \
                 logits, which has the same results",
            ),
        ),
        (_, Values::SumToOne) => (
            OutputKind::Probs,
            Some(
                "the scores of an image are not negative and sum to 1: they are used as probabilities",
            ),
        ),
        (Ending::Sigmoid, _) => (
            OutputKind::Sigmoid,
            Some(
                "the graph ends with a sigmoid, that is with independent probabilities of the classes: \
                 the logits before it are used, as for a softmax",
            ),
        ),
        (Ending::Other, _) => (OutputKind::Logits, None),
    };
    match requested {
        None => (
            shown.0,
            shown.1.map(|line| format!("{line} (--output-kind)")),
        ),
        Some(requested) if requested == shown.0 => (requested, None),
        Some(requested) => {
            let found = match shown.0 {
                OutputKind::Logits => "logits",
                OutputKind::Probs => "probabilities",
                OutputKind::Sigmoid => "sigmoids",
            };
            let used = match requested {
                OutputKind::Probs => "probabilities",
                _ => "logits",
            };
            let line = format!("scores used as {used}, as requested; they look like {found}");
            (requested, Some(line))
        }
    }
}

/// Why the offset between labels and outputs is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OffsetError {
    /// The labels do not show whether they count the background class.
    Unknown,
    /// No classes would be left.
    TooLarge(usize),
}

/// What is added to a label to find its output: as requested, or 1 for the background class of ImageNet
/// models.
pub(crate) fn label_offset(
    requested: Option<usize>,
    outputs: usize,
    data: &Classes,
    labels: &[Vec<u32>],
) -> Result<Decided<usize>, OffsetError> {
    let leaves_out = |offset: usize| match offset {
        1 => "output 0 is left out".to_owned(),
        _ => format!("outputs 0 to {} are left out", offset - 1),
    };
    if let Some(offset) = requested {
        if offset >= outputs {
            return Err(OffsetError::TooLarge(offset));
        }
        let line = (offset > 0).then(|| {
            let left_out = leaves_out(offset);
            format!("class 0 of the data is output {offset}, as requested; {left_out}")
        });
        return Ok((offset, line));
    }
    let has = |class: u32| labels.iter().any(|labels| labels.contains(&class));
    let offset = match data {
        _ if outputs != WITH_BACKGROUND => 0,
        Classes::Imagenet => 1,
        Classes::Named(_) => 0,
        // Nothing is labelled as background.
        Classes::Numbered(_) if has(0) && !has(imagenet::CLASSES as u32) => 1,
        Classes::Numbered(classes) if *classes >= WITH_BACKGROUND => 0,
        Classes::Numbered(_) => return Err(OffsetError::Unknown),
    };
    let line = (offset > 0).then(|| {
        "it has 1001 outputs, for a background class and ImageNet's: class 0 of the data is output 1, and \
         output 0 is left out (--label-offset 1)"
            .to_owned()
    });
    Ok((offset, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_the_graph_and_the_values() {
        use OutputKind::{Logits, Probs, Sigmoid};
        for (ending, values, expected, says) in [
            (Ending::Other, Values::Any, Logits, None),
            (Ending::Other, Values::Unit, Logits, None),
            (Ending::Other, Values::SumToOne, Probs, Some("sum to 1")),
            (Ending::Softmax, Values::SumToOne, Probs, Some("softmax")),
            // Quantised.
            (Ending::Softmax, Values::Unit, Probs, Some("softmax")),
            (Ending::LogSoftmax, Values::Any, Logits, Some("logarithm")),
            (Ending::Sigmoid, Values::Unit, Sigmoid, Some("sigmoid")),
        ] {
            let (kind, line) = output_kind(None, ending, values);
            assert_eq!(kind, expected, "{ending:?}");
            match says {
                None => assert_eq!(line, None),
                Some(says) => assert!(line.unwrap().contains(says), "{ending:?}"),
            }
        }
        let (kind, line) = output_kind(Some(Logits), Ending::Softmax, Values::SumToOne);
        assert_eq!(kind, Logits);
        let line = line.unwrap();
        assert!(
            line.contains("as requested; they look like probabilities"),
            "{line}"
        );
        assert_eq!(
            output_kind(Some(Probs), Ending::Softmax, Values::Unit),
            (Probs, None)
        );
    }

    #[test]
    fn background_classes_are_recognised() {
        let labels =
            |labels: &[u32]| -> Vec<Vec<u32>> { labels.iter().map(|&label| vec![label]).collect() };
        let offset = |outputs, data: &Classes, found: &[u32]| {
            label_offset(None, outputs, data, &labels(found)).map(|(offset, _)| offset)
        };
        let numbered = Classes::Numbered;
        assert_eq!(offset(1001, &Classes::Imagenet, &[5]), Ok(1));
        assert_eq!(offset(1000, &Classes::Imagenet, &[5]), Ok(0));
        assert_eq!(offset(1001, &numbered(1000), &[0, 999]), Ok(1));
        assert_eq!(offset(1001, &numbered(20), &[0, 19]), Ok(1));
        assert_eq!(offset(1001, &numbered(1001), &[1, 1000]), Ok(0));
        assert_eq!(offset(1001, &numbered(1001), &[0, 1000]), Ok(0));
        assert_eq!(
            offset(1001, &numbered(20), &[3, 19]),
            Err(OffsetError::Unknown)
        );
        assert_eq!(offset(1002, &numbered(20), &[3, 19]), Ok(0));
        let names = Classes::Named(vec![String::new(); 1001]);
        assert_eq!(offset(1001, &names, &[3]), Ok(0));

        let given = |offset| label_offset(Some(offset), 11, &numbered(10), &labels(&[3]));
        assert_eq!(given(0), Ok((0, None)));
        let (offset, line) = given(2).unwrap();
        assert_eq!(offset, 2);
        assert!(line.unwrap().contains("outputs 0 to 1 are left out"));
        assert_eq!(given(11), Err(OffsetError::TooLarge(11)));
    }
}
