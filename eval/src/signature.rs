//! Which inputs and outputs of a model are an image and scores.

use std::collections::HashSet;

use ort::value::{TensorElementType, ValueType};
use topk_labels::{Classes, imagenet};
use topk_preprocessing::ImageMode;

use crate::input::{Element, InputKind, Layout};

/// An input for images.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ImageInput {
    /// Type and layout.
    pub(crate) kind: InputKind,
    /// Batch size, if fixed.
    pub(crate) batch: Option<usize>,
    /// Height and width, where fixed.
    pub(crate) size: [Option<usize>; 2],
}

/// The inputs that are supported, for messages.
pub(crate) const EXPECTED_INPUT: &str = "[batch, 3, height, width] or [batch, height, width, 3], or 1 in place of 3 for \
                                         grey images, of floating-point numbers or u8";

/// The outputs that are supported, for messages.
pub(crate) const EXPECTED_OUTPUT: &str = "[batch, classes] of floating-point numbers";

/// A fixed dimension; dynamic ones are −1.
fn known(dim: i64) -> Option<usize> {
    usize::try_from(dim).ok()
}

/// The input, if it may be an image.
pub(crate) fn image_input(value: &ValueType) -> Option<ImageInput> {
    let ValueType::Tensor { ty, shape, .. } = value else {
        return None;
    };
    let element = match ty {
        TensorElementType::Float32 => Element::F32,
        TensorElementType::Float16 => Element::F16,
        TensorElementType::Bfloat16 => Element::Bf16,
        TensorElementType::Float64 => Element::F64,
        TensorElementType::Uint8 => Element::U8,
        _ => return None,
    };
    let &[batch, a, b, c] = &**shape else {
        return None;
    };
    // What is usual for the type, and then what the sizes say.
    let usual = match element {
        Element::U8 => [Layout::Nhwc, Layout::Nchw],
        _ => [Layout::Nchw, Layout::Nhwc],
    };
    let channels = |layout: Layout| match layout {
        Layout::Nchw => known(a),
        Layout::Nhwc => known(c),
    };
    let with = |count: Option<usize>, mode| {
        let mut layouts = usual.into_iter();
        let layout = layouts.find(|layout| channels(*layout) == count);
        layout.map(|layout| (layout, mode))
    };
    // Any number of channels may be three.
    let (layout, mode) = with(Some(3), ImageMode::Rgb)
        .or(with(Some(1), ImageMode::L))
        .or(with(None, ImageMode::Rgb))?;
    let size = match layout {
        Layout::Nchw => [b, c],
        Layout::Nhwc => [a, b],
    };
    let some = [batch, size[0], size[1]].iter().all(|&dim| dim != 0);
    some.then(|| ImageInput {
        kind: InputKind {
            element,
            layout,
            mode,
        },
        batch: known(batch),
        size: size.map(known),
    })
}

/// What is known of the classes before a model runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExpectedClasses {
    /// Numbers of classes that fit, best first.
    exact: Vec<usize>,
    /// Models with at least this many may fit too.
    at_least: Option<usize>,
}

impl ExpectedClasses {
    pub(crate) fn of(data: Option<&Classes>, offset: Option<usize>) -> Self {
        let Some(data) = data else {
            return Self::default();
        };
        let classes = data.len() + offset.unwrap_or(0);
        let background = match data {
            Classes::Imagenet if offset.is_none() => Some(classes + 1),
            Classes::Numbered(_) if offset.is_none() && classes == imagenet::CLASSES => {
                Some(classes + 1)
            }
            _ => None,
        };
        Self {
            exact: [classes].into_iter().chain(background).collect(),
            at_least: matches!(data, Classes::Numbered(_)).then_some(classes),
        }
    }

    /// How well a number of classes fits; `None` is a number that a run will show.
    fn fit(&self, classes: Option<usize>) -> usize {
        let Some(classes) = classes else {
            return 1;
        };
        match self.exact.iter().position(|&exact| exact == classes) {
            Some(at) => 10 - at.min(5),
            None if self.at_least.is_some_and(|least| classes >= least) => 1,
            None => 0,
        }
    }
}

/// An output of a model.
#[derive(Clone, Debug)]
pub(crate) struct Output<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its type.
    pub(crate) value: &'a ValueType,
    /// Values of the graph that it is computed from.
    pub(crate) ancestors: HashSet<&'a str>,
    /// Whether its last operator is a softmax or the like.
    pub(crate) activated: bool,
}

/// The output that has the scores.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ScoreOutput {
    /// Its name.
    pub(crate) name: String,
    /// Number of scores of an image, if fixed.
    pub(crate) classes: Option<usize>,
    /// Why this output, if the model has several.
    pub(crate) note: Option<String>,
}

/// Why no output can be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum OutputError {
    /// None of them can be scores.
    None(String),
    /// The requested one cannot.
    Requested(String),
}

/// The output that has the scores: the requested one, or the one that fits the classes of the data, is named
/// like scores, and is not an intermediate value of another output.
pub(crate) fn score_output(
    outputs: &[Output],
    batch: Option<usize>,
    requested: Option<&str>,
    expected: &ExpectedClasses,
) -> Result<ScoreOutput, OutputError> {
    let names = |outputs: &[&Output]| {
        let names = outputs.iter().map(|output| format!("`{}`", output.name));
        names.collect::<Vec<_>>().join(", ")
    };
    let all: Vec<&Output> = outputs.iter().collect();
    if let Some(requested) = requested {
        let Some(output) = outputs.iter().find(|output| output.name == requested) else {
            let found = names(&all);
            return Err(OutputError::Requested(format!(
                "the outputs are {found}, and none has this name"
            )));
        };
        let Some(classes) = scores(output.value, batch) else {
            let found = output.value;
            return Err(OutputError::Requested(format!(
                "expected {EXPECTED_OUTPUT}, got {found}"
            )));
        };
        return Ok(ScoreOutput {
            name: requested.to_owned(),
            classes,
            note: (outputs.len() > 1)
                .then(|| format!("scores from the output `{requested}`, as requested")),
        });
    }
    let candidates: Vec<(&Output, Option<usize>)> = outputs
        .iter()
        .filter_map(|output| Some((output, scores(output.value, batch)?)))
        .collect();
    let quality = |&(output, classes): &(&Output, Option<usize>)| {
        // Logits are not an intermediate value of their probabilities.
        let intermediate = candidates.iter().any(|(other, of_other)| {
            other.ancestors.contains(output.name) && !(other.activated && *of_other == classes)
        });
        let likeness = likeness(output.name);
        // A name such as `output` says little.
        let named = if likeness == 1 { 0 } else { likeness };
        (expected.fit(classes), named, !intermediate, likeness)
    };
    // Of equally good ones, the first.
    let best = candidates.iter().rev().max_by_key(|one| quality(one));
    let Some(best @ &(output, classes)) = best else {
        return Err(OutputError::None(no_scores(&all)));
    };
    let others: Vec<&Output> = all
        .into_iter()
        .filter(|other| other.name != output.name)
        .collect();
    let rivals = || candidates.iter().filter(|one| one.0.name != output.name);
    let note = (!others.is_empty()).then(|| {
        let (fit, named, last, _) = quality(best);
        let worse = |is_worse: &dyn Fn((usize, i32, bool, i32)) -> bool| {
            rivals().all(|one| is_worse(quality(one)))
        };
        let reason = if rivals().count() == 0 {
            "the only one that can be scores"
        } else if worse(&|other| other.0 < fit) {
            "which fits the classes of the data"
        } else if worse(&|other| (other.0, other.1) < (fit, named)) {
            "by its name"
        } else if worse(&|other| (other.0, other.1, other.2) < (fit, named, last)) {
            "which the others lead to"
        } else if worse(&|other| other < quality(best)) {
            "by its name"
        } else {
            "the first of several that may be scores"
        };
        let (one, others) = (&output.name, names(&others));
        format!("scores from the output `{one}`, {reason}; others: {others} (--output NAME)")
    });
    Ok(ScoreOutput {
        name: output.name.to_owned(),
        classes,
        note,
    })
}

fn no_scores(outputs: &[&Output]) -> String {
    let maps = |value: &ValueType| match value {
        ValueType::Map { .. } => true,
        ValueType::Sequence(inside) => matches!(**inside, ValueType::Map { .. }),
        _ => false,
    };
    if let Some(output) = outputs.iter().find(|output| maps(output.value)) {
        return format!(
            "its output `{}` has a dictionary for each image, from the operator ZipMap of converters \
             for scikit-learn: convert it with the option zipmap=False, which gives an array of \
             probabilities",
            output.name
        );
    }
    match outputs {
        [] => "it has no outputs".to_owned(),
        [output] => format!(
            "expected `{}` to be {EXPECTED_OUTPUT}, got {}",
            output.name, output.value
        ),
        outputs => {
            let found = outputs.iter();
            let found = found.map(|output| format!("`{}` is {}", output.name, output.value));
            let found: Vec<String> = found.collect();
            format!(
                "expected an output {EXPECTED_OUTPUT}, but {}",
                found.join(", ")
            )
        }
    }
}

/// The number of scores of an image if an output may be scores; `Some(None)` if a run will show.
fn scores(value: &ValueType, batch: Option<usize>) -> Option<Option<usize>> {
    let ValueType::Tensor { ty, shape, .. } = value else {
        return None;
    };
    let float = matches!(
        ty,
        TensorElementType::Float32
            | TensorElementType::Float16
            | TensorElementType::Bfloat16
            | TensorElementType::Float64
    );
    if !float {
        return None;
    }
    let dims = match **shape {
        // Its shape is unknown.
        [] => return Some(None),
        // The model removes the batch of one image.
        [classes] if batch == Some(1) => &[classes][..],
        [_] => return Some(Some(1)),
        [_, ref dims @ ..] => dims,
    };
    let mut sizes = dims.iter().copied().filter(|&dim| dim != 1 && dim >= 0);
    match (sizes.next(), sizes.next()) {
        (None, _) => Some(dims.iter().all(|&dim| dim == 1).then_some(1)),
        (Some(classes), None) if classes > 0 => Some(known(classes)),
        _ => None,
    }
}

/// How much the name of an output is like one of scores.
fn likeness(name: &str) -> i32 {
    let name = name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["aux"]) {
        -2
    } else if has(&[
        "feature", "embed", "hidden", "pool", "atten", "mask", "box", "loss", "repr",
    ]) {
        -1
    } else if has(&["logit"]) {
        3
    } else if has(&["score", "prob", "softmax", "pred", "class", "label"]) {
        2
    } else if has(&["output", "out", "head", "result"]) {
        1
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ort::value::{Shape, SymbolicDimensions};

    fn tensor(ty: TensorElementType, shape: &[i64]) -> ValueType {
        ValueType::Tensor {
            ty,
            shape: Shape::new(shape.iter().copied()),
            dimension_symbols: SymbolicDimensions::empty(shape.len()),
        }
    }

    fn float(shape: &[i64]) -> ValueType {
        tensor(TensorElementType::Float32, shape)
    }

    #[test]
    fn layouts_follow_from_sizes_and_types() {
        use Layout::{Nchw, Nhwc};
        let layout = |value: &ValueType| image_input(value).map(|input| input.kind.layout);
        for (shape, float32, uint8) in [
            ([-1, 3, 224, 224], Some(Nchw), Some(Nchw)),
            ([-1, 224, 224, 3], Some(Nhwc), Some(Nhwc)),
            ([1, -1, -1, 3], Some(Nhwc), Some(Nhwc)),
            ([-1, 3, -1, -1], Some(Nchw), Some(Nchw)),
            ([-1, -1, -1, -1], Some(Nchw), Some(Nhwc)),
            ([-1, 224, 224, -1], Some(Nhwc), Some(Nhwc)),
            ([-1, -1, 224, 224], Some(Nchw), Some(Nchw)),
            ([-1, 1, 28, 28], Some(Nchw), Some(Nchw)),
            ([-1, 28, 28, 1], Some(Nhwc), Some(Nhwc)),
            ([-1, 4, 28, 28], None, None),
            ([0, 3, 28, 28], None, None),
        ] {
            assert_eq!(layout(&float(&shape)), float32, "{shape:?}");
            let pixels = tensor(TensorElementType::Uint8, &shape);
            assert_eq!(layout(&pixels), uint8, "{shape:?}");
        }
        let mode = |shape: &[i64]| image_input(&float(shape)).unwrap().kind.mode;
        assert_eq!(mode(&[-1, 1, 28, 28]), ImageMode::L);
        assert_eq!(mode(&[1, 1, 28, 3]), ImageMode::Rgb);
        let input = image_input(&float(&[4, 3, 384, -1])).unwrap();
        assert_eq!((input.batch, input.size), (Some(4), [Some(384), None]));
        assert_eq!(
            layout(&tensor(TensorElementType::Int64, &[1, 3, 8, 8])),
            None
        );
    }

    #[test]
    fn shapes_of_scores() {
        for (shape, expected) in [
            (&[-1, 10][..], Some(Some(10))),
            (&[-1, -1], Some(None)),
            (&[8, 10, 1, 1], Some(Some(10))),
            (&[-1, 1, 1, 10], Some(Some(10))),
            (&[-1, 10, -1, -1], Some(Some(10))),
            (&[], Some(None)),
            (&[-1], Some(Some(1))),
            (&[-1, 1], Some(Some(1))),
            (&[-1, 21, 64, 64], None),
            (&[-1, 197, 768], None),
            (&[-1, 0], None),
        ] {
            assert_eq!(scores(&float(shape), None), expected, "{shape:?}");
        }
        assert_eq!(scores(&float(&[10]), Some(1)), Some(Some(10)));
        assert_eq!(
            scores(&tensor(TensorElementType::Int64, &[-1, 5]), None),
            None
        );
    }

    /// The name of the chosen output and why, for outputs that are each computed from the ones before.
    fn choose(
        outputs: &[(&str, &[i64])],
        chain: bool,
        classes: &Classes,
    ) -> Result<(String, String), OutputError> {
        let values: Vec<ValueType> = outputs.iter().map(|(_, shape)| float(shape)).collect();
        let names: Vec<&str> = outputs.iter().map(|(name, _)| *name).collect();
        let outputs: Vec<Output> = (0..names.len())
            .map(|at| Output {
                name: names[at],
                value: &values[at],
                ancestors: names[..if chain { at } else { 0 }]
                    .iter()
                    .copied()
                    .collect(),
                activated: names[at] == "probs",
            })
            .collect();
        let expected = ExpectedClasses::of(Some(classes), None);
        let found = score_output(&outputs, None, None, &expected)?;
        Ok((found.name, found.note.unwrap_or_default()))
    }

    #[test]
    fn the_output_that_fits_is_taken() {
        let three = Classes::Numbered(3);
        let thousand = Classes::Imagenet;
        let free = &[-1, -1][..];
        for (outputs, chain, classes, expected, reason) in [
            (
                &[("f", &[-1, 8][..]), ("y", &[-1, 3])][..],
                true,
                &three,
                "y",
                "fits the classes",
            ),
            (
                &[("y", &[-1, 3]), ("f", &[-1, 8])],
                false,
                &three,
                "y",
                "fits the classes",
            ),
            // Only some of the classes have images.
            (
                &[("f", &[-1, 512]), ("y", &[-1, 10])],
                true,
                &three,
                "y",
                "the others lead to",
            ),
            (
                &[("f", free), ("y", free)],
                true,
                &thousand,
                "y",
                "the others lead to",
            ),
            (
                &[("aux_logits", &[-1, 1000]), ("logits", &[-1, 1000])],
                false,
                &thousand,
                "logits",
                "by its name",
            ),
            (
                &[("123", &[-1, 1000]), ("124", &[-1, 1000])],
                false,
                &thousand,
                "123",
                "the first of several",
            ),
            (
                &[("logits", &[-1, 3]), ("scaled", &[-1, 3])],
                true,
                &three,
                "logits",
                "by its name",
            ),
            (
                &[("out", free), ("123", free)],
                true,
                &three,
                "123",
                "the others lead to",
            ),
            // Logits and their softmax.
            (
                &[("logits", &[-1, 1000]), ("probs", &[-1, 1000])],
                true,
                &thousand,
                "logits",
                "by its name",
            ),
            (
                &[("f", &[-1, 1000]), ("y", &[-1, 1000])],
                true,
                &thousand,
                "y",
                "the others lead to",
            ),
            (
                &[("a", &[-1, 1000]), ("b", &[-1, 1001])],
                false,
                &thousand,
                "a",
                "fits",
            ),
            (
                &[("a", &[-1, 2048]), ("b", &[-1, 1001])],
                false,
                &thousand,
                "b",
                "fits",
            ),
            (
                &[("map", &[-1, 21, 8, 8]), ("b", free)],
                false,
                &three,
                "b",
                "the only one",
            ),
        ] {
            let (name, note) = choose(outputs, chain, classes).unwrap();
            assert_eq!(name, expected, "{outputs:?}");
            assert!(note.contains(reason), "{outputs:?}: {note}");
        }
        let (_, note) = choose(&[("y", &[-1, 3])], false, &three).unwrap();
        assert_eq!(note, "");
    }

    #[test]
    fn outputs_that_are_not_scores_are_explained() {
        let dictionary = ValueType::Sequence(Box::new(ValueType::Map {
            key: TensorElementType::Int64,
            value: TensorElementType::Float32,
        }));
        let label = tensor(TensorElementType::Int64, &[-1]);
        let output = |name, value| Output {
            name,
            value,
            ancestors: HashSet::new(),
            activated: false,
        };
        let of = |outputs: &[Output], requested| {
            score_output(outputs, None, requested, &ExpectedClasses::default())
        };
        let outputs = [
            output("label", &label),
            output("probabilities", &dictionary),
        ];
        let Err(OutputError::None(reason)) = of(&outputs, None) else {
            panic!("it has no scores");
        };
        assert!(
            reason.contains("`probabilities` has a dictionary"),
            "{reason}"
        );
        let Err(OutputError::None(reason)) = of(&outputs[..1], None) else {
            panic!("it has no scores");
        };
        assert!(
            reason.starts_with("expected `label` to be [batch, classes]"),
            "{reason}"
        );
        let Err(OutputError::Requested(reason)) = of(&outputs, Some("logits")) else {
            panic!("it has no such output");
        };
        assert!(reason.contains("`label`, `probabilities`"), "{reason}");
    }
}
