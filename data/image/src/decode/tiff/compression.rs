//! Compressed strips and tiles, as libtiff decodes them.

use std::convert::Infallible;

use fax::Color;
use fax::decoder::{DecodeError, DecodeStatus, Group4Decoder, pels};
use flate2::{Decompress, FlushDecompress, Status};

use super::FORMAT;
use crate::ImageError;

/// How strips and tiles are compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Compression {
    None,
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
    /// CCITT Group 4, of one bit per pixel.
    Group4,
}

impl Compression {
    pub(super) fn of(tag: u64) -> Result<Self, ImageError> {
        let name = match tag {
            1 => return Ok(Self::None),
            5 => return Ok(Self::Lzw),
            7 => return Ok(Self::Jpeg),
            8 | 32946 => return Ok(Self::Deflate),
            32773 => return Ok(Self::PackBits),
            4 => return Ok(Self::Group4),
            2 | 3 => "CCITT Group 3 fax",
            6 => "old-style JPEG",
            32771 => "16-bit padded",
            32809 => "ThunderScan",
            34676 | 34677 => "SGI LogLuv",
            34925 => "LZMA",
            50000 | 34926 => "Zstandard",
            50001 => "WebP",
            50002 => "JPEG XL",
            34712 | 33003 | 33005 => "JPEG 2000",
            _ => {
                return Err(ImageError::unsupported(
                    FORMAT,
                    format!("has compression {tag}"),
                ));
            }
        };
        Err(ImageError::unsupported(
            FORMAT,
            format!("has {name} compression"),
        ))
    }

    /// Decompresses a strip or tile of this width to exactly the length of `out`; not JPEG.
    pub(super) fn decompress(
        self,
        data: &[u8],
        width: usize,
        out: &mut [u8],
    ) -> Result<(), ImageError> {
        match self {
            Self::None | Self::Jpeg => {
                let data = data
                    .get(..out.len())
                    .ok_or_else(|| ImageError::truncated(FORMAT))?;
                out.copy_from_slice(data);
                Ok(())
            }
            Self::Lzw => lzw(data, out),
            Self::Deflate => deflate(data, out),
            Self::PackBits => pack_bits(data, out),
            Self::Group4 => group_4(data, width, out),
        }
    }
}

fn deflate(data: &[u8], out: &mut [u8]) -> Result<(), ImageError> {
    let mut decoder = Decompress::new(true);
    loop {
        let (consumed, written) = (decoder.total_in() as usize, decoder.total_out() as usize);
        let status = decoder
            .decompress(
                &data[consumed..],
                &mut out[written..],
                FlushDecompress::None,
            )
            .map_err(|error| ImageError::corrupt(FORMAT, error.to_string()))?;
        if decoder.total_out() as usize == out.len() {
            return Ok(());
        }
        let moved =
            decoder.total_in() as usize > consumed || decoder.total_out() as usize > written;
        if status == Status::StreamEnd || !moved {
            return Err(ImageError::truncated(FORMAT));
        }
    }
}

fn pack_bits(mut data: &[u8], out: &mut [u8]) -> Result<(), ImageError> {
    let mut at = 0;
    while at < out.len() {
        let (&head, rest) = data
            .split_first()
            .ok_or_else(|| ImageError::truncated(FORMAT))?;
        data = rest;
        let room = out.len() - at;
        match head as i8 {
            -128 => {}
            run @ ..0 => {
                let run = (1 - isize::from(run)) as usize;
                let (&value, rest) = data
                    .split_first()
                    .ok_or_else(|| ImageError::truncated(FORMAT))?;
                data = rest;
                let run = run.min(room);
                out[at..at + run].fill(value);
                at += run;
            }
            len => {
                let len = (len as usize + 1).min(room);
                let values = data
                    .get(..len)
                    .ok_or_else(|| ImageError::truncated(FORMAT))?;
                out[at..at + len].copy_from_slice(values);
                data = &data[len..];
                at += len;
            }
        }
    }
    Ok(())
}

/// Rows of white (0) and black (1) runs, each coded with the row above it.
fn group_4(data: &[u8], width: usize, out: &mut [u8]) -> Result<(), ImageError> {
    let error = |error: DecodeError<Infallible>| {
        ImageError::corrupt(FORMAT, format!("Group 4 code: {error:?}"))
    };
    let columns = u16::try_from(width).map_err(|_| {
        ImageError::unsupported(
            FORMAT,
            format!("has Group 4 compression and a width of {width}"),
        )
    })?;
    let bytes = data.iter().copied().map(Ok::<u8, Infallible>);
    let Ok(mut decoder) = Group4Decoder::new(bytes, columns);
    for row in out.chunks_exact_mut(width.div_ceil(8)) {
        if decoder.advance().map_err(error)? == DecodeStatus::End {
            return Err(ImageError::truncated(FORMAT));
        }
        row.fill(0);
        for (x, pixel) in pels(decoder.transition(), columns).enumerate() {
            if pixel == Color::Black {
                row[x / 8] |= 0x80 >> (x % 8);
            }
        }
    }
    Ok(())
}

const CLEAR: usize = 256;
const END: usize = 257;
const MAX_CODES: usize = 4096;

/// LZW with codes of 9 to 12 bits, highest bit first, that widen one code early.
fn lzw(data: &[u8], out: &mut [u8]) -> Result<(), ImageError> {
    if let [0, second, ..] = data
        && second & 1 == 1
    {
        return Err(ImageError::unsupported(
            FORMAT,
            "has old-style LZW compression".to_owned(),
        ));
    }
    // A code is a piece of what was written: its start and length.
    let mut pieces: Vec<(usize, usize)> = Vec::with_capacity(MAX_CODES);
    let (mut bits, mut available) = (0u32, 0);
    let mut input = data.iter();
    let mut width = 9;
    let mut previous: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < out.len() {
        while available < width {
            let byte = input.next().ok_or_else(|| ImageError::truncated(FORMAT))?;
            bits = bits << 8 | u32::from(*byte);
            available += 8;
        }
        available -= width;
        let code = (bits >> available) as usize & ((1 << width) - 1);
        if code == CLEAR {
            pieces.clear();
            width = 9;
            previous = None;
            continue;
        }
        if code == END {
            return Err(ImageError::truncated(FORMAT));
        }
        let begin = at;
        let next = END + 1 + pieces.len();
        let (from, len) = if code < CLEAR {
            (None, 1)
        } else if let Some(&(from, len)) = pieces.get(code - END - 1) {
            (Some(from), len)
        } else {
            match previous {
                // The piece that this code completes: the previous one, and its first byte.
                Some((from, len)) if code == next => (Some(from), len + 1),
                _ => {
                    return Err(ImageError::corrupt(
                        FORMAT,
                        format!("LZW code {code} is not defined"),
                    ));
                }
            }
        };
        let len_here = len.min(out.len() - at);
        match from {
            None => out[at] = code as u8,
            // Pieces may overlap what they write.
            Some(from) => (0..len_here).for_each(|i| out[at + i] = out[from + i]),
        }
        at += len_here;
        if let Some((from, len)) = previous
            && next < MAX_CODES
        {
            // The previous piece and the byte after it.
            pieces.push((from, len + 1));
        }
        previous = Some((begin, len));
        let next = END + 1 + pieces.len();
        // 9 bits up to code 510, 10 up to 1022, and so on.
        width = (next + 1).ilog2().clamp(8, 11) + 1;
    }
    Ok(())
}

/// Replaces differences by values in rows of `row` bytes.
pub(super) fn undo_predictor(
    predictor: u64,
    bits: u32,
    samples: usize,
    big_endian: bool,
    row: usize,
    data: &mut [u8],
) -> Result<(), ImageError> {
    match (predictor, bits) {
        (1, _) => {}
        (2, 8) => {
            for row in data.chunks_exact_mut(row) {
                for i in samples..row.len() {
                    row[i] = row[i].wrapping_add(row[i - samples]);
                }
            }
        }
        (2, 16) => differences::<2>(samples, big_endian, row, data),
        (2, 32) => differences::<4>(samples, big_endian, row, data),
        (3, 32) => {
            let mut bytes = vec![0; row];
            for row in data.chunks_exact_mut(row) {
                for i in samples..row.len() {
                    row[i] = row[i].wrapping_add(row[i - samples]);
                }
                // Four planes of bytes, the highest first.
                bytes.copy_from_slice(row);
                let plane = bytes.len() / 4;
                for (i, value) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    let planes: [u8; 4] = std::array::from_fn(|k| bytes[k * plane + i]);
                    *value = f32::from_be_bytes(planes).to_le_bytes();
                }
            }
        }
        _ => {
            return Err(ImageError::unsupported(
                FORMAT,
                format!("has predictor {predictor} with {bits} bits per sample"),
            ));
        }
    }
    Ok(())
}

fn differences<const N: usize>(samples: usize, big_endian: bool, row: usize, data: &mut [u8]) {
    for row in data.chunks_exact_mut(row) {
        let values = row.as_chunks_mut::<N>().0;
        for i in samples..values.len() {
            let (mut left, mut value) = (values[i - samples], values[i]);
            if big_endian {
                left.reverse();
                value.reverse();
            }
            let mut carry = 0;
            for (value, left) in value.iter_mut().zip(left) {
                let sum = u16::from(*value) + u16::from(left) + carry;
                *value = sum as u8;
                carry = sum >> 8;
            }
            if big_endian {
                value.reverse();
            }
            values[i] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_runs_and_copies() {
        let mut out = [0; 24];
        // The example of Apple's technical note TN1023.
        let packed = b"\xfe\xaa\x02\x80\x00\x2a\xfd\xaa\x03\x80\x00\x2a\x22\xf7\xaa";
        pack_bits(packed, &mut out).unwrap();
        let expected = b"\xaa\xaa\xaa\x80\x00\x2a\xaa\xaa\xaa\xaa\x80\x00\x2a\x22\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa";
        assert_eq!(&out, expected);
        assert!(pack_bits(&packed[..5], &mut out).is_err());
    }

    #[test]
    fn an_lzw_code_may_be_the_one_that_it_completes() {
        // Clear, 7, then 258 = 7 7, then 259 = 7 7 7, end: 9 bits each.
        let codes = [256u64, 7, 258, 259, 257];
        let bits = codes.iter().fold(0u64, |bits, code| bits << 9 | code) << 3;
        let mut out = [0; 6];
        lzw(&bits.to_be_bytes()[2..], &mut out).unwrap();
        assert_eq!(out, [7; 6]);
        assert!(lzw(&bits.to_be_bytes()[2..], &mut [0; 7]).is_err());
    }

    #[test]
    fn differences_of_numbers_carry() {
        let mut data = [0xff, 0x00, 0x01, 0x00, 0x02, 0xff];
        undo_predictor(2, 16, 1, false, 6, &mut data).unwrap();
        assert_eq!(data, [0xff, 0x00, 0x00, 0x01, 0x02, 0x00]);
        let mut data = [0x00, 0xff, 0x00, 0x01];
        undo_predictor(2, 16, 1, true, 4, &mut data).unwrap();
        assert_eq!(data, [0x00, 0xff, 0x01, 0x00]);
    }
}
