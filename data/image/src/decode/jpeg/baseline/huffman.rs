//! Tables of Huffman codes.

use std::iter::repeat_n;

use super::header::Codes;

/// The longest code.
const LONGEST: u32 = 16;

/// Most bits behind the code of a difference of DC coefficients, if samples have 8 bits.
const MOST_DC: u8 = 11;

/// Most bits behind the code of an AC coefficient.
const MOST_AC: u8 = 10;

/// Number of bits with which codes of differences of DC coefficients are looked up. Most codes are shorter.
const DC_BITS: u32 = 9;

/// Number of bits with which codes of AC coefficients are looked up: mostly two, with the bits behind them.
pub(super) const AC_BITS: u32 = 10;

/// Number of positions from any coefficient to the end of a block, and more than any run of zeros.
pub(super) const END: usize = 128;

/// A symbol and the length of its code.
#[derive(Clone, Copy, Debug, Default)]
struct Symbol {
    value: u8,
    /// 0 for bits that begin no code.
    len: u8,
}

/// A Huffman code.
#[derive(Debug, Default)]
struct Code {
    /// How many codes there are of 1 to 16 bits.
    counts: [u8; LONGEST as usize],
    /// Their symbols.
    symbols: Vec<u8>,
}

impl Code {
    /// `None` if there are more codes than bits for them.
    fn new(codes: Codes<'_>) -> Option<Self> {
        let mut end = 0;
        for (&count, len) in codes.counts.iter().zip(1..) {
            end += u32::from(count) << (LONGEST - len);
        }
        (end <= 1 << LONGEST).then(|| Self {
            counts: *codes.counts,
            symbols: codes.symbols.to_vec(),
        })
    }

    /// Becomes another code, and returns whether it differs from that of the last image; `None` if it is invalid or has
    /// an unusual symbol.
    fn replace(&mut self, codes: Codes<'_>, is_usual: impl Fn(u8) -> bool) -> Option<bool> {
        if self.counts == *codes.counts && self.symbols == codes.symbols {
            return Some(false);
        }
        if !codes.symbols.iter().all(|&symbol| is_usual(symbol)) {
            return None;
        }
        *self = Self::new(codes)?;
        Some(true)
    }

    /// For all numbers of `bits` bits, the symbol of the code with which they begin, unless it is longer.
    fn short<const ALL: usize>(&self, bits: u32) -> [Symbol; ALL] {
        let lens = self.counts.iter().zip(1..=bits as u8);
        let lens = lens.flat_map(|(&count, len)| repeat_n(len, usize::from(count)));
        let mut short = [Symbol::default(); ALL];
        let mut rest = short.as_mut_slice();
        for (len, &value) in lens.zip(&self.symbols) {
            // Codes are in the order of their bits, without gaps.
            let (same, behind) = rest.split_at_mut(1 << (bits - u32::from(len)));
            same.fill(Symbol { value, len });
            rest = behind;
        }
        short
    }

    /// The symbol of the code with which 64 bits begin.
    #[cold]
    fn find(&self, bits: u64) -> Option<Symbol> {
        let bits = (bits >> (64 - LONGEST)) as u32;
        let mut index = 0;
        let mut end = 0;
        for (&count, len) in self.counts.iter().zip(1..) {
            let first = end;
            end += u32::from(count) << (LONGEST - len);
            if bits < end {
                index += ((bits - first) >> (LONGEST - len)) as usize;
                let value = *self.symbols.get(index)?;
                return Some(Symbol {
                    value,
                    len: len as u8,
                });
            }
            index += usize::from(count);
        }
        None
    }
}

/// The value that is stored as the lowest `size` bits: with a leading 0, it is negative.
#[inline(always)]
pub(super) fn value(bits: u32, size: u32) -> i32 {
    let bits = bits as i32 & ((1 << size) - 1);
    let is_negative = (bits - ((1 << size) >> 1)) >> 31;
    bits + (is_negative & ((-1 << size) + 1))
}

/// The code of differences of DC coefficients.
#[derive(Debug)]
pub(super) struct DcTable {
    code: Code,
    short: Box<[Symbol; 1 << DC_BITS]>,
}

impl Default for DcTable {
    fn default() -> Self {
        Self {
            code: Code::default(),
            short: Box::new([Symbol::default(); 1 << DC_BITS]),
        }
    }
}

impl DcTable {
    /// Compiles a code, unless it is that of the last image; `None` if it is invalid or unusual.
    pub(super) fn compile(&mut self, codes: Codes<'_>) -> Option<()> {
        if self.code.replace(codes, |size| size <= MOST_DC)? {
            *self.short = self.code.short(DC_BITS);
        }
        Some(())
    }

    /// Lengths of the next code and of the difference behind it.
    #[inline(always)]
    pub(super) fn find(&self, bits: u64) -> Option<[u32; 2]> {
        let mut symbol = self.short[(bits >> (64 - DC_BITS)) as usize];
        if symbol.len == 0 {
            symbol = self.code.find(bits)?;
        }
        Some([symbol.len, symbol.value].map(u32::from))
    }
}

/// The code of AC coefficients.
#[derive(Debug)]
pub(super) struct AcTable {
    code: Code,
    pairs: Box<[Pair; 1 << AC_BITS]>,
}

impl Default for AcTable {
    fn default() -> Self {
        Self {
            code: Code::default(),
            pairs: Box::new([Pair(0); 1 << AC_BITS]),
        }
    }
}

impl AcTable {
    /// Compiles a code, unless it is that of the last image; `None` if it is invalid or unusual.
    pub(super) fn compile(&mut self, codes: Codes<'_>) -> Option<()> {
        let is_usual = |symbol: u8| symbol & 15 <= MOST_AC;
        if self.code.replace(codes, is_usual)? {
            let short = self.code.short(AC_BITS);
            for (bits, pair) in (0..).zip(&mut *self.pairs) {
                *pair = Pair::new(bits, &short);
            }
        }
        Some(())
    }

    /// The next two coefficients.
    #[inline(always)]
    pub(super) fn pair(&self, bits: u64) -> Pair {
        self.pairs[(bits >> (64 - AC_BITS)) as usize]
    }

    /// The number of positions to the next coefficient, and the lengths of its code and of the value behind it. `pair`
    /// is what was found for the bits.
    #[inline(always)]
    pub(super) fn single(&self, pair: Pair, bits: u64) -> Option<(usize, [u32; 2])> {
        if pair == Pair(0) {
            let symbol = self.code.find(bits)?;
            let (step, size) = run(symbol);
            return Some((step, [u32::from(symbol.len), size]));
        }
        let len = pair.first_len();
        Some((pair.steps()[0], [len, pair.len() - len]))
    }
}

/// The number of positions from the last coefficient to the next one, and the number of bits of the latter.
fn run(symbol: Symbol) -> (usize, u32) {
    match (usize::from(symbol.value >> 4), u32::from(symbol.value & 15)) {
        // Only sixteen zeros may have no coefficient behind them.
        (0..15, 0) => (END, 0),
        (zeros, size) => (zeros + 1, size),
    }
}

/// Two coefficients, or one twice. From the lowest bit: the number of bits of both (8 bits of this number), of positions
/// to the first (8) and from there to the second (8), their values (16 each), and the number of bits of the first (7). The
/// highest bit is set if only the code of the first was found, and its value must be read. 0 is a longer code, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pair(u64);

impl Pair {
    fn new(bits: u32, short: &[Symbol; 1 << AC_BITS]) -> Self {
        let symbol = short[bits as usize];
        if symbol.len == 0 {
            return Self(0);
        }
        let (step, size) = run(symbol);
        let first_len = u32::from(symbol.len);
        let len = first_len + size;
        let first = u64::from(len) | (step as u64) << 8;
        if len > AC_BITS {
            return Self(first | u64::from(first_len | 0x80) << 56);
        }
        let stored = |len, size| u64::from(value(bits >> (AC_BITS - len), size) as u16);
        let mut pair = first | stored(len, size) << 24 | u64::from(len) << 56;
        let symbol = short[(bits << len) as usize % short.len()];
        let (second_step, second_size) = run(symbol);
        let both = len + u32::from(symbol.len) + second_size;
        if step == END || symbol.len == 0 || both > AC_BITS {
            pair |= stored(len, size) << 40;
        } else {
            pair += u64::from(both - len);
            pair |= (second_step as u64) << 16 | stored(both, second_size) << 40;
        }
        Self(pair)
    }

    /// Whether the values are known.
    #[inline(always)]
    pub(super) fn is_whole(self) -> bool {
        self.0.cast_signed() > 0
    }

    /// Number of bits.
    #[inline(always)]
    pub(super) fn len(self) -> u32 {
        (self.0 & 63) as u32
    }

    /// Number of bits of the first coefficient.
    #[inline(always)]
    pub(super) fn first_len(self) -> u32 {
        (self.0 >> 56 & 63) as u32
    }

    /// Number of positions from the last coefficient to the first of these, and from there to the second.
    #[inline(always)]
    pub(super) fn steps(self) -> [usize; 2] {
        [8, 16].map(|shift| (self.0 >> shift) as usize & 255)
    }

    #[inline(always)]
    pub(super) fn values(self) -> [i16; 2] {
        [24, 40].map(|shift| (self.0 >> shift) as i16)
    }
}
