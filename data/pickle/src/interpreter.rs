use std::collections::HashMap;

use crate::stack::Stack;
use crate::{Container, Heap, Object, PickleError, PickleErrorKind, Vocabulary};

/// Maximum number of operations.
const MAX_STEPS: usize = 1 << 22;

/// Maximum number of memoized objects; a tensor has about seven.
const MAX_MEMO: usize = 1 << 18;

/// Maximum length of the name of a module or of a function or type, in bytes.
pub(crate) const MAX_NAME: usize = 256;

/// Maximum number of arguments of a function; PyTorch's take up to eight.
const MAX_ARGUMENTS: usize = 8;

/// An interpreted pickle.
#[derive(Debug)]
pub struct Pickle<'a, V: Vocabulary> {
    /// Its bytes, which contain the strings.
    pub bytes: &'a [u8],
    /// The object that it describes.
    pub root: Object<V>,
    /// The containers.
    pub heap: Heap<V>,
    /// The objects that functions made.
    pub made: V,
}

pub(crate) struct Interpreter<'a, V: Vocabulary> {
    pub(crate) bytes: &'a [u8],
    pub(crate) position: usize,
    pub(crate) stack: Stack<V>,
    memo: HashMap<u32, Object<V>>,
    heap: Heap<V>,
    made: V,
    /// Offset of the current operation.
    offset: usize,
}

/// Interprets the pickle at the beginning of `bytes`; other data may follow it.
///
/// # Errors
/// If the pickle is invalid, too large, or uses a function or type that is not in the vocabulary.
pub fn parse<V: Vocabulary>(bytes: &[u8]) -> Result<Pickle<'_, V>, PickleError> {
    let mut interpreter = Interpreter {
        bytes: &bytes[..bytes.len().min(V::MAX_BYTES)],
        position: 0,
        stack: Stack::new(),
        memo: HashMap::new(),
        heap: Heap::new(),
        made: V::default(),
        offset: 0,
    };
    let root = interpreter.run().map_err(|problem| PickleError {
        offset: interpreter.offset,
        problem,
    })?;
    Ok(Pickle {
        bytes: &bytes[..interpreter.position],
        root,
        heap: interpreter.heap,
        made: interpreter.made,
    })
}

pub(crate) fn too_many<T>(what: &'static str, limit: usize) -> Result<T, PickleErrorKind> {
    Err(PickleErrorKind::TooMany { what, limit })
}

impl<'a, V: Vocabulary> Interpreter<'a, V> {
    /// Runs to the end.
    fn run(&mut self) -> Result<Object<V>, PickleErrorKind> {
        for _ in 0..MAX_STEPS {
            self.offset = self.position;
            let [operation] = self.array()?;
            if operation == b'.' {
                return self.stack.pop();
            }
            self.step(operation)?;
        }
        too_many("operations", MAX_STEPS)
    }

    fn step(&mut self, operation: u8) -> Result<(), PickleErrorKind> {
        match operation {
            // PROTO, FRAME
            0x80 => {
                let [version] = self.array()?;
                if !(2..=5).contains(&version) {
                    return Err(PickleErrorKind::Protocol(version));
                }
            }
            0x95 => {
                self.array::<8>()?;
            }

            // NONE, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'N' => self.stack.push(Object::None)?,
            0x88 => self.stack.push(Object::Bool(true))?,
            0x89 => self.stack.push(Object::Bool(false))?,
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.stack.push(Object::Int(value.into()))?;
            }
            b'K' => {
                let [value] = self.array()?;
                self.stack.push(Object::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.stack.push(Object::Int(value.into()))?;
            }
            0x8a => {
                let [len] = self.array()?;
                self.long(len.into())?;
            }
            0x8b => {
                let len = self.len4()?;
                self.long(len)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.stack.push(Object::Float(value))?;
            }

            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8, SHORT_BINSTRING, BINSTRING
            0x8c => {
                let [len] = self.array()?;
                self.text(len.into(), false)?;
            }
            b'X' => {
                let len = self.len4()?;
                self.text(len, false)?;
            }
            0x8d => {
                let len = self.len8()?;
                self.text(len, false)?;
            }
            b'U' => {
                let [len] = self.array()?;
                self.text(len.into(), true)?;
            }
            b'T' => {
                let len = self.len4()?;
                self.text(len, true)?;
            }

            // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
            b'C' => {
                let [len] = self.array()?;
                self.plain_bytes(len.into())?;
            }
            b'B' => {
                let len = self.len4()?;
                self.plain_bytes(len)?;
            }
            0x8e => {
                let len = self.len8()?;
                self.plain_bytes(len)?;
            }
            0x96 => {
                let len = self.len8()?;
                self.span(len)?;
                self.stack.push(Object::Other)?;
            }

            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE, EMPTY_LIST, LIST, EMPTY_DICT, DICT
            b')' => self.tuple(0)?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let count = self.stack.unmark()?;
                self.tuple(count)?;
            }
            b']' => {
                let list = self.heap.container(&[])?;
                self.stack.push(Object::List(list))?;
            }
            b'l' => {
                let count = self.stack.unmark()?;
                let list = self.heap.container(self.stack.topmost(count)?)?;
                self.stack.drop(count);
                self.stack.push(Object::List(list))?;
            }
            b'}' => {
                let dict = self.heap.container(&[])?;
                self.stack.push(Object::Dict(dict))?;
            }
            b'd' => {
                let count = self.stack.unmark()?;
                let dict = self.heap.container(&[])?;
                self.extend_dict(dict, count)?;
                self.stack.push(Object::Dict(dict))?;
            }

            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' => self.append(1)?,
            b'e' => {
                let count = self.stack.unmark()?;
                self.append(count)?;
            }
            b's' => self.set_items(2)?,
            b'u' => {
                let count = self.stack.unmark()?;
                self.set_items(count)?;
            }

            // EMPTY_SET, ADDITEMS, FROZENSET
            0x8f => self.stack.push(Object::Other)?,
            0x90 => {
                let count = self.stack.unmark()?;
                self.add_items(count)?;
            }
            0x91 => {
                let count = self.stack.unmark()?;
                self.stack.drop(count);
                self.stack.push(Object::Other)?;
            }

            // MARK, POP, POP_MARK, DUP
            b'(' => self.stack.mark()?,
            b'0' => {
                self.stack.pop()?;
            }
            b'1' => {
                let count = self.stack.unmark()?;
                self.stack.drop(count);
            }
            b'2' => {
                let &[object] = self.stack.top()?;
                self.stack.push(object)?;
            }

            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let [key] = self.array()?;
                self.memoize(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.memoize(key)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'h' => {
                let [key] = self.array()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }

            // GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, NEWOBJ_EX, OBJ, BUILD, BINPERSID
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.stack.pop()?, self.stack.pop()?);
                let (Object::Text(module), Object::Text(name)) = (module, name) else {
                    return Err(module.expected("the names of a module and of a function or type"));
                };
                if module.len().max(name.len()) > MAX_NAME {
                    return too_many("bytes in the name of a global", MAX_NAME);
                }
                let bytes = self.bytes;
                self.global(&module.get(bytes), &name.get(bytes))?;
            }
            b'R' => {
                let (arguments, function) = (self.stack.pop()?, self.stack.pop()?);
                let object = self.call(function, arguments)?;
                self.stack.push(object)?;
            }
            0x81 => self.instance(operation, 2)?,
            0x92 => self.instance(operation, 3)?,
            b'o' => {
                let count = self.stack.unmark()?;
                self.instance(operation, count)?;
            }
            b'b' => {
                let (state, &[object]) = (self.stack.pop()?, self.stack.top()?);
                if !matches!(object, Object::Skipped(_)) {
                    self.made.build(&self.heap, self.bytes, object, state)?;
                }
            }
            b'Q' => {
                let id = self.stack.pop()?;
                let object = self.made.persistent(&self.heap, self.bytes, id)?;
                self.stack.push(object)?;
            }
            _ => {
                return Err(PickleErrorKind::Opcode {
                    operation,
                    contents: V::CONTENTS,
                });
            }
        }
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), PickleErrorKind> {
        let tuple = self.heap.container(self.stack.topmost(count)?)?;
        self.stack.drop(count);
        self.stack.push(Object::Tuple(tuple))
    }

    /// Moves the topmost objects to the list below them.
    fn append(&mut self, count: usize) -> Result<(), PickleErrorKind> {
        let objects = self.stack.topmost(count + 1)?;
        match objects[0] {
            Object::List(list) => self.heap.extend(list, &objects[1..])?,
            Object::Skipped(_) => {}
            other => return Err(other.expected("a list")),
        }
        self.stack.drop(count);
        Ok(())
    }

    /// Removes the topmost objects, which would be added to the set below them.
    fn add_items(&mut self, count: usize) -> Result<(), PickleErrorKind> {
        match self.stack.topmost(count + 1)?[0] {
            Object::Other | Object::Skipped(_) => {}
            other => return Err(other.expected("a set")),
        }
        self.stack.drop(count);
        Ok(())
    }

    /// Replaces the topmost objects, a type outside the vocabulary and arguments, by an object of this type.
    /// Types of the vocabulary are only called.
    fn instance(&mut self, operation: u8, count: usize) -> Result<(), PickleErrorKind> {
        let Some(&skipped @ Object::Skipped(_)) = self.stack.topmost(count)?.first() else {
            return Err(PickleErrorKind::Opcode {
                operation,
                contents: V::CONTENTS,
            });
        };
        self.stack.drop(count);
        self.stack.push(skipped)
    }

    /// Moves the topmost objects, keys and values, to the dictionary below them.
    fn set_items(&mut self, count: usize) -> Result<(), PickleErrorKind> {
        match self.stack.topmost(count + 1)?[0] {
            Object::Dict(dict) => self.extend_dict(dict, count),
            Object::Skipped(_) => {
                self.stack.drop(count);
                Ok(())
            }
            other => Err(other.expected("a dictionary")),
        }
    }

    fn extend_dict(&mut self, dict: Container, count: usize) -> Result<(), PickleErrorKind> {
        if !count.is_multiple_of(2) {
            return Err(PickleErrorKind::Unexpected {
                expected: "keys and values",
                got: "a key without a value".to_owned(),
            });
        }
        self.heap.extend(dict, self.stack.topmost(count)?)?;
        self.stack.drop(count);
        Ok(())
    }

    fn memoize(&mut self, key: u32) -> Result<(), PickleErrorKind> {
        let &[object] = self.stack.top()?;
        if self.memo.len() >= MAX_MEMO {
            return too_many("memoized objects", MAX_MEMO);
        }
        self.memo.insert(key, object);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), PickleErrorKind> {
        let Some(&object) = self.memo.get(&key) else {
            return Err(PickleErrorKind::Unexpected {
                expected: "a memoized object",
                got: "nothing".to_owned(),
            });
        };
        self.stack.push(object)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), PickleErrorKind> {
        if let Some(global) = V::global(module, name) {
            return self.stack.push(Object::Global(global));
        }
        let shown = format!("{module}.{name}").escape_debug().to_string();
        if V::skips(module, name) {
            let skipped = self.heap.skip(shown, self.offset)?;
            return self.stack.push(Object::Skipped(skipped));
        }
        Err(PickleErrorKind::Global {
            name: shown,
            contents: V::CONTENTS,
            advice: V::ADVICE,
        })
    }

    fn call(
        &mut self,
        function: Object<V>,
        arguments: Object<V>,
    ) -> Result<Object<V>, PickleErrorKind> {
        let function = match function {
            Object::Global(function) => function,
            skipped @ Object::Skipped(_) => return Ok(skipped),
            other => return Err(other.expected("a function")),
        };
        let Object::Tuple(arguments) = arguments else {
            return Err(arguments.expected("the arguments of a function"));
        };
        // Copied, because the function may change the heap.
        let arguments = self.heap.items(arguments);
        if arguments.len() > MAX_ARGUMENTS {
            return too_many("arguments of a function", MAX_ARGUMENTS);
        }
        let arguments = &arguments.to_vec();
        self.made
            .call(&mut self.heap, self.bytes, function, arguments)
    }
}
