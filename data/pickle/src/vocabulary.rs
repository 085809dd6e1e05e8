use std::fmt::Debug;

use crate::{Heap, Object, PickleFault};

/// What pickles of a kind may ask for, and what becomes of it. Its value is what a pickle made of that.
pub trait Vocabulary: Debug + Default {
    /// A function or type that may be asked for by name.
    type Global: Copy + Debug;

    /// Something that such a function made: most often a number, by which its value is found.
    type Made: Copy + Debug;

    /// What the pickles hold, for messages: `a state_dict`.
    const CONTENTS: &'static str;

    /// What to do with a pickle that asks for something else, for messages.
    const ADVICE: &'static str;

    /// Longest pickle that is read, in bytes, below 4 GiB.
    const MAX_BYTES: usize;

    /// Longest string in it, in bytes.
    const MAX_TEXT: usize;

    /// The thing of this name, if pickles of this kind may need it.
    fn global(module: &str, name: &str) -> Option<Self::Global>;

    /// What something made is, for messages: `a tensor`.
    fn kind(made: Self::Made) -> &'static str;

    /// What a function makes of its arguments, at most eight; `pickle` is what strings lie in.
    ///
    /// # Errors
    /// If the arguments are wrong.
    fn call(
        &mut self,
        heap: &mut Heap<Self>,
        pickle: &[u8],
        function: Self::Global,
        arguments: &[Object<Self>],
    ) -> Result<Object<Self>, PickleFault>;

    /// Gives an object the state or attributes that the pickle has for it.
    ///
    /// # Errors
    /// If the object has none, or the state is wrong.
    fn build(
        &mut self,
        heap: &Heap<Self>,
        pickle: &[u8],
        object: Object<Self>,
        state: Object<Self>,
    ) -> Result<(), PickleFault>;

    /// What a persistent id stands for: something beside the pickle.
    ///
    /// # Errors
    /// If there is nothing of this id, or pickles of this kind have none.
    fn persistent(
        &mut self,
        heap: &Heap<Self>,
        pickle: &[u8],
        id: Object<Self>,
    ) -> Result<Object<Self>, PickleFault>;
}
