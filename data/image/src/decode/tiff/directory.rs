//! The first directory of a TIFF or BigTIFF file.

use super::super::bytes::fit;
use super::FORMAT;
use crate::ImageError;

/// Byte order of numbers in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// An unsigned number of up to 8 bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let push = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        match self {
            Self::Little => bytes.iter().rev().fold(0, push),
            Self::Big => bytes.iter().fold(0, push),
        }
    }
}

struct Entry<'a> {
    tag: u64,
    /// Bytes per value; 0 for a type whose values are not needed here.
    width: usize,
    values: &'a [u8],
}

pub(super) struct Directory<'a> {
    pub(super) order: Order,
    entries: Vec<Entry<'a>>,
}

impl<'a> Directory<'a> {
    pub(super) fn read(encoded: &'a [u8]) -> Result<Self, ImageError> {
        let order = if encoded[0] == b'I' {
            Order::Little
        } else {
            Order::Big
        };
        let number = |at, len| -> Result<usize, ImageError> {
            let number = order.number(fit(encoded, at, len, FORMAT)?);
            usize::try_from(number).map_err(|_| ImageError::truncated(FORMAT))
        };
        let big = number(2, 2)? == 43;
        // Widths of an offset, of the number of entries, and of an entry without its value.
        let (offset, count, head) = if big { (8, 8, 12) } else { (4, 2, 8) };
        let begin = number(if big { 8 } else { 4 }, offset)?;
        let count_len = count;
        let count = number(begin, count)?;
        let len = count
            .checked_mul(head + offset)
            .ok_or_else(|| ImageError::truncated(FORMAT))?;
        let stored = fit(encoded, begin + count_len, len, FORMAT)?;
        let entries = stored.chunks_exact(head + offset).map(|entry| {
            let kind = order.number(&entry[2..4]);
            let count = order.number(&entry[4..head]);
            let size = match kind {
                1 | 2 | 6 | 7 => 1,
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => 0,
            };
            let bytes = usize::try_from(count)
                .ok()
                .and_then(|count| count.checked_mul(size))
                .ok_or_else(|| ImageError::truncated(FORMAT))?;
            let values = if bytes <= offset {
                &entry[head..head + bytes]
            } else {
                let at = order.number(&entry[head..]);
                let at = usize::try_from(at).map_err(|_| ImageError::truncated(FORMAT))?;
                // Only an error if the values are needed.
                fit(encoded, at, bytes, FORMAT).unwrap_or_default()
            };
            let unsigned = matches!(kind, 1 | 3 | 4 | 7 | 13 | 16);
            Ok(Entry {
                tag: order.number(&entry[..2]),
                width: if unsigned { size } else { 0 },
                values,
            })
        });
        let entries = entries.collect::<Result<_, ImageError>>()?;
        Ok(Self { order, entries })
    }

    /// The bytes of an entry.
    pub(super) fn bytes(&self, tag: u64) -> Option<&'a [u8]> {
        self.entries
            .iter()
            .find(|entry| entry.tag == tag)
            .map(|entry| entry.values)
    }

    /// The numbers of an entry; none if it is missing.
    pub(super) fn numbers(&self, tag: u64) -> Result<Vec<u64>, ImageError> {
        let mut found = self.entries.iter().filter(|entry| entry.tag == tag);
        let Some(entry) = found.next() else {
            return Ok(vec![]);
        };
        if found.next().is_some() {
            return Err(ImageError::corrupt(
                FORMAT,
                format!("tag {tag} appears more than once"),
            ));
        }
        if entry.width == 0 || entry.values.is_empty() {
            return Err(ImageError::corrupt(
                FORMAT,
                format!("tag {tag} has no valid numbers"),
            ));
        }
        let values = entry.values.chunks_exact(entry.width);
        Ok(values.map(|value| self.order.number(value)).collect())
    }

    /// The number of an entry, or the first of several.
    pub(super) fn number(&self, tag: u64) -> Result<Option<u64>, ImageError> {
        Ok(self.numbers(tag)?.first().copied())
    }
}
