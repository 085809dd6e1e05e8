use std::collections::VecDeque;
use std::path::Path;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};

use super::{damaged, guarded};
use crate::DataError;

type Reader = ColumnReaderImpl<ByteArrayType>;

/// Places that are kept to read on from. Each holds a page, and a dictionary if there is one, until its
/// group has been read; in files of pyarrow either may have all images of a group.
const CURSORS: usize = 8;

/// Rows that are decoded on the way to one that is asked for, and kept: other threads want them soon.
const AHEAD: usize = 64;

/// Rows that are decoded before the first that is asked for in a group, for the same reason.
const BEHIND: usize = 16;

/// Places in groups of rows, the last used one last.
///
/// A column is read from the beginning of its group, and only forwards. A row near after a place is
/// reached by decoding those between; to one elsewhere a new place goes, past pages that are not
/// decompressed. So threads that share a batch between them find what they need, and rows in random
/// order cost a page and a dictionary each.
#[derive(Default)]
pub(super) struct Cursors(VecDeque<Cursor>);

struct Cursor {
    group: usize,
    next: usize,
    reader: Reader,
    /// Rows that were passed and not asked for yet.
    passed: VecDeque<(usize, Option<ByteArray>)>,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places = self.0.iter().map(|cursor| (cursor.group, cursor.next));
        f.debug_list().entries(places).finish()
    }
}

impl Cursors {
    /// The value of a row of a group of `rows`; `open` begins to read the group. `None` if it is null.
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
            let place = passed.position(|(passed, _)| *passed == row);
            Some((index, place.filter(|_| cursor.group == group)?))
        });
        if let Some((index, place)) = passed {
            let cursor = &mut self.0[index];
            let found = cursor.passed.remove(place);
            if cursor.next == rows && cursor.passed.is_empty() {
                self.0.remove(index);
            }
            return Ok(found.and_then(|(_, bytes)| bytes));
        }
        let near = |cursor: &Cursor| {
            cursor.group == group && (cursor.next..=cursor.next + AHEAD).contains(&row)
        };
        let mut cursor = match self.0.iter().position(near) {
            Some(place) => self.0.remove(place).expect("the place was found"),
            None => {
                if self.0.len() == CURSORS {
                    self.0.pop_front();
                }
                let mut reader = open()?;
                let start = row.saturating_sub(BEHIND);
                let skipped = guarded(path, || reader.skip_records(start))?;
                if skipped != start {
                    let fault = format!("a column ends after {skipped} rows, before row {start}");
                    return Err(damaged(path, fault));
                }
                Cursor {
                    group,
                    next: start,
                    reader,
                    passed: VecDeque::new(),
                }
            }
        };
        // After an error the place is not kept.
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
                let fault = format!("a column ends before row {row}");
                return Err(damaged(path, fault));
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
