use thiserror::Error;

use topk_preprocessing::Interpolation;

/// An augmentation that is invalid or cannot be parsed.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum AugmentationError {
    /// A number is out of range.
    #[error("{what} must be {expected}, got {value}")]
    Value {
        /// Name of the number.
        what: &'static str,
        /// Its value.
        value: String,
        /// The valid values.
        expected: &'static str,
    },
    /// A name is unknown.
    #[error("unknown name {name:?}: expected one of {known}")]
    Name {
        /// The unknown name.
        name: String,
        /// The known names.
        known: String,
    },
    /// An option is unknown, repeated or missing.
    #[error("{step} {problem}: its options are {options}, as in {example}")]
    Options {
        /// Name of the step.
        step: &'static str,
        /// What is wrong.
        problem: String,
        /// Names of the step's options, in order.
        options: String,
        /// An example of the step.
        example: &'static str,
    },
    /// A section of a policy of timm is unknown or invalid.
    #[error(
        "{policy}: {section:?} is not a section of this policy: expected {known}, each followed by its value, as in \
             rand-m9-mstd0.5-inc1"
    )]
    Section {
        /// The policy.
        policy: String,
        /// The section.
        section: String,
        /// The known sections.
        known: String,
    },
    /// The value of an option cannot be parsed.
    #[error("{option} of {step} must be {expected}, got {text:?}")]
    Text {
        /// Name of the step.
        step: &'static str,
        /// Name of the option.
        option: &'static str,
        /// Its value.
        text: String,
        /// The expected kind of value.
        expected: &'static str,
    },
    /// Erasing is followed by another step.
    #[error("random-erasing must be the last step, because it applies to normalised values")]
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

/// Checks a width and height.
pub(super) fn check_size(what: &'static str, size: [u32; 2]) -> Result<(), AugmentationError> {
    for side in size {
        let good = (1..=MAX_SIDE).contains(&side);
        check(what, side, "from 1 to 65536 pixels", good)?;
    }
    Ok(())
}

/// Checks a resampling filter.
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

/// Checks a probability.
pub(super) fn check_probability(what: &'static str, p: f64) -> Result<(), AugmentationError> {
    check(what, p, "from 0 to 1", (0.0..=1.0).contains(&p))
}

/// Checks a range.
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

/// Maximum width, height or padding.
pub(super) const MAX_SIDE: u32 = 1 << 16;
