//! PBM, PGM and PPM (P1 to P6), and PFM: with Pillow's rules for comments and scaling.

use super::RgbImage;
use super::bytes::{fit, unpack};
use crate::limits::Reserved;
use crate::{ImageError, Limits};

const FORMAT: &str = "PNM";

/// Longest number in a header or in plain data.
const MAX_DIGITS: usize = 10;

/// Whether a file is one of the family: `P`, a letter or digit, and white space.
pub(super) fn is_signature(encoded: &[u8]) -> bool {
    matches!(encoded, [b'P', b'1'..=b'7' | b'F' | b'f', space, ..] if is_space(*space))
}

pub(super) fn decode(
    encoded: &[u8],
    limits: &Limits,
    image: &mut RgbImage,
) -> Result<Reserved, ImageError> {
    let kind = encoded[1];
    match kind {
        b'7' => {
            return Err(ImageError::unsupported(
                FORMAT,
                "is a PAM file (P7)".to_owned(),
            ));
        }
        b'F' => {
            return Err(ImageError::unsupported(
                FORMAT,
                "is a PFM file of colours (PF)".to_owned(),
            ));
        }
        _ => {}
    }
    let mut header = Header {
        rest: &encoded[3..],
    };
    let (width, height) = (header.number()?, header.number()?);
    let channels = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
    // Memory per pixel: three values, as the samples are not copied.
    let reserved = limits.reserve(width, height, 3)?;
    let (columns, rows) = (width as usize, height as usize);
    let samples = columns * rows * channels;

    match kind {
        b'1' => {
            let text = without_comments(header.rest);
            let mut bits = text.iter().filter(|&&byte| !is_space(byte));
            for pixel in image.clear(width, height).as_chunks_mut::<3>().0 {
                *pixel = match bits.next().ok_or_else(|| ImageError::truncated(FORMAT))? {
                    b'0' => [255; 3],
                    b'1' => [0; 3],
                    &other => return Err(invalid(&[other])),
                };
            }
            if let Some(other) = bits.find(|byte| !matches!(byte, b'0' | b'1')) {
                return Err(invalid(&[*other]));
            }
        }
        b'4' => {
            let stride = columns.div_ceil(8);
            let data = fit(header.rest, 0, stride * rows, FORMAT)?;
            let mut colors = [[0; 3]; 256];
            colors[0] = [255; 3];
            let pixels = image.clear(width, height).as_chunks_mut::<3>().0;
            for (pixels, row) in pixels
                .chunks_exact_mut(columns)
                .zip(data.chunks_exact(stride))
            {
                unpack(row, 1, pixels, &colors);
            }
        }
        b'f' => float_map(&mut header, [width, height], image)?,
        b'2' | b'3' => {
            let scale = Scale::new(header.number()?, channels)?;
            let text = without_comments(header.rest);
            let mut words = text
                .split(|&byte| is_space(byte))
                .filter(|word| !word.is_empty());
            fill(image.clear(width, height), channels, || {
                let value = parse(words.next().ok_or_else(|| ImageError::truncated(FORMAT))?)?;
                if value > scale.max {
                    return Err(ImageError::corrupt(
                        FORMAT,
                        format!("the value {value} is over the maximum of {}", scale.max),
                    ));
                }
                Ok(scale.apply(value))
            })?;
        }
        _ => {
            let scale = Scale::new(header.number()?, channels)?;
            let wide = scale.max > 255;
            let len = samples * if wide { 2 } else { 1 };
            let data = fit(header.rest, 0, len, FORMAT)?;
            let out = image.clear(width, height);
            if !wide && scale.max == 255 && channels == 3 {
                out.copy_from_slice(data);
            } else if wide {
                let mut values = data.as_chunks().0.iter();
                fill(out, channels, || {
                    let bytes = values.next().ok_or_else(|| ImageError::truncated(FORMAT))?;
                    Ok(scale.apply(u16::from_be_bytes(*bytes).into()))
                })?;
            } else {
                let table: [u8; 256] = std::array::from_fn(|value| scale.apply(value as u32));
                let mut values = data.iter();
                fill(out, channels, || {
                    Ok(table
                        [usize::from(*values.next().ok_or_else(|| ImageError::truncated(FORMAT))?)])
                })?;
            }
        }
    }
    Ok(reserved)
}

/// How samples become 8 bits.
struct Scale {
    max: u32,
    /// What `max` becomes: 65,535 for grey of more than 8 bits, which is then cut off at 255.
    out: u32,
}

impl Scale {
    fn new(max: u32, channels: usize) -> Result<Self, ImageError> {
        if !(1..=65535).contains(&max) {
            return Err(ImageError::corrupt(
                FORMAT,
                format!("the maximum of its values is {max}"),
            ));
        }
        let out = if max > 255 && channels == 1 {
            65535
        } else {
            255
        };
        Ok(Self { max, out })
    }

    fn apply(&self, value: u32) -> u8 {
        let scaled = f64::from(value) / f64::from(self.max) * f64::from(self.out);
        // Python rounds halves to even. Both cut off values over the maximum, and at 255.
        scaled.round_ties_even().min(255.0) as u8
    }
}

/// Fills pixels with samples of one or three channels.
fn fill(
    out: &mut [u8],
    channels: usize,
    mut next: impl FnMut() -> Result<u8, ImageError>,
) -> Result<(), ImageError> {
    if channels == 3 {
        for value in out {
            *value = next()?;
        }
    } else {
        for pixel in out.as_chunks_mut::<3>().0 {
            *pixel = [next()?; 3];
        }
    }
    Ok(())
}

/// Grey values as floats, rows from the bottom, cut off at 0 and 255.
fn float_map(
    header: &mut Header<'_>,
    [width, height]: [u32; 2],
    image: &mut RgbImage,
) -> Result<(), ImageError> {
    let word = header.word()?;
    let scale: Option<f64> = std::str::from_utf8(&word)
        .ok()
        .and_then(|word| word.parse().ok());
    let Some(scale) = scale.filter(|scale| scale.is_finite() && *scale != 0.0) else {
        return Err(invalid(&word));
    };
    let columns = width as usize;
    let data = fit(header.rest, 0, 4 * columns * height as usize, FORMAT)?;
    let rows = image.clear(width, height).chunks_exact_mut(3 * columns);
    for (row, values) in rows.rev().zip(data.chunks_exact(4 * columns)) {
        for (pixel, &bytes) in row.as_chunks_mut().0.iter_mut().zip(values.as_chunks().0) {
            let value = if scale < 0.0 {
                f32::from_le_bytes(bytes)
            } else {
                f32::from_be_bytes(bytes)
            };
            *pixel = [value as u8; 3];
        }
    }
    Ok(())
}

/// What remains of the file after the words read so far.
struct Header<'a> {
    rest: &'a [u8],
}

impl Header<'_> {
    /// The next word, and the white space after it. A comment inside a word does not end it.
    fn word(&mut self) -> Result<Vec<u8>, ImageError> {
        let mut word = Vec::new();
        while word.len() <= MAX_DIGITS {
            let Some((&byte, rest)) = self.rest.split_first() else {
                break;
            };
            self.rest = rest;
            if byte == b'#' {
                let end = self
                    .rest
                    .iter()
                    .position(|byte| matches!(byte, b'\r' | b'\n'));
                self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
            } else if !is_space(byte) {
                word.push(byte);
            } else if !word.is_empty() {
                break;
            }
        }
        if word.is_empty() {
            return Err(ImageError::truncated(FORMAT));
        }
        Ok(word)
    }

    fn number(&mut self) -> Result<u32, ImageError> {
        parse(&self.word()?)
    }
}

/// Plain data without comments, each with the end of its line.
fn without_comments(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(data.len());
    let mut in_comment = false;
    for &byte in data {
        match byte {
            b'\r' | b'\n' if in_comment => in_comment = false,
            b'#' => in_comment = true,
            _ if !in_comment => text.push(byte),
            _ => {}
        }
    }
    text
}

fn parse(word: &[u8]) -> Result<u32, ImageError> {
    let digits = word.len() <= MAX_DIGITS && word.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(word).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid(word))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn invalid(word: &[u8]) -> ImageError {
    let word = &word[..word.len().min(MAX_DIGITS + 1)];
    ImageError::corrupt(FORMAT, format!("`{}` is not a number", word.escape_ascii()))
}
