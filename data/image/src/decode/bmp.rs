//! BMP: the colours that Pillow makes of each kind.

use super::RgbImage;
use super::bytes::{fit, unpack};
use crate::limits::Reserved;
use crate::{ImageError, Limits};

const FORMAT: &str = "BMP";

/// Length of the header before that of the bitmap.
const FILE_HEADER: usize = 14;

const RAW: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BIT_FIELDS: u32 = 3;

/// How a pixel is stored.
enum Layout {
    /// An index of 1, 4 or 8 bits.
    Indexed { bits: u32, colors: [[u8; 3]; 256] },
    /// Indices of 8 bits in runs; whether two of 4 bits are in a byte.
    Runs { four: bool, colors: [[u8; 3]; 256] },
    /// 5 bits of blue, 5 or 6 of green, and 5 of red, from the lowest.
    Sixteen { green: u32 },
    /// Bytes, and which of them is red, green and blue.
    Bytes { each: usize, rgb: [usize; 3] },
}

impl Layout {
    fn bits(&self) -> u32 {
        match self {
            Self::Indexed { bits, .. } => *bits,
            Self::Runs { .. } => 8,
            Self::Sixteen { .. } => 16,
            Self::Bytes { each, .. } => 8 * *each as u32,
        }
    }
}

pub(super) fn decode(
    encoded: &[u8],
    limits: &Limits,
    image: &mut RgbImage,
) -> Result<Reserved, ImageError> {
    let u16_at = |at| fit(encoded, at, 2, FORMAT).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let u32_at =
        |at| fit(encoded, at, 4, FORMAT).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let header_len = u32_at(FILE_HEADER)?;
    let old = header_len == 12;
    let (width, height, top_down, bits, compression, count) = match header_len {
        12 => {
            let [width, height] = [u16_at(18)?, u16_at(20)?].map(u32::from);
            (width, height, false, u16_at(24)?, RAW, 0)
        }
        40 | 52 | 56 | 64 | 108 | 124 => {
            let height = u32_at(22)?;
            // A negative height is that of rows from the top.
            let top_down = height >> 24 == 0xff;
            let height = if top_down {
                height.wrapping_neg()
            } else {
                height
            };
            let (compression, count) = (u32_at(30)?, u32_at(46)?);
            (
                u32_at(18)?,
                height,
                top_down,
                u16_at(28)?,
                compression,
                count,
            )
        }
        _ => {
            return Err(ImageError::unsupported(
                FORMAT,
                format!("has a header of {header_len} bytes"),
            ));
        }
    };
    let bits = u32::from(bits);
    if !matches!(bits, 1 | 4 | 8 | 16 | 24 | 32) {
        return Err(ImageError::unsupported(
            FORMAT,
            format!("has {bits} bits per pixel"),
        ));
    }
    // Memory per pixel: an index of runs, and three values.
    let reserved = limits.reserve(width, height, 4)?;

    let mut after_header = FILE_HEADER + header_len as usize;
    let mut offset = u32_at(10)? as usize;
    let count = if count == 0 { 1 << bits.min(16) } else { count };
    let entry = if old { 3 } else { 4 };
    if offset == after_header && bits <= 8 {
        // Where the palette is, by mistake.
        offset = offset.saturating_add(entry * count as usize);
    }
    let layout = match (compression, bits) {
        (RAW | RLE8 | RLE4, 1 | 4 | 8) => {
            let (colors, mode) = palette(encoded, after_header, entry, count)?;
            after_header = after_header.saturating_add(entry * count as usize);
            match (compression, mode) {
                (RAW, Mode::Colors) => Layout::Indexed { bits, colors },
                (RAW, Mode::Grey) => Layout::Indexed { bits: 8, colors },
                (RAW, Mode::BlackWhite) => Layout::Indexed { bits: 1, colors },
                (_, Mode::BlackWhite) => {
                    let reason = "has run-length encoding and a palette of black and white, which \
                                  versions of Pillow decode differently";
                    return Err(ImageError::unsupported(FORMAT, reason.to_owned()));
                }
                _ => Layout::Runs {
                    four: compression == RLE4,
                    colors,
                },
            }
        }
        (RAW, 16) => Layout::Sixteen { green: 5 },
        (RAW, 24 | 32) => Layout::Bytes {
            each: bits as usize / 8,
            rgb: [2, 1, 0],
        },
        (BIT_FIELDS, _) => {
            let mask = |i: usize| u32_at(54 + 4 * i);
            let alpha = if header_len >= 56 { mask(3)? } else { 0 };
            let masks = [mask(0)?, mask(1)?, mask(2)?];
            if header_len == 40 {
                after_header += 12;
            }
            bit_fields(bits, masks, alpha)?
        }
        (RLE8 | RLE4, _) => {
            let reason = format!("has run-length encoding and {bits} bits per pixel");
            return Err(ImageError::unsupported(FORMAT, reason));
        }
        (4, _) => {
            return Err(ImageError::unsupported(
                FORMAT,
                "contains a JPEG or 24-bit runs".to_owned(),
            ));
        }
        (5, _) => return Err(ImageError::unsupported(FORMAT, "contains a PNG".to_owned())),
        _ => {
            return Err(ImageError::unsupported(
                FORMAT,
                format!("has compression {compression}"),
            ));
        }
    };
    let begin = if offset == 0 { after_header } else { offset };
    let data = encoded
        .get(begin..)
        .ok_or_else(|| ImageError::truncated(FORMAT))?;

    let (columns, rows) = (width as usize, height as usize);
    let runs;
    let (data, stride) = match &layout {
        Layout::Runs { four, .. } => {
            runs = unpack_runs(data, begin, *four, [columns, rows])?;
            (&runs[..], columns)
        }
        _ => {
            let row = (u64::from(width) * u64::from(bits) + 31) >> 3 & !3;
            (data, row as usize)
        }
    };
    let line = (columns * layout.bits() as usize).div_ceil(8);
    if line > stride {
        return Err(ImageError::unsupported(
            FORMAT,
            format!("has {bits} bits per pixel and a palette of greys of another depth"),
        ));
    }
    // The last row need not be padded.
    if (rows - 1)
        .checked_mul(stride)
        .and_then(|len| len.checked_add(line))
        .is_none_or(|len| len > data.len())
    {
        return Err(ImageError::truncated(FORMAT));
    }
    let pixels = image.clear(width, height).as_chunks_mut::<3>().0;
    for (y, pixels) in pixels.chunks_exact_mut(columns).enumerate() {
        let y = if top_down { y } else { rows - 1 - y };
        let row = &data[y * stride..][..line];
        match &layout {
            Layout::Indexed { bits, colors } => unpack(row, *bits, pixels, colors),
            Layout::Runs { colors, .. } => unpack(row, 8, pixels, colors),
            Layout::Sixteen { green } => {
                for (pixel, &bytes) in pixels.iter_mut().zip(row.as_chunks().0) {
                    *pixel = sixteen(u16::from_le_bytes(bytes).into(), *green);
                }
            }
            Layout::Bytes { each, rgb } => {
                for (pixel, bytes) in pixels.iter_mut().zip(row.chunks_exact(*each)) {
                    *pixel = rgb.map(|at| bytes[at]);
                }
            }
        }
    }
    Ok(reserved)
}

/// The fields that Pillow knows; alpha is dropped.
fn bit_fields(bits: u32, masks: [u32; 3], alpha: u32) -> Result<Layout, ImageError> {
    let bytes = |rgb| Layout::Bytes {
        each: bits as usize / 8,
        rgb,
    };
    Ok(match (bits, masks, alpha) {
        (16, [0xf800, 0x7e0, 0x1f], _) => Layout::Sixteen { green: 6 },
        (16, [0x7c00, 0x3e0, 0x1f], _) => Layout::Sixteen { green: 5 },
        (24, [0xff_0000, 0xff00, 0xff], _)
        | (32, [0xff_0000, 0xff00, 0xff], 0 | 0xff00_0000)
        | (32, [0, 0, 0], 0) => bytes([2, 1, 0]),
        (32, [0xff00_0000, 0xff_0000, 0xff00], 0 | 0xff) => bytes([3, 2, 1]),
        (32, [0xff00_0000, 0xff00, 0xff], 0 | 0xff_0000) => bytes([3, 1, 0]),
        (32, [0xff, 0xff00, 0xff_0000], 0xff00_0000) => bytes([0, 1, 2]),
        _ => {
            let [r, g, b] = masks;
            return Err(ImageError::unsupported(
                FORMAT,
                format!(
                    "has the bit fields {r:x}, {g:x}, {b:x} and {alpha:x} in {bits} bits, which are not supported"
                ),
            ));
        }
    })
}

/// The pixel of a number of 15 or 16 bits, each channel stretched to 0..=255 and rounded down.
fn sixteen(pixel: u32, green: u32) -> [u8; 3] {
    let max = (1 << green) - 1;
    let channel = |at: u32, max: u32| (((pixel >> at) & max) * 255 / max) as u8;
    [channel(5 + green, 31), channel(5, max), channel(0, 31)]
}

/// What Pillow makes of indices, depending on the palette.
enum Mode {
    Colors,
    /// Index i is grey i: taken as grey values of 8 bits.
    Grey,
    /// Two colours, black and white: taken as 1 bit.
    BlackWhite,
}

/// The palette, black beyond its end.
fn palette(
    encoded: &[u8],
    at: usize,
    entry: usize,
    count: u32,
) -> Result<([[u8; 3]; 256], Mode), ImageError> {
    let mut colors = [[0; 3]; 256];
    if count > 256 {
        return Err(ImageError::unsupported(
            FORMAT,
            format!("has a palette of {count} colours"),
        ));
    }
    let stored = encoded.get(at..).unwrap_or_default();
    let stored = &stored[..stored.len().min(entry * count as usize)];
    for (color, bgr) in colors.iter_mut().zip(stored.chunks_exact(entry)) {
        *color = [bgr[2], bgr[1], bgr[0]];
    }
    if stored.len() < entry * count as usize {
        return Err(ImageError::truncated(FORMAT));
    }
    let grey = |i: u32| if count == 2 { 255 * i } else { i };
    let greys = (0..count).all(|i| colors[i as usize] == [grey(i) as u8; 3]);
    let mode = match (greys, count) {
        (false, _) => Mode::Colors,
        (true, 1) => {
            let reason =
                "has a palette of one colour, black, which versions of Pillow decode differently";
            return Err(ImageError::unsupported(FORMAT, reason.to_owned()));
        }
        (true, 2) => Mode::BlackWhite,
        (true, _) => {
            // Values beyond the palette are greys, too.
            colors = std::array::from_fn(|i| [i as u8; 3]);
            Mode::Grey
        }
    };
    Ok((colors, mode))
}

/// Indices of all pixels, one per byte, from runs. `begin` is the position of the data in the file.
fn unpack_runs(
    data: &[u8],
    begin: usize,
    four: bool,
    [columns, rows]: [usize; 2],
) -> Result<Vec<u8>, ImageError> {
    let len = columns * rows;
    let mut out: Vec<u8> = Vec::with_capacity(len);
    let mut at = 0;
    let mut x = 0;
    while out.len() < len {
        let &[run, value] = fit(data, at, 2, FORMAT)? else {
            unreachable!("two bytes were requested")
        };
        at += 2;
        let room = len - out.len();
        match (run, value) {
            (0, 0) => {
                out.resize(out.len().next_multiple_of(columns), 0);
                x = 0;
            }
            // The end of the image, before all pixels are there.
            (0, 1) => return Err(ImageError::truncated(FORMAT)),
            (0, 2) => {
                let skip = fit(data, at, 2, FORMAT)?;
                at += 2;
                let skip = usize::from(skip[0]) + usize::from(skip[1]) * columns;
                out.resize(out.len() + skip.min(room), 0);
                x = out.len() % columns;
            }
            (0, run) => {
                let run = usize::from(run);
                if four && run % 2 == 1 {
                    let reason = "has 4-bit runs of an odd number of pixels, which Pillow 12 and 13 decode differently";
                    return Err(ImageError::unsupported(FORMAT, reason.to_owned()));
                }
                let count = run.min(room);
                let bytes = fit(
                    data,
                    at,
                    if four { count.div_ceil(2) } else { count },
                    FORMAT,
                )?;
                if four {
                    let indices = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                    out.extend(indices.take(count));
                } else {
                    out.extend_from_slice(bytes);
                }
                at += bytes.len();
                // Aligned in the file.
                at += (begin + at) % 2;
                x += run;
            }
            (run, value) => {
                // What does not fit into the row is dropped.
                let run = usize::from(run).min(columns.saturating_sub(x)).min(room);
                if four {
                    out.extend((0..run).map(|i| if i % 2 == 0 { value >> 4 } else { value & 15 }));
                } else {
                    out.resize(out.len() + run, value);
                }
                x += run;
            }
        }
    }
    Ok(out)
}
