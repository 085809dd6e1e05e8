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
