use std::fmt::Debug;

use crate::{Heap, Object, PickleErrorKind};

/// Functions and types that pickles of one kind may use, and their implementations. The value holds the objects
/// that they made.
pub trait Vocabulary: Debug + Default {
    /// A function or type that pickles may name.
    type Global: Copy + Debug;

    /// An object that such a function made, usually an index.
    type Made: Copy + Debug;

    /// Contents of the pickles, for messages: `a state_dict`.
    const CONTENTS: &'static str;

    /// Advice for pickles that use other functions, for messages.
    const ADVICE: &'static str;

    /// Largest pickle in bytes, below 4 GiB.
    const MAX_BYTES: usize;

    /// Largest string in bytes.
    const MAX_TEXT: usize;

    /// The function or type of this name, if pickles of this kind may use it.
    fn global(module: &str, name: &str) -> Option<Self::Global>;

    /// Whether objects of a function or type that [`global`](Self::global) does not know are skipped: they
    /// become [`Object::Skipped`], and nothing is built or called for them. Otherwise the pickle is an error,
    /// as is the default.
    fn skips(_module: &str, _name: &str) -> bool {
        false
    }

    /// Kind of an object, for messages: `a tensor`.
    fn kind(made: Self::Made) -> &'static str;

    /// Calls a function with at most eight arguments; `pickle` holds the bytes of strings.
    ///
    /// # Errors
    /// If the arguments are invalid.
    fn call(
        &mut self,
        heap: &mut Heap<Self>,
        pickle: &[u8],
        function: Self::Global,
        arguments: &[Object<Self>],
    ) -> Result<Object<Self>, PickleErrorKind>;

    /// Sets the state or attributes of an object.
    ///
    /// # Errors
    /// If the object has no state, or the state is invalid.
    fn build(
        &mut self,
        heap: &Heap<Self>,
        pickle: &[u8],
        object: Object<Self>,
        state: Object<Self>,
    ) -> Result<(), PickleErrorKind>;

    /// The object of a persistent id, which is stored outside the pickle.
    ///
    /// # Errors
    /// If no object has this id, or pickles of this kind do not use such ids.
    fn persistent(
        &mut self,
        heap: &Heap<Self>,
        pickle: &[u8],
        id: Object<Self>,
    ) -> Result<Object<Self>, PickleErrorKind>;
}
