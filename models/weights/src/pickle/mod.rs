//! An interpreter of the pickles that state_dicts are, which runs nothing.
//!
//! Of pickle's operations it has those that build numbers, text, tuples, lists and dictionaries. Where
//! a pickle asks for a function, it must be one of [`Global`], and what it would do is done here. All
//! else is refused. Nothing is recursive: containers lie in a [`Heap`] and name each other by number,
//! so neither nesting nor cycles matter. What a pickle can make of a byte is bounded, by constants in
//! [`heap`], and so is the whole.

mod global;
mod heap;
mod machine;
mod stack;

pub(crate) use global::Global;
pub(crate) use heap::{Container, Heap, Object, StorageRef, TensorRef, Text};
pub(crate) use machine::{MAX_BYTES, Pickle, parse};
