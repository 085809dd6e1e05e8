//! Bits of entropy-coded data.

/// Number of bytes of the window.
const WINDOW: usize = 4 << 10;

/// Zeros behind the data: more than a reader that stays inside it looks ahead.
const PADDING: usize = 16;

/// The data of a scan up to the next marker, without the zeros that are stuffed after each 0xff.
pub(super) struct Bits<'a> {
    /// Data behind the window, as stored.
    rest: &'a [u8],
    /// The data around the reader.
    window: [u8; WINDOW],
    /// Number of bytes in the window.
    end: usize,
    /// Whether the last bytes of the window are padding.
    padded: bool,
    pub(super) reader: Reader,
}

/// Where the next bits are.
#[derive(Clone, Copy, Default)]
pub(super) struct Reader {
    /// The next bits, starting with the highest.
    pub(super) bits: u64,
    /// Number of them; bits after these are either those that follow in the data, or 0.
    len: u32,
    /// Position in the window of the byte behind them.
    at: usize,
}

impl Reader {
    /// The next 1 to 32 bits.
    #[inline(always)]
    pub(super) fn top(&self, count: u32) -> u32 {
        (self.bits >> ((64 - count) & 63)) as u32
    }

    /// Removes some of the available bits.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.bits <<= count & 63;
        self.len = self.len.wrapping_sub(count);
    }
}

impl<'a> Bits<'a> {
    pub(super) fn new(scan: &'a [u8]) -> Self {
        Self {
            rest: scan,
            window: [0; WINDOW],
            end: 0,
            padded: false,
            reader: Reader::default(),
        }
    }

    /// Makes at least 56 bits available; `None` if more was read than there is.
    #[inline(always)]
    pub(super) fn refill(&mut self, reader: &mut Reader) -> Option<()> {
        if reader.at + 8 > self.end {
            *reader = self.slide(*reader)?;
        }
        let next = self.window[reader.at..].first_chunk()?;
        reader.bits |= u64::from_be_bytes(*next) >> reader.len;
        // As many whole bytes as there is room for.
        reader.at += (63 - reader.len as usize) / 8;
        reader.len |= 56;
        Some(())
    }

    /// Moves the window, so that at least 8 bytes follow the reader.
    #[inline(never)]
    fn slide(&mut self, mut reader: Reader) -> Option<Reader> {
        if self.padded {
            return None;
        }
        self.window.copy_within(reader.at..self.end, 0);
        self.end -= reader.at;
        reader.at = 0;
        let last = WINDOW - PADDING;
        while self.end < last {
            let next = &self.rest[..self.rest.len().min(last - self.end)];
            let found = memchr::memchr(0xff, next);
            let len = found.unwrap_or(next.len());
            self.window[self.end..self.end + len].copy_from_slice(&next[..len]);
            self.end += len;
            self.rest = &self.rest[len..];
            if found.is_none() && !self.rest.is_empty() {
                break;
            }
            if let [0xff, 0, rest @ ..] = self.rest {
                self.window[self.end] = 0xff;
                self.end += 1;
                self.rest = rest;
            } else {
                self.window[self.end..self.end + PADDING].fill(0);
                self.end += PADDING;
                self.padded = true;
                break;
            }
        }
        Some(reader)
    }

    /// Continues behind the next marker, which must be this one; `None` if it is not, or if more was read
    /// than there is.
    pub(super) fn restart(&mut self, marker: u8) -> Option<()> {
        self.check()?;
        loop {
            let found = memchr::memchr(0xff, self.rest)?;
            match self.rest[found + 1..] {
                [0, ref rest @ ..] => self.rest = rest,
                [next, ref rest @ ..] if next == marker => {
                    *self = Self {
                        rest,
                        ..Self::new(&[])
                    };
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Checks that nothing was read behind the data.
    pub(super) fn check(&self) -> Option<()> {
        let padding = if self.padded { PADDING } else { 0 };
        let unread = self.reader.len as usize;
        (8 * self.reader.at <= 8 * (self.end - padding) + unread).then_some(())
    }
}
