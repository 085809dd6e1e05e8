use std::collections::VecDeque;
use std::path::Path;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};

use super::guard::{damaged, guarded};
use crate::DataError;

type Reader = ColumnReaderImpl<ByteArrayType>;

/// Largest number of open cursors. Each holds a page, and a dictionary if there is one, until its row group
/// has been read; in files written by pyarrow either may contain all images of a group.
const CURSORS: usize = 8;

/// Largest number of rows that are decoded and kept on the way to the requested one, as other threads request
/// them soon.
const AHEAD: usize = 64;

/// Number of rows decoded before the first requested one in a group, for the same reason.
const BEHIND: usize = 16;

/// Positions in row groups, the most recently used one last.
///
/// A column is read from the beginning of its group, and only forwards. A row shortly after a cursor is
/// reached by decoding the rows between; for any other row a new cursor skips pages without decompressing
/// them. So threads that share a batch find what they need, and rows in random order cost a page and a
/// dictionary each.
#[derive(Default)]
pub(super) struct Cursors(VecDeque<Cursor>);

struct Cursor {
    group: usize,
    next: usize,
    reader: Reader,
    /// Rows that were decoded and not requested yet.
    passed: VecDeque<(usize, Option<ByteArray>)>,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let positions = self.0.iter().map(|cursor| (cursor.group, cursor.next));
        f.debug_list().entries(positions).finish()
    }
}

impl Cursors {
    /// The value of a row in a group of `rows` rows, which `open` starts reading. `None` if it is null.
    pub fn read(
        &mut self,
        path: &Path,
        group: usize,
        rows: usize,
        row: usize,
        open: impl FnOnce() -> Result<Reader, DataError>,
    ) -> Result<Option<ByteArray>, DataError> {
        let passed = self.0.iter().enumerate().find_map(|(index, cursor)| {
            let mut passed = cursor.passed.iter();
            let position = passed.position(|(passed, _)| *passed == row);
            Some((index, position.filter(|_| cursor.group == group)?))
        });
        if let Some((index, position)) = passed {
            let cursor = &mut self.0[index];
            let found = cursor.passed.remove(position);
            if cursor.next == rows && cursor.passed.is_empty() {
                self.0.remove(index);
            }
            return Ok(found.and_then(|(_, bytes)| bytes));
        }
        let near = |cursor: &Cursor| {
            cursor.group == group && (cursor.next..=cursor.next + AHEAD).contains(&row)
        };
        let mut cursor = match self.0.iter().position(near) {
            Some(index) => self.0.remove(index).expect("the cursor was found"),
            None => {
                if self.0.len() == CURSORS {
                    self.0.pop_front();
                }
                let mut reader = open()?;
                let start = row.saturating_sub(BEHIND);
                let skipped = guarded(path, || reader.skip_records(start))?;
                if skipped != start {
                    let reason = format!("a column ends after {skipped} rows, before row {start}");
                    return Err(damaged(path, reason));
                }
                Cursor {
                    group,
                    next: start,
                    reader,
                    passed: VecDeque::new(),
                }
            }
        };
        // After an error the cursor is not kept.
        let bytes = cursor.advance(path, row)?;
        if cursor.next < rows || !cursor.passed.is_empty() {
            self.0.push_back(cursor);
        }
        Ok(bytes)
    }
}

impl Cursor {
    fn advance(&mut self, path: &Path, row: usize) -> Result<Option<ByteArray>, DataError> {
        loop {
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let read = || {
                self.reader
                    .read_records(1, Some(&mut levels), None, &mut values)
            };
            let (records, _, _) = guarded(path, read)?;
            if records == 0 {
                let reason = format!("a column ends before row {row}");
                return Err(damaged(path, reason));
            }
            let (passed, bytes) = (self.next, values.pop());
            self.next += 1;
            if passed == row {
                return Ok(bytes);
            }
            if self.passed.len() == AHEAD {
                self.passed.pop_front();
            }
            self.passed.push_back((passed, bytes));
        }
    }
}
