//! The operands of operations, which follow their codes in the pickle.

use crate::interpreter::{Interpreter, MAX_NAME, too_many};
use crate::{Object, PickleErrorKind, Span, Text, Vocabulary};

/// Maximum length of an integer, in bytes.
const MAX_NUMBER: usize = 1 << 20;

impl<'a, V: Vocabulary> Interpreter<'a, V> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], PickleErrorKind> {
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

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleErrorKind> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("it has N bytes"))
    }

    /// A length of four bytes; signed in some operations of Python 2.
    pub(crate) fn len4(&mut self) -> Result<usize, PickleErrorKind> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    pub(crate) fn len8(&mut self) -> Result<usize, PickleErrorKind> {
        let len = u64::from_le_bytes(self.array()?);
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// The rest of the line, without the line feed.
    pub(crate) fn line(&mut self) -> Result<String, PickleErrorKind> {
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
    pub(crate) fn span(&mut self, len: usize) -> Result<(Span, &'a [u8]), PickleErrorKind> {
        if len > V::MAX_TEXT {
            return too_many("bytes in a string", V::MAX_TEXT);
        }
        let at = self.position as u32;
        let bytes = self.take(len)?;
        let len = len as u32;
        Ok((Span { at, len }, bytes))
    }

    pub(crate) fn text(&mut self, len: usize, latin1: bool) -> Result<(), PickleErrorKind> {
        let (span, bytes) = self.span(len)?;
        // Python also encodes lone surrogates, which paths may have, but not names.
        if !latin1 && str::from_utf8(bytes).is_err() {
            return self.stack.push(Object::Other);
        }
        self.stack.push(Object::Text(Text { span, latin1 }))
    }

    pub(crate) fn plain_bytes(&mut self, len: usize) -> Result<(), PickleErrorKind> {
        let (span, _) = self.span(len)?;
        self.stack.push(Object::Bytes(span))
    }

    /// A little-endian integer in two's complement.
    pub(crate) fn long(&mut self, len: usize) -> Result<(), PickleErrorKind> {
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
}
