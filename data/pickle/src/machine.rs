use std::collections::HashMap;

use crate::stack::Stack;
use crate::{Container, Heap, Object, PickleError, PickleFault, Span, Text, Vocabulary};

/// Operations.
const MAX_STEPS: usize = 1 << 22;

/// Objects to be used again; a tensor has about seven.
const MAX_MEMO: usize = 1 << 18;

/// Bytes of an integer.
const MAX_NUMBER: usize = 1 << 20;

/// Bytes of the name of a module, or of something in it.
const MAX_NAME: usize = 256;

/// Arguments of a function; those of PyTorch take up to eight.
const MAX_ARGUMENTS: usize = 8;

/// What a pickle is.
#[derive(Debug)]
pub struct Pickle<'a, V: Vocabulary> {
    /// Its bytes, which the strings lie in.
    pub bytes: &'a [u8],
    /// What it made.
    pub root: Object<V>,
    /// The containers of that.
    pub heap: Heap<V>,
    /// What functions made of it.
    pub made: V,
}

struct Machine<'a, V: Vocabulary> {
    bytes: &'a [u8],
    at: usize,
    stack: Stack<V>,
    memo: HashMap<u32, Object<V>>,
    heap: Heap<V>,
    made: V,
}

/// What the pickle at the beginning of `bytes` makes. More may follow it.
///
/// # Errors
/// If it is no pickle, or one that asks for more than its vocabulary has, or too large.
pub fn parse<V: Vocabulary>(bytes: &[u8]) -> Result<Pickle<'_, V>, PickleError> {
    let mut machine = Machine {
        bytes: &bytes[..bytes.len().min(V::MAX_BYTES)],
        at: 0,
        stack: Stack::new(),
        memo: HashMap::new(),
        heap: Heap::new(),
        made: V::default(),
    };
    let mut at = 0;
    let root = machine
        .run(&mut at)
        .map_err(|fault| PickleError { at, fault })?;
    Ok(Pickle {
        bytes: &bytes[..machine.at],
        root,
        heap: machine.heap,
        made: machine.made,
    })
}

fn too_many<T>(what: &'static str, limit: usize) -> Result<T, PickleFault> {
    Err(PickleFault::TooMany { what, limit })
}

impl<'a, V: Vocabulary> Machine<'a, V> {
    /// Runs to the end; `start` is always where the present operation begins.
    fn run(&mut self, start: &mut usize) -> Result<Object<V>, PickleFault> {
        for _ in 0..MAX_STEPS {
            *start = self.at;
            let [operation] = self.array()?;
            if operation == b'.' {
                return self.stack.pop();
            }
            self.step(operation)?;
        }
        too_many("operations", MAX_STEPS)
    }

    fn step(&mut self, operation: u8) -> Result<(), PickleFault> {
        match operation {
            // PROTO, FRAME
            0x80 => {
                let [version] = self.array()?;
                if !(2..=5).contains(&version) {
                    return Err(PickleFault::Protocol(version));
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
                let list = self.heap.container(self.stack.highest(count)?)?;
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
                    return Err(module.expected("the names of a module and of something in it"));
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
                return Err(PickleFault::Opcode {
                    operation,
                    contents: V::CONTENTS,
                });
            }
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PickleFault> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or({
            if self.bytes.len() == V::MAX_BYTES {
                PickleFault::TooMany {
                    what: "bytes",
                    limit: V::MAX_BYTES,
                }
            } else {
                PickleFault::Truncated
            }
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleFault> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("as many bytes were taken"))
    }

    /// A length of four bytes. Python 2 wrote some with a sign.
    fn len4(&mut self) -> Result<usize, PickleFault> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn len8(&mut self) -> Result<usize, PickleFault> {
        let len = u64::from_le_bytes(self.array()?);
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// The rest of a line, without its end.
    fn line(&mut self) -> Result<String, PickleFault> {
        let rest = &self.bytes[self.at..];
        let within = &rest[..rest.len().min(MAX_NAME)];
        let Some(len) = within.iter().position(|&byte| byte == b'\n') else {
            if within.len() == MAX_NAME {
                return too_many("bytes in the name of a global", MAX_NAME);
            }
            return Err(PickleFault::Truncated);
        };
        let line = self.take(len + 1)?;
        Ok(String::from_utf8_lossy(&line[..len]).into_owned())
    }

    /// The bytes of a string.
    fn span(&mut self, len: usize) -> Result<(Span, &'a [u8]), PickleFault> {
        if len > V::MAX_TEXT {
            return too_many("bytes in a string", V::MAX_TEXT);
        }
        let at = self.at as u32;
        let bytes = self.take(len)?;
        let len = len as u32;
        Ok((Span { at, len }, bytes))
    }

    fn text(&mut self, len: usize, latin1: bool) -> Result<(), PickleFault> {
        let (span, bytes) = self.span(len)?;
        // Python writes lone surrogates as if they were characters. No name has any.
        if !latin1 && str::from_utf8(bytes).is_err() {
            return Err(PickleFault::Unexpected {
                expected: "a string",
                got: "bytes that are not UTF-8".to_owned(),
            });
        }
        self.stack.push(Object::Text(Text { span, latin1 }))
    }

    fn plain_bytes(&mut self, len: usize) -> Result<(), PickleFault> {
        let (span, _) = self.span(len)?;
        self.stack.push(Object::Bytes(span))
    }

    /// An integer in two's complement, from the lowest byte.
    fn long(&mut self, len: usize) -> Result<(), PickleFault> {
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

    fn tuple(&mut self, count: usize) -> Result<(), PickleFault> {
        let tuple = self.heap.container(self.stack.highest(count)?)?;
        self.stack.drop(count);
        self.stack.push(Object::Tuple(tuple))
    }

    /// Moves the highest objects to the list below them.
    fn append(&mut self, count: usize) -> Result<(), PickleFault> {
        let objects = self.stack.highest(count + 1)?;
        let Object::List(list) = objects[0] else {
            return Err(objects[0].expected("a list"));
        };
        self.heap.extend(list, &objects[1..])?;
        self.stack.drop(count);
        Ok(())
    }

    /// Moves the highest objects, keys and values, to the dictionary below them.
    fn set_items(&mut self, count: usize) -> Result<(), PickleFault> {
        let dict = self.stack.highest(count + 1)?[0];
        let Object::Dict(dict) = dict else {
            return Err(dict.expected("a dictionary"));
        };
        self.extend_dict(dict, count)
    }

    fn extend_dict(&mut self, dict: Container, count: usize) -> Result<(), PickleFault> {
        if !count.is_multiple_of(2) {
            return Err(PickleFault::Unexpected {
                expected: "keys and values",
                got: "a key without a value".to_owned(),
            });
        }
        self.heap.extend(dict, self.stack.highest(count)?)?;
        self.stack.drop(count);
        Ok(())
    }

    fn memoize(&mut self, key: u32) -> Result<(), PickleFault> {
        let &[object] = self.stack.top()?;
        if self.memo.len() >= MAX_MEMO {
            return too_many("objects to be used again", MAX_MEMO);
        }
        self.memo.insert(key, object);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), PickleFault> {
        let Some(&object) = self.memo.get(&key) else {
            return Err(PickleFault::Unexpected {
                expected: "an object to be used again",
                got: "nothing".to_owned(),
            });
        };
        self.stack.push(object)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), PickleFault> {
        let global = V::global(module, name).ok_or_else(|| {
            let full = format!("{module}.{name}");
            let shown: String = full.chars().take(MAX_NAME).collect();
            PickleFault::Global {
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
    ) -> Result<Object<V>, PickleFault> {
        let Object::Global(function) = function else {
            return Err(function.expected("a function"));
        };
        let Object::Tuple(arguments) = arguments else {
            return Err(arguments.expected("the arguments of a function"));
        };
        // A copy, at most as long as what the pickle says of a tensor, for the heap may change.
        let arguments = self.heap.items(arguments);
        if arguments.len() > MAX_ARGUMENTS {
            return too_many("arguments of a function", MAX_ARGUMENTS);
        }
        let arguments = &arguments.to_vec();
        self.made
            .call(&mut self.heap, self.bytes, function, arguments)
    }
}
