//! Huffman codes, and the coefficients of a block.

use super::bits::{Bits, Reader};
use super::header::{Codes, ZIGZAG};

/// Number of bits that are looked up at once. Nearly all codes are shorter.
const FAST: u32 = 11;

/// The longest code.
const LONGEST: u32 = 16;

/// Most bits of a DC difference and of an AC coefficient of 8-bit samples, behind the code. With their codes,
/// two coefficients have no more bits than a refill provides.
const MOST: [u8; 2] = [11, 10];

/// Whether a code has differences of DC coefficients, or runs of zeros and AC coefficients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Dc,
    Ac,
}

/// A code and what it means.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Entry(u32);

impl Entry {
    /// How far the last position of a block is exceeded at its end. More than by any run of zeros.
    const END: u32 = 128;

    /// `None` if no encoder writes such a symbol.
    fn new(kind: Kind, len: u32, symbol: u8) -> Option<Self> {
        let (run, size) = match kind {
            Kind::Dc => (0, symbol),
            Kind::Ac => (symbol >> 4, symbol & 15),
        };
        let step = match (kind, run, size) {
            (Kind::Dc, ..) => 0,
            // Only sixteen zeros have no coefficient behind them.
            (Kind::Ac, 0..15, 0) => Self::END,
            (Kind::Ac, ..) => u32::from(run) + 1,
        };
        let size = u32::from(size);
        let fits = size <= u32::from(MOST[kind as usize]);
        fits.then_some(Self((len + size) | (size << 8) | (step << 16)))
    }

    /// Number of bits of the code and of the value behind it.
    #[inline(always)]
    fn len(self) -> u32 {
        self.0 & 63
    }

    /// Number of positions from the last coefficient to this one.
    #[inline(always)]
    fn step(self) -> usize {
        (self.0 >> 16) as usize
    }

    /// Reads the code and the value behind it.
    #[inline(always)]
    fn read(self, reader: &mut Reader) -> i32 {
        let size = (self.0 >> 8) & 15;
        let bits = (reader.bits >> ((64 - self.len()) & 63)) as i32;
        reader.skip(self.len());
        // Values with a leading 0 are negative.
        let bits = bits & ((1 << size) - 1);
        let negative = (bits - ((1 << size) >> 1)) >> 31;
        bits + (negative & ((-1 << size) + 1))
    }
}

/// A Huffman code.
#[derive(Debug)]
pub(super) struct Table {
    /// What was compiled.
    kind: Kind,
    counts: [u8; 16],
    symbols: Vec<u8>,
    /// For the next bits, their code; 0 if it is longer, or none.
    fast: Box<[Entry; 1 << FAST]>,
    /// For each length, the first 16 bits that are not of such a code or a shorter one.
    ends: [u32; LONGEST as usize + 1],
    /// For each length, the index of its first symbol, less its first code.
    offsets: [u32; LONGEST as usize + 1],
}

impl Table {
    /// A table without codes.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            counts: [0; 16],
            symbols: Vec::new(),
            fast: Box::new([Entry(0); 1 << FAST]),
            ends: [0; LONGEST as usize + 1],
            offsets: [0; LONGEST as usize + 1],
        }
    }

    /// Compiles a code, unless it is the last one; `None` if it is invalid.
    pub(super) fn compile(&mut self, codes: Codes<'_>) -> Option<()> {
        if self.counts == *codes.counts && self.symbols == codes.symbols {
            return Some(());
        }
        // Whatever remains of an invalid code is not taken for it.
        self.counts = [0; 16];
        self.symbols.clear();
        self.fast.fill(Entry(0));
        let mut end = 0;
        let mut index = 0;
        for (&count, len) in codes.counts.iter().zip(1..) {
            let first = end >> (LONGEST - len);
            self.offsets[len as usize] = (index as u32).wrapping_sub(first);
            for code in (first..).take(usize::from(count)) {
                let entry = Entry::new(self.kind, len, codes.symbols[index])?;
                index += 1;
                if len <= FAST {
                    let from = (code << (FAST - len)) as usize;
                    self.fast
                        .get_mut(from..from + (1 << (FAST - len)))?
                        .fill(entry);
                }
            }
            end += u32::from(count) << (LONGEST - len);
            if end > 1 << LONGEST {
                return None;
            }
            self.ends[len as usize] = end;
        }
        self.counts = *codes.counts;
        self.symbols.extend_from_slice(codes.symbols);
        Some(())
    }

    /// The next code, `None` if there is no such code.
    #[inline(always)]
    fn entry(&self, reader: &Reader) -> Option<Entry> {
        let entry = self.fast[(reader.bits >> (64 - FAST)) as usize];
        if entry == Entry(0) {
            return self.long(reader.bits);
        }
        Some(entry)
    }

    /// A code that is too long for the fast table.
    #[cold]
    fn long(&self, bits: u64) -> Option<Entry> {
        let bits = (bits >> (64 - LONGEST)) as u32;
        let len = (FAST + 1..=LONGEST).find(|&len| bits < self.ends[len as usize])?;
        let code = bits >> (LONGEST - len);
        let index = code.wrapping_add(self.offsets[len as usize]);
        Entry::new(self.kind, len, *self.symbols.get(index as usize)?)
    }
}

/// Where the coefficients of a component go, and how they are scaled.
#[derive(Debug)]
pub(super) struct Steps([u32; 256]);

impl Steps {
    pub(super) fn new(quantization: &[u8; 64]) -> Self {
        // Behind the block.
        let mut steps = [64; 256];
        for ((step, &index), &scale) in steps.iter_mut().zip(&ZIGZAG).zip(quantization) {
            *step = u32::from(index) | (u32::from(scale) << 8);
        }
        Self(steps)
    }
}

/// The coefficients of a block, row by row. What is behind them is not used.
pub(super) type Coefficients = [i16; 128];

/// The codes and steps of a component.
pub(super) struct Coding<'a> {
    pub(super) dc: &'a Table,
    pub(super) ac: &'a Table,
    pub(super) steps: &'a Steps,
}

/// What is known of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The last coefficient in the order of storage that may not be 0.
    pub(super) last: usize,
    /// Sum of the absolute values of all coefficients.
    pub(super) sum: u32,
}

/// Reads the coefficients of a block, which must be 0 before. `None` if the data is damaged.
#[inline(always)]
pub(super) fn read_block(
    data: &mut Bits<'_>,
    coding: &Coding<'_>,
    dc: &mut i16,
    coefficients: &mut Coefficients,
) -> Option<Block> {
    let mut reader = data.reader;
    data.refill(&mut reader)?;
    let difference = coding.dc.entry(&reader)?.read(&mut reader);
    *dc = i16::try_from(i32::from(*dc) + difference).ok()?;
    let steps = &coding.steps.0;
    let value = i32::from(*dc) * (steps[0] >> 8) as i32;
    coefficients[0] = value as i16;
    let mut sum = value.unsigned_abs();
    let mut at = 0;
    let mut last = 0;
    'block: loop {
        data.refill(&mut reader)?;
        for _ in 0..2 {
            let entry = coding.ac.entry(&reader)?;
            let value = entry.read(&mut reader);
            at += entry.step();
            let step = steps[at & 255];
            let value = value * (step >> 8) as i32;
            coefficients[(step & 127) as usize] = value as i16;
            sum += value.unsigned_abs();
            if at >= 63 {
                break 'block;
            }
            last = at;
        }
    }
    data.reader = reader;
    match at {
        63 => last = 63,
        64..128 => return None,
        _ => {}
    }
    Some(Block { last, sum })
}
