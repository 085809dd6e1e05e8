use thiserror::Error;

/// Where a pickle is refused, and why.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("the pickle {fault} (byte {at})")]
pub struct PickleError {
    /// The byte at which the operation begins.
    pub at: usize,
    /// What is wrong.
    pub fault: PickleFault,
}

/// Why a pickle is refused. Nothing of it is ever run.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum PickleFault {
    /// It asks for something that no pickle of its kind needs.
    #[error(
        "asks for {name}, which is no part of {contents}: refused; nothing of it was run; {advice}"
    )]
    Global {
        /// What it asks for.
        name: String,
        /// What the pickle should hold.
        contents: &'static str,
        /// What can be done about it.
        advice: &'static str,
    },
    /// It has an operation that no pickle of its kind needs.
    #[error("has the operation {operation:#04x}, which is no part of {contents}: refused")]
    Opcode {
        /// The operation.
        operation: u8,
        /// What the pickle should hold.
        contents: &'static str,
    },
    /// Its version is not known.
    #[error("has protocol {0}, expected 2 to 5")]
    Protocol(u8),
    /// It ends too early.
    #[error("ends in the middle: the file is not whole, fetch or copy it again")]
    Truncated,
    /// There is too much of something.
    #[error("has more than {limit} {what}: refused")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Something is not what it should be.
    #[error("has {got} where {expected} should be")]
    Unexpected {
        /// What is needed there.
        expected: &'static str,
        /// What is there.
        got: String,
    },
    /// Something contradicts itself, such as a tensor that does not lie in its storage.
    #[error("has {0}")]
    Invalid(String),
}
