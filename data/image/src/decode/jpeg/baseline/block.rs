//! The coefficients of a block.

use super::bits::Bits;
use super::header::ZIGZAG;
use super::huffman::{AcTable, DcTable, END, value};

/// The coefficients of a block, row by row. What is behind them is not used.
pub(super) type Coefficients = [i16; 256];

/// The largest DC coefficient: more than there is in any image of 8-bit samples.
const LARGEST_DC: i32 = 4095;

/// Where coefficients of all positions are stored; those behind the end, behind the block.
static INDICES: [u8; 256] = {
    let mut indices = [64; 256];
    let mut at = 0;
    while at < 64 {
        indices[at] = ZIGZAG[at];
        at += 1;
    }
    indices
};

/// Reads the coefficients of a block, which must be 0 before, and returns the position of the last one. `None` if
/// the data is damaged.
#[inline(always)]
pub(super) fn read(
    data: &mut Bits<'_>,
    (dc, ac): (&DcTable, &AcTable),
    last_dc: &mut i32,
    coefficients: &mut Coefficients,
) -> Option<usize> {
    let mut set = |at: usize, value: i16| {
        coefficients[usize::from(INDICES[at & 255])] = value;
    };
    let mut reader = data.reader;
    data.refill(&mut reader)?;
    let [len, size] = dc.find(reader.bits)?;
    *last_dc += value(reader.top(len + size), size);
    if last_dc.abs() > LARGEST_DC {
        return None;
    }
    set(0, *last_dc as i16);
    reader.skip(len + size);

    // The position of the last coefficient.
    let mut last = 0;
    let end = 'block: loop {
        data.refill(&mut reader)?;
        // As many lookups as there are bits for. After refilling again for one that needs most bits, there are still
        // enough for three.
        for _ in 0..4 {
            let pair = ac.pair(reader.bits);
            if pair.is_whole() {
                let [step, second_step] = pair.steps();
                let [first, second] = pair.values();
                let at = last + step;
                let second_at = at + second_step;
                set(at, first);
                set(second_at, second);
                if second_at >= 63 {
                    if at >= 63 {
                        // What was found behind it belongs to the next block.
                        reader.skip(pair.first_len());
                        break 'block at;
                    }
                    reader.skip(pair.len());
                    last = at;
                    break 'block second_at;
                }
                reader.skip(pair.len());
                last = second_at;
            } else {
                data.refill(&mut reader)?;
                let (step, [len, size]) = ac.single(pair, reader.bits)?;
                let at = last + step;
                set(at, value(reader.top(len + size), size) as i16);
                reader.skip(len + size);
                if at >= 63 {
                    break 'block at;
                }
                last = at;
            }
        }
    };
    data.reader = reader;
    match end {
        63 => Some(63),
        // A coefficient behind the last one.
        64..END => None,
        _ => Some(last),
    }
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::header::Codes;
    use super::*;

    /// Data read bit by bit.
    struct Slow<'a> {
        data: &'a [u8],
        at: usize,
    }

    impl Slow<'_> {
        fn bits(&mut self, count: usize) -> Option<u32> {
            let mut bits = 0;
            for at in self.at..self.at + count {
                let byte = self.data.get(at / 8)?;
                bits = bits << 1 | u32::from(byte >> (7 - at % 8) & 1);
            }
            self.at += count;
            Some(bits)
        }

        fn symbol(&mut self, codes: Codes<'_>) -> Option<u8> {
            let [mut code, mut first, mut index] = [0; 3];
            for &count in codes.counts {
                code = code << 1 | self.bits(1)?;
                first <<= 1;
                if code - first < u32::from(count) {
                    return Some(codes.symbols[(index + code - first) as usize]);
                }
                first += u32::from(count);
                index += u32::from(count);
            }
            None
        }

        fn value(&mut self, size: u8) -> Option<i32> {
            let bits = self.bits(size.into())? as i32;
            let is_negative = size > 0 && bits < 1 << (size - 1);
            Some(if is_negative {
                bits - (1 << size) + 1
            } else {
                bits
            })
        }

        /// The position of the last coefficient that is not 0, and all coefficients.
        fn block(&mut self, [dc, ac]: [Codes<'_>; 2], last_dc: &mut i32) -> Option<[i16; 64]> {
            let mut coefficients = [0; 64];
            let size = self.symbol(dc)?;
            *last_dc += self.value(size)?;
            if last_dc.abs() > LARGEST_DC {
                return None;
            }
            coefficients[0] = *last_dc as i16;
            let mut at = 0;
            while at < 63 {
                let symbol = self.symbol(ac)?;
                if symbol & 15 == 0 && symbol != 0xf0 {
                    break;
                }
                at += usize::from(symbol >> 4) + 1;
                let value = self.value(symbol & 15)?;
                if at > 63 {
                    return None;
                }
                coefficients[usize::from(ZIGZAG[at])] = value as i16;
            }
            Some(coefficients)
        }
    }

    /// Lengths of the codes of some symbols.
    fn random_counts(symbols: usize, random: &mut impl Rng) -> [u8; 16] {
        let mut lens = vec![1, 1];
        while lens.len() <= symbols {
            let at = random.random_range(0..lens.len());
            if lens[at] < 16 {
                lens[at] += 1;
                lens.push(lens[at]);
            }
        }
        lens.sort_unstable();
        // One code is not used.
        lens.truncate(symbols);
        let mut counts = [0; 16];
        for len in lens {
            counts[len - 1] += 1;
        }
        counts
    }

    #[test]
    fn coefficients_are_those_read_bit_by_bit() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let [mut blocks, mut damaged] = [0, 0];
        let mut tables = (DcTable::default(), AcTable::default());
        for _ in 0..400 {
            let mut dc_symbols: Vec<u8> = (0..=11).collect();
            let mut ac_symbols: Vec<u8> = (0..=255).filter(|symbol| symbol & 15 <= 10).collect();
            dc_symbols.shuffle(&mut random);
            ac_symbols.shuffle(&mut random);
            // Small values, and ends of blocks, are probable.
            let probable = [0x00, 0x01, 0x02, 0x11, 0xf0, 0x03, 0xe0];
            ac_symbols.splice(0..0, probable);
            ac_symbols.truncate(random.random_range(2..ac_symbols.len()));
            let [dc_counts, ac_counts] =
                [&dc_symbols, &ac_symbols].map(|all| random_counts(all.len(), &mut random));
            let dc = Codes {
                counts: &dc_counts,
                symbols: &dc_symbols,
            };
            let ac = Codes {
                counts: &ac_counts,
                symbols: &ac_symbols,
            };
            tables.0.compile(dc).unwrap();
            tables.1.compile(ac).unwrap();

            let data: Vec<u8> = (0..20_000).map(|_| random.random()).collect();
            let mut stuffed = Vec::new();
            for &byte in &data {
                stuffed.push(byte);
                if byte == 0xff {
                    stuffed.push(0);
                }
            }
            let mut slow = Slow { data: &data, at: 0 };
            let mut fast = Bits::new(&stuffed);
            let [mut slow_dc, mut fast_dc] = [0; 2];
            while let expected = slow.block([dc, ac], &mut slow_dc)
                && slow.at + 2048 < 8 * data.len()
            {
                let mut found = [0; 256];
                let last = read(&mut fast, (&tables.0, &tables.1), &mut fast_dc, &mut found);
                assert_eq!(last.is_some(), expected.is_some());
                let (Some(last), Some(expected)) = (last, expected) else {
                    damaged += 1;
                    break;
                };
                assert_eq!(found[..64], expected);
                let is_zero = |&index: &u8| expected[usize::from(index)] == 0;
                assert!(ZIGZAG[last + 1..].iter().all(is_zero));
                blocks += 1;
            }
        }
        assert!(blocks > 1000 && damaged > 100, "{blocks}, {damaged}");
    }
}
