use topk_pickle::{Heap, PickleErrorKind, Vocabulary};

use super::tensors::Unsupported;
use super::{Global, Object, StorageRef, TensorRef};

/// The tensors and storages that a pickle describes.
#[derive(Debug, Default)]
pub(crate) struct Torch {
    pub(crate) storages: Vec<StorageRef>,
    pub(crate) tensors: Vec<TensorRef>,
}

/// A storage or tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TorchObject {
    /// Index in [`Torch`].
    Storage(u32),
    /// Index in [`Torch`].
    Tensor(u32),
    /// A tensor that weights cannot be.
    Unsupported(Unsupported),
}

impl Vocabulary for Torch {
    type Global = Global;
    type Made = TorchObject;

    const CONTENTS: &'static str = "a state_dict";
    const ADVICE: &'static str =
        "if you trust the file, load it in PyTorch and save its state_dict alone";

    /// A network of 1,000 tensors takes about 120,000.
    const MAX_BYTES: usize = 16 << 20;
    const MAX_TEXT: usize = Self::MAX_BYTES;

    fn global(module: &str, name: &str) -> Option<Global> {
        Global::find(module, name)
    }

    fn skips(module: &str, name: &str) -> bool {
        Global::skips(module, name)
    }

    fn kind(made: TorchObject) -> &'static str {
        match made {
            TorchObject::Storage(_) => "a storage",
            TorchObject::Tensor(_) | TorchObject::Unsupported(_) => "a tensor",
        }
    }

    fn call(
        &mut self,
        heap: &mut Heap<Self>,
        _: &[u8],
        function: Global,
        arguments: &[Object],
    ) -> Result<Object, PickleErrorKind> {
        if function == Global::RebuildFromType {
            return self.typed_tensor(heap, arguments);
        }
        match (function, arguments) {
            (Global::OrderedDict, _) => ordered_dict(heap, arguments),
            (Global::DefaultDict, [] | [_]) => Ok(Object::Dict(heap.container(&[])?)),
            (Global::Size, &[Object::Tuple(sizes) | Object::List(sizes)]) => {
                Ok(Object::Tuple(sizes))
            }
            (Global::Layout, &[Object::Text(_)]) => Ok(Object::Other),
            _ => self.rebuilt(heap, function, arguments),
        }
    }

    fn build(
        &mut self,
        _: &Heap<Self>,
        _: &[u8],
        object: Object,
        state: Object,
    ) -> Result<(), PickleErrorKind> {
        // Attributes of an OrderedDict, such as a state_dict's _metadata, are not needed.
        match (object, state) {
            (Object::Dict(_), Object::Dict(_)) => Ok(()),
            (Object::Dict(_), _) => Err(state.expected("a dictionary of attributes")),
            _ => Err(object.expected("an object that may have attributes")),
        }
    }

    fn persistent(
        &mut self,
        heap: &Heap<Self>,
        pickle: &[u8],
        id: Object,
    ) -> Result<Object, PickleErrorKind> {
        self.storage(heap, pickle, id)
    }
}

impl Torch {
    /// The tensor of a function that rebuilds one. A tensor of skipped parts is skipped too.
    fn rebuilt(
        &mut self,
        heap: &Heap<Self>,
        function: Global,
        arguments: &[Object],
    ) -> Result<Object, PickleErrorKind> {
        let skipped = |argument: &&Object| matches!(argument, Object::Skipped(_));
        match (function, arguments) {
            (
                Global::RebuildParameter,
                &[
                    tensor @ (Object::Made(TorchObject::Tensor(_) | TorchObject::Unsupported(_))
                    | Object::Skipped(_)),
                    ..,
                ],
            ) => return Ok(tensor),
            (Global::RebuildTensor | Global::RebuildTensorV3, _) => {
                if let Some(&skipped) = arguments.iter().find(skipped) {
                    return Ok(skipped);
                }
            }
            _ => {}
        }
        match (function, arguments) {
            (Global::RebuildTensor, _) => {
                let metadata = arguments.get(6).copied();
                self.tensor(heap, arguments, None, metadata)
            }
            (Global::RebuildTensorV3, &[.., Object::Global(Global::Dtype(dtype))])
                if arguments.len() == 7 =>
            {
                self.tensor(heap, arguments, Some(dtype), None)
            }
            (Global::RebuildTensorV3, &[.., Object::Global(Global::Dtype(dtype)), metadata])
                if arguments.len() == 8 =>
            {
                self.tensor(heap, arguments, Some(dtype), Some(metadata))
            }
            _ => Err(PickleErrorKind::Unexpected {
                expected: "the arguments of a function",
                got: "other arguments".to_owned(),
            }),
        }
    }

    /// The tensor of `_rebuild_from_type_v2(function, type, arguments, state)`: that of the function, if the
    /// type is PyTorch's own.
    fn typed_tensor(
        &mut self,
        heap: &Heap<Self>,
        arguments: &[Object],
    ) -> Result<Object, PickleErrorKind> {
        match *arguments {
            [skipped @ Object::Skipped(_), ..] | [_, skipped @ Object::Skipped(_), ..] => {
                Ok(skipped)
            }
            [
                Object::Global(
                    function @ (Global::RebuildTensor
                    | Global::RebuildTensorV3
                    | Global::RebuildParameter),
                ),
                Object::Global(Global::TensorType),
                Object::Tuple(inner),
                _,
            ] => self.rebuilt(heap, function, heap.items(inner)),
            _ => Err(PickleErrorKind::Unexpected {
                expected: "function, type, arguments and state of a tensor",
                got: "something else".to_owned(),
            }),
        }
    }
}

/// `OrderedDict()`, or `OrderedDict([[key, value], ...])`, as Python 2 wrote it.
fn ordered_dict(heap: &mut Heap<Torch>, arguments: &[Object]) -> Result<Object, PickleErrorKind> {
    let pairs = match *arguments {
        [] => return Ok(Object::Dict(heap.container(&[])?)),
        [Object::List(pairs)] => pairs,
        _ => {
            return Err(PickleErrorKind::Unexpected {
                expected: "the entries of an OrderedDict",
                got: "something else".to_owned(),
            });
        }
    };
    let mut entries = Vec::new();
    for &pair in heap.items(pairs) {
        match pair {
            Object::List(pair) | Object::Tuple(pair) if heap.items(pair).len() == 2 => {
                entries.extend_from_slice(heap.items(pair));
            }
            _ => return Err(pair.expected("a pair of key and value")),
        }
    }
    Ok(Object::Dict(heap.container(&entries)?))
}
