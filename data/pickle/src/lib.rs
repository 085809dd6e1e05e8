//! An interpreter of Python's pickles that executes no Python code.
//!
//! It supports the operations that build numbers, text, tuples, lists and dictionaries. Functions and types
//! in a pickle must be in a [`Vocabulary`], which implements them in Rust. Objects of any others are skipped
//! where the vocabulary allows it, without being built, and are an error elsewhere.
//! Nothing is recursive: containers are in a [`Heap`] and refer to each other by index, so nesting and cycles
//! are harmless. The memory per byte of a pickle and in total is limited.

mod error;
mod heap;
mod interpreter;
mod operands;
mod stack;
mod vocabulary;

pub use error::{PickleError, PickleErrorKind};
pub use heap::{Container, Heap, Object, Skipped, Span, Text};
pub use interpreter::{Pickle, parse};
pub use vocabulary::Vocabulary;
