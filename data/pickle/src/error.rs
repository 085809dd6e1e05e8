use thiserror::Error;

/// A pickle that is invalid or not allowed.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("the pickle {problem} (byte {offset})")]
pub struct PickleError {
    /// Byte offset of the operation.
    pub offset: usize,
    /// What is wrong.
    pub problem: PickleErrorKind,
}

/// What is wrong with a pickle.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum PickleErrorKind {
    /// It refers to a function or type that is not in the vocabulary.
    #[error("refers to {name}, which is not allowed in {contents}; no code was executed; {advice}")]
    Global {
        /// Module and name of the function or type.
        name: String,
        /// Expected contents of the pickle.
        contents: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// It contains an operation that is not supported.
    #[error("contains the operation {operation:#04x}, which is not allowed in {contents}")]
    Opcode {
        /// Code of the operation.
        operation: u8,
        /// Expected contents of the pickle.
        contents: &'static str,
    },
    /// The protocol version is not supported.
    #[error("uses protocol {0}, expected 2 to 5")]
    Protocol(u8),
    /// It ends too early.
    #[error("ends in the middle: the file is incomplete, download or copy it again")]
    Truncated,
    /// It exceeds a limit.
    #[error("has more than {limit} {what}")]
    TooMany {
        /// What exceeds the limit.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// An object has the wrong kind.
    #[error("has {got}, expected {expected}")]
    Unexpected {
        /// The expected kind.
        expected: &'static str,
        /// The kind found.
        got: String,
    },
    /// An object is inconsistent, such as a tensor that exceeds its storage.
    #[error("has {0}")]
    Invalid(String),
}
