//! An interpreter of Python's pickles, which runs nothing.
//!
//! Of pickle's operations it has those that build numbers, text, tuples, lists and dictionaries. Where
//! a pickle asks for a function or type, it must be one of a [`Vocabulary`], which does what that would
//! do. All else is refused. Nothing is recursive: containers lie in a [`Heap`] and name each other by
//! number, so neither nesting nor cycles matter. What a pickle can make of a byte is bounded, and so is
//! the whole.

mod error;
mod heap;
mod machine;
mod stack;
mod vocabulary;

pub use error::{PickleError, PickleFault};
pub use heap::{Container, Heap, Object, Span, Text};
pub use machine::{Pickle, parse};
pub use vocabulary::Vocabulary;
