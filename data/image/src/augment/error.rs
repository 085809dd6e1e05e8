use thiserror::Error;

use topk_preprocessing::Interpolation;

/// Why there is no such augmentation.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum AugmentationError {
    /// A number that nothing can be done with.
    #[error("{what} is {value}, it must be {expected}")]
    Value {
        /// What it is of.
        what: &'static str,
        /// The number.
        value: String,
        /// Which it may be.
        expected: &'static str,
    },
    /// A name of nothing.
    #[error("there is no {name:?}: the names are {known}")]
    Name {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// An option that a step does not have, has twice, or lacks.
    #[error("{step} {problem}: its options are {options}, as in {example}")]
    Options {
        /// The step.
        step: &'static str,
        /// What is wrong.
        problem: String,
        /// Names of the options, in order.
        options: String,
        /// How it is written.
        example: &'static str,
    },
    /// A text that is not what the option is.
    #[error("{option} of {step} is {text:?}, it must be {expected}")]
    Text {
        /// The step.
        step: &'static str,
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
        /// What is read.
        expected: &'static str,
    },
    /// Erasing before another step.
    #[error("random-erasing must be the last step, once: it is done to normalised values")]
    ErasingIsLast,
}

/// Checks a number.
pub(super) fn check(
    what: &'static str,
    value: impl ToString,
    expected: &'static str,
    good: bool,
) -> Result<(), AugmentationError> {
    if good {
        return Ok(());
    }
    Err(AugmentationError::Value {
        what,
        value: value.to_string(),
        expected,
    })
}

/// Checks the sides of an image.
pub(super) fn check_size(what: &'static str, size: [u32; 2]) -> Result<(), AugmentationError> {
    for side in size {
        let good = (1..=MAX_SIDE).contains(&side);
        check(what, side, "from 1 to 65536 pixels", good)?;
    }
    Ok(())
}

/// Checks a filter.
pub(super) fn check_interpolation(
    what: &'static str,
    interpolation: Interpolation,
) -> Result<(), AugmentationError> {
    let good = interpolation != Interpolation::Nearest;
    check(
        what,
        interpolation,
        "box, bilinear, hamming, bicubic or lanczos",
        good,
    )
}

/// Checks a part of 1.
pub(super) fn check_probability(what: &'static str, p: f64) -> Result<(), AugmentationError> {
    check(what, p, "from 0 to 1", (0.0..=1.0).contains(&p))
}

/// Checks the smallest and largest of what is drawn.
pub(super) fn check_range(
    what: &'static str,
    range: [f64; 2],
    expected: &'static str,
    within: impl Fn(f64) -> bool,
) -> Result<(), AugmentationError> {
    let [low, high] = range;
    let good = low <= high
        && range
            .into_iter()
            .all(|bound| bound.is_finite() && within(bound));
    check(what, format!("{low}..{high}"), expected, good)
}

/// The largest side or padding that can be asked for.
pub(super) const MAX_SIDE: u32 = 1 << 16;
