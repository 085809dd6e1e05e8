use std::collections::HashMap;

use crate::stack::Stack;
use crate::{Container, Heap, Object, PickleError, PickleErrorKind, Span, Text, Vocabulary};

/// Maximum number of operations.
const MAX_STEPS: usize = 1 << 22;

/// Maximum number of memoized objects; a tensor has about seven.
const MAX_MEMO: usize = 1 << 18;

/// Maximum length of an integer, in bytes.
const MAX_NUMBER: usize = 1 << 20;

/// Maximum length of the name of a module or of a function or type, in bytes.
const MAX_NAME: usize = 256;

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

struct Interpreter<'a, V: Vocabulary> {
    bytes: &'a [u8],
    position: usize,
    stack: Stack<V>,
    memo: HashMap<u32, Object<V>>,
    heap: Heap<V>,
    made: V,
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
    };
    let mut offset = 0;
    let root = interpreter
        .run(&mut offset)
        .map_err(|problem| PickleError { offset, problem })?;
    Ok(Pickle {
        bytes: &bytes[..interpreter.position],
        root,
        heap: interpreter.heap,
        made: interpreter.made,
    })
}

fn too_many<T>(what: &'static str, limit: usize) -> Result<T, PickleErrorKind> {
    Err(PickleErrorKind::TooMany { what, limit })
}

impl<'a, V: Vocabulary> Interpreter<'a, V> {
    /// Runs to the end; `start` is set to the offset of the current operation.
    fn run(&mut self, start: &mut usize) -> Result<Object<V>, PickleErrorKind> {
        for _ in 0..MAX_STEPS {
            *start = self.position;
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

            // SHORT_BINBYTES, BINBYTES, BINBYTES8
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

            // GLOBAL, STACK_GLOBAL, REDUCE, BUILD, BINPERSID
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.stack.pop()?, self.stack.pop()?);
                let (Object::Text(module), Object::Text(name)) = (module, name) else {
                    return Err(module.expected("the names of a module and of a function or type"));
                };
                let bytes = self.bytes;
                self.global(&module.get(bytes), &name.get(bytes))?;
            }
            b'R' => {
                let (arguments, function) = (self.stack.pop()?, self.stack.pop()?);
                let object = self.call(function, arguments)?;
                self.stack.push(object)?;
            }
            b'b' => {
                let (state, &[object]) = (self.stack.pop()?, self.stack.top()?);
                self.made.build(&self.heap, self.bytes, object, state)?;
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

    fn take(&mut self, len: usize) -> Result<&'a [u8], PickleErrorKind> {
        let rest = &self.bytes[self.position..];
        let taken = rest.get(..len).ok_or({
            if self.bytes.len() == V::MAX_BYTES {
                PickleErrorKind::TooMany {
                    what: "bytes",
                    limit: V::MAX_BYTES,
                }
            } else {
                PickleErrorKind::Truncated
            }
        })?;
        self.position += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleErrorKind> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("it has N bytes"))
    }

    /// A length of four bytes; signed in some operations of Python 2.
    fn len4(&mut self) -> Result<usize, PickleErrorKind> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn len8(&mut self) -> Result<usize, PickleErrorKind> {
        let len = u64::from_le_bytes(self.array()?);
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// The rest of the line, without the line feed.
    fn line(&mut self) -> Result<String, PickleErrorKind> {
        let rest = &self.bytes[self.position..];
        let within = &rest[..rest.len().min(MAX_NAME)];
        let Some(len) = within.iter().position(|&byte| byte == b'\n') else {
            if within.len() == MAX_NAME {
                return too_many("bytes in the name of a global", MAX_NAME);
            }
            return Err(PickleErrorKind::Truncated);
        };
        let line = self.take(len + 1)?;
        Ok(String::from_utf8_lossy(&line[..len]).into_owned())
    }

    /// The bytes of a string.
    fn span(&mut self, len: usize) -> Result<(Span, &'a [u8]), PickleErrorKind> {
        if len > V::MAX_TEXT {
            return too_many("bytes in a string", V::MAX_TEXT);
        }
        let at = self.position as u32;
        let bytes = self.take(len)?;
        let len = len as u32;
        Ok((Span { at, len }, bytes))
    }

    fn text(&mut self, len: usize, latin1: bool) -> Result<(), PickleErrorKind> {
        let (span, bytes) = self.span(len)?;
        // Python also encodes lone surrogates, which do not occur in names.
        if !latin1 && str::from_utf8(bytes).is_err() {
            return Err(PickleErrorKind::Unexpected {
                expected: "a string",
                got: "bytes that are not UTF-8".to_owned(),
            });
        }
        self.stack.push(Object::Text(Text { span, latin1 }))
    }

    fn plain_bytes(&mut self, len: usize) -> Result<(), PickleErrorKind> {
        let (span, _) = self.span(len)?;
        self.stack.push(Object::Bytes(span))
    }

    /// A little-endian integer in two's complement.
    fn long(&mut self, len: usize) -> Result<(), PickleErrorKind> {
        if len > MAX_NUMBER {
            return too_many("bytes in a number", MAX_NUMBER);
        }
        let bytes = self.take(len)?;
        let Some(&highest) = bytes.last() else {
            return self.stack.push(Object::Int(0));
        };
        if len > size_of::<i64>() {
            return self.stack.push(Object::Other);
        }
        let sign = if highest < 0x80 { 0 } else { 0xff };
        let mut value = [sign; size_of::<i64>()];
        value[..len].copy_from_slice(bytes);
        self.stack.push(Object::Int(i64::from_le_bytes(value)))
    }

    fn tuple(&mut self, count: usize) -> Result<(), PickleErrorKind> {
        let tuple = self.heap.container(self.stack.topmost(count)?)?;
        self.stack.drop(count);
        self.stack.push(Object::Tuple(tuple))
    }

    /// Moves the topmost objects to the list below them.
    fn append(&mut self, count: usize) -> Result<(), PickleErrorKind> {
        let objects = self.stack.topmost(count + 1)?;
        let Object::List(list) = objects[0] else {
            return Err(objects[0].expected("a list"));
        };
        self.heap.extend(list, &objects[1..])?;
        self.stack.drop(count);
        Ok(())
    }

    /// Moves the topmost objects, keys and values, to the dictionary below them.
    fn set_items(&mut self, count: usize) -> Result<(), PickleErrorKind> {
        let dict = self.stack.topmost(count + 1)?[0];
        let Object::Dict(dict) = dict else {
            return Err(dict.expected("a dictionary"));
        };
        self.extend_dict(dict, count)
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
        let global = V::global(module, name).ok_or_else(|| {
            let full = format!("{module}.{name}");
            let shown: String = full.chars().take(MAX_NAME).collect();
            PickleErrorKind::Global {
                name: shown.escape_debug().to_string(),
                contents: V::CONTENTS,
                advice: V::ADVICE,
            }
        })?;
        self.stack.push(Object::Global(global))
    }

    fn call(
        &mut self,
        function: Object<V>,
        arguments: Object<V>,
    ) -> Result<Object<V>, PickleErrorKind> {
        let Object::Global(function) = function else {
            return Err(function.expected("a function"));
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
