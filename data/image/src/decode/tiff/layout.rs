//! Kinds of pixels: those that Pillow reads, and what it makes of them.

use super::super::bytes::unpack;
use super::FORMAT;
use super::compression::Compression;
use super::directory::Order;
use crate::ImageError;

/// What the tags say about pixels.
pub(super) struct Tags {
    pub(super) order: Order,
    pub(super) photometric: u64,
    /// Once if all samples have the same.
    pub(super) sample_formats: Vec<u64>,
    pub(super) fill_order: u64,
    /// One per sample.
    pub(super) bits: Vec<u64>,
    pub(super) extra: Vec<u64>,
    pub(super) compression: Compression,
    /// Whether each sample has a plane of its own.
    pub(super) planar: bool,
    pub(super) tiled: bool,
    /// Samples in the file, including those that are ignored.
    pub(super) stored_samples: usize,
}

/// How the interleaved samples of a row become colours.
pub(super) enum Layout {
    /// One index or grey of at most 8 bits.
    Indexed {
        bits: u32,
        colors: Box<[[u8; 3]; 256]>,
    },
    /// The first of several bytes is an index or grey.
    FirstByte {
        step: usize,
        colors: Box<[[u8; 3]; 256]>,
    },
    /// 12 bits, cut off at 255.
    Twelve,
    /// Numbers that are cut off at 0 and 255.
    Numbers(Number, Order),
    /// Red, green and blue in bytes or the high bytes of 16 bits, with `step` bytes per pixel.
    Rgb { channel: Channel, step: usize },
    /// Multiplied by the fourth channel.
    Premultiplied { channel: Channel, step: usize },
    /// Inks: cyan, magenta, yellow and black.
    Cmyk { channel: Channel, step: usize },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Number {
    U16,
    I16,
    I32,
    F32,
}

/// Where the byte of each channel is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Channel {
    width: usize,
    high: usize,
}

impl Channel {
    fn byte(self, pixel: &[u8], channel: usize) -> u8 {
        pixel[channel * self.width + self.high]
    }
}

impl Tags {
    /// The layout for these tags.
    ///
    /// # Errors
    /// If Pillow does not read such files, reads them wrongly, or its versions differ.
    pub(super) fn layout(&self, color_map: &[u64]) -> Result<Layout, ImageError> {
        use Order::{Big, Little};

        let &[format] = self.sample_formats.as_slice() else {
            return Err(self.not_read());
        };
        let &bits = self.bits.first().ok_or_else(|| self.not_read())?;
        let all = |bits| self.bits.iter().all(|&other| other == bits);
        let reversed = self.fill_order == 2;
        let compressed = self.compression != Compression::None;
        // Not reversed after decompression.
        let in_file = self.order;
        let layout = match (self.photometric, self.bits.len(), self.extra.as_slice()) {
            (0 | 1, 1, []) => match (bits, format, self.photometric, in_file) {
                (1 | 2 | 4 | 8, 1, ..) | (8, 2, 1, _) if format == 1 || !reversed => {
                    Layout::Indexed {
                        bits: bits as u32,
                        colors: greys(bits as u32, self.photometric == 0),
                    }
                }
                (12, 1, 1, Little) if !reversed => Layout::Twelve,
                (16, 1, 0, Little) if !reversed => Layout::Numbers(Number::U16, in_file),
                (16, 1, 1, Little) => Layout::Numbers(Number::U16, in_file),
                (16, 1, 1, Big) if !reversed => Layout::Numbers(Number::U16, in_file),
                (16, 2, 1, _) if !reversed => Layout::Numbers(Number::I16, in_file),
                (32, 1, 1, Little) | (32, 2, 1, _) if !reversed => {
                    Layout::Numbers(Number::I32, in_file)
                }
                (32, 3, ..) if !reversed => Layout::Numbers(Number::F32, in_file),
                _ => return Err(self.not_read()),
            },
            // The first is not read by Pillow 12.
            (1, 2, [0 | 2]) if all(8) && format == 1 && !reversed => Layout::FirstByte {
                step: 2,
                colors: greys(8, false),
            },
            (3, 1, []) if matches!(bits, 1 | 2 | 4 | 8) && format == 1 => Layout::Indexed {
                bits: bits as u32,
                colors: palette(color_map, bits as u32)?,
            },
            (3, 2, [0 | 2]) if all(8) && format == 1 && !reversed => Layout::FirstByte {
                step: 2,
                colors: palette(color_map, 8)?,
            },
            (6, 1, []) if bits == 8 && format == 1 && !reversed => Layout::Indexed {
                bits: 8,
                colors: greys(8, false),
            },
            (2, samples, extra) if (all(8) || all(16)) && format == 1 => {
                let channel = self.channel(bits);
                let step = samples * channel.width;
                match extra {
                    [] if samples == 3 && (!reversed || bits == 8) => Layout::Rgb { channel, step },
                    // Planes are taken as premultiplied if their tag is missing.
                    [] if samples == 4 && !reversed && self.planar && compressed => {
                        Layout::Premultiplied { channel, step }
                    }
                    // Extra samples may lack their tag.
                    [] if samples == 4 && !reversed => Layout::Rgb { channel, step },
                    [kind, rest @ ..]
                        if !reversed
                            && samples == 4 + rest.len()
                            && rest.iter().all(|&kind| kind == 0)
                            && (rest.is_empty() || bits == 8 && rest.len() <= 2) =>
                    {
                        match kind {
                            0 | 2 => Layout::Rgb { channel, step },
                            1 => Layout::Premultiplied { channel, step },
                            999 if bits == 8 && rest.is_empty() => Layout::Rgb { channel, step },
                            _ => return Err(self.not_read()),
                        }
                    }
                    _ => return Err(self.not_read()),
                }
            }
            (5, samples, extra)
                if (all(8) || all(16) && extra.is_empty())
                    && format == 1
                    && !reversed
                    && samples == 4 + extra.len()
                    && extra.len() <= 2
                    && extra.iter().all(|&kind| kind == 0) =>
            {
                let channel = self.channel(bits);
                let step = samples * channel.width;
                Layout::Cmyk { channel, step }
            }
            (6, 3, []) if all(8) && format == 1 && !reversed => {
                if self.compression != Compression::Jpeg || self.planar {
                    let reason = "holds YCbCr pixels without JPEG compression, or in separate \
                                  planes, which are not supported";
                    return Err(ImageError::unsupported(FORMAT, reason.to_owned()));
                }
                let channel = self.channel(8);
                Layout::Rgb { channel, step: 3 }
            }
            _ => return Err(self.not_read()),
        };
        // libtiff returns numbers in the order of the machine, and Pillow swaps them again.
        if compressed
            && in_file == Big
            && matches!(
                layout,
                Layout::Numbers(Number::I16 | Number::I32 | Number::F32, _)
            )
        {
            return Err(ImageError::unsupported(
                FORMAT,
                format!(
                    "holds compressed {} in big-endian byte order, whose bytes Pillow mixes up",
                    self.kind()
                ),
            ));
        }
        self.check_planes(&layout, bits)?;
        self.check_jpeg(&layout, bits)?;
        let one_bit = matches!(layout, Layout::Indexed { bits: 1, .. });
        if self.compression == Compression::Group4 && !one_bit {
            let kind = self.kind();
            return Err(ImageError::unsupported(
                FORMAT,
                format!("holds {kind} under fax compression, which are not supported"),
            ));
        }
        Ok(layout)
    }

    fn channel(&self, bits: u64) -> Channel {
        let width = bits as usize / 8;
        let high = match self.order {
            Order::Little => width - 1,
            Order::Big => 0,
        };
        Channel { width, high }
    }

    /// Rejects planes that Pillow does not put together.
    fn check_planes(&self, layout: &Layout, bits: u64) -> Result<(), ImageError> {
        if !self.planar {
            return Ok(());
        }
        let samples = self.bits.len();
        let read = if self.compression == Compression::None {
            // Each plane is read as 8 bits.
            let inverted = self.photometric == 0;
            let plain = match layout {
                Layout::Indexed { bits: 1, .. } => self.photometric == 1,
                Layout::Indexed { bits: 8, .. } => !inverted,
                Layout::Rgb { .. } | Layout::Cmyk { .. } => {
                    let premultiplied = self.extra.contains(&1);
                    let tag_missing =
                        samples == 4 && self.extra.is_empty() && self.photometric == 2;
                    bits == 8 && samples <= 4 && !premultiplied && !(self.tiled && tag_missing)
                }
                _ => false,
            };
            plain && self.fill_order == 1 && self.stored_samples == samples
        } else {
            samples <= 4
        };
        if read {
            return Ok(());
        }
        Err(ImageError::unsupported(
            FORMAT,
            format!(
                "holds {} in separate planes, which are not supported",
                self.kind()
            ),
        ))
    }

    fn check_jpeg(&self, layout: &Layout, bits: u64) -> Result<(), ImageError> {
        if self.compression != Compression::Jpeg {
            return Ok(());
        }
        let read = match layout {
            Layout::Indexed { bits: 8, .. } => self.photometric != 3,
            Layout::Rgb { .. } | Layout::Premultiplied { .. } | Layout::Cmyk { .. } => {
                bits == 8 && self.bits.len() <= 4
            }
            _ => false,
        };
        if read {
            return Ok(());
        }
        let kind = self.kind();
        Err(ImageError::unsupported(
            FORMAT,
            format!("holds {kind} under JPEG compression, which are not supported"),
        ))
    }

    fn not_read(&self) -> ImageError {
        ImageError::unsupported(
            FORMAT,
            format!("holds {}, which are not supported", self.kind()),
        )
    }

    /// The kind of pixels in words, such as `RGB pixels of 16 bits per channel`.
    pub(super) fn kind(&self) -> String {
        let colors = match self.photometric {
            0 => "grey (0 is white)",
            1 => "grey",
            2 => "RGB",
            3 => "palette",
            4 => "mask",
            5 => "CMYK",
            6 => "YCbCr",
            8 => "CIELab",
            9 => "ICCLab",
            10 => "ITULab",
            32803 => "raw camera (CFA)",
            34892 => "linear raw camera",
            32844 | 32845 => "LogLuv",
            _ => "unknown",
        };
        let bits = match self.bits.as_slice() {
            [first, rest @ ..] if rest.iter().all(|bits| bits == first) => first.to_string(),
            bits => {
                let bits: Vec<String> = bits.iter().map(u64::to_string).collect();
                bits.join("+")
            }
        };
        let format = match self.sample_formats.as_slice() {
            [1] => "",
            [2] => " (signed)",
            [3] => " (floating point)",
            _ => " (of another number format)",
        };
        let extra = match self.extra.as_slice() {
            [] => String::new(),
            [1] => " with premultiplied alpha".to_owned(),
            [2] => " with alpha".to_owned(),
            extra => format!(" with {} extra channels", extra.len()),
        };
        let reversed = if self.fill_order == 2 {
            " in reversed bit order"
        } else {
            ""
        };
        format!("{colors} pixels of {bits} bits per channel{format}{extra}{reversed}")
    }
}

impl Layout {
    /// The colours of a row of interleaved samples.
    pub(super) fn colors(&self, row: &[u8], pixels: &mut [[u8; 3]]) {
        match self {
            Self::Indexed { bits, colors } => unpack(row, *bits, pixels, colors),
            Self::FirstByte { step, colors } => {
                for (pixel, bytes) in pixels.iter_mut().zip(row.chunks_exact(*step)) {
                    *pixel = colors[usize::from(bytes[0])];
                }
            }
            Self::Twelve => {
                for (pixels, bytes) in pixels.chunks_mut(2).zip(row.chunks(3)) {
                    let byte = |i: usize| u16::from(bytes.get(i).copied().unwrap_or(0));
                    let values = [byte(0) << 4 | byte(1) >> 4, (byte(1) & 0xf) << 8 | byte(2)];
                    for (pixel, value) in pixels.iter_mut().zip(values) {
                        *pixel = [value.min(255) as u8; 3];
                    }
                }
            }
            Self::Numbers(number, order) => {
                let little = *order == Order::Little;
                match number {
                    Number::U16 => each(row, pixels, little, |bytes| {
                        u16::from_le_bytes(bytes).min(255) as u8
                    }),
                    Number::I16 => each(row, pixels, little, |bytes| {
                        i16::from_le_bytes(bytes).clamp(0, 255) as u8
                    }),
                    Number::I32 => each(row, pixels, little, |bytes| {
                        i32::from_le_bytes(bytes).clamp(0, 255) as u8
                    }),
                    // Rounded down; not a number is 0.
                    Number::F32 => {
                        each(row, pixels, little, |bytes| f32::from_le_bytes(bytes) as u8)
                    }
                }
            }
            Self::Rgb { channel, step } => {
                for (pixel, samples) in pixels.iter_mut().zip(row.chunks_exact(*step)) {
                    *pixel = [0, 1, 2].map(|i| channel.byte(samples, i));
                }
            }
            Self::Premultiplied { channel, step } => {
                for (pixel, samples) in pixels.iter_mut().zip(row.chunks_exact(*step)) {
                    let alpha = u32::from(channel.byte(samples, 3));
                    *pixel = [0, 1, 2].map(|i| {
                        let value = u32::from(channel.byte(samples, i)) * 255;
                        value.checked_div(alpha).unwrap_or(0).min(255) as u8
                    });
                }
            }
            Self::Cmyk { channel, step } => {
                for (pixel, samples) in pixels.iter_mut().zip(row.chunks_exact(*step)) {
                    let [c, m, y, k] = [0, 1, 2, 3].map(|i| 255 - channel.byte(samples, i));
                    *pixel = super::super::jpeg::rgb_of_inverted([c, m, y, k]);
                }
            }
        }
    }
}

/// Greys from numbers of `N` bytes.
fn each<const N: usize>(
    row: &[u8],
    pixels: &mut [[u8; 3]],
    little: bool,
    grey: impl Fn([u8; N]) -> u8,
) {
    for (pixel, &bytes) in pixels.iter_mut().zip(row.as_chunks().0) {
        let mut bytes = bytes;
        if !little {
            bytes.reverse();
        }
        *pixel = [grey(bytes); 3];
    }
}

/// Greys of all values of so many bits.
fn greys(bits: u32, inverted: bool) -> Box<[[u8; 3]; 256]> {
    let max = 0xff >> (8 - bits);
    Box::new(std::array::from_fn(|value| {
        let grey = (value as u32 & max) * (255 / max);
        let grey = if inverted { 255 - grey } else { grey };
        [grey as u8; 3]
    }))
}

/// The colours of a map of 16-bit values: all reds, then all greens, then all blues.
fn palette(map: &[u64], bits: u32) -> Result<Box<[[u8; 3]; 256]>, ImageError> {
    let count = 1 << bits;
    if map.len() != 3 * count {
        return Err(ImageError::corrupt(
            FORMAT,
            format!(
                "the colour map has {} values; expected {}",
                map.len(),
                3 * count
            ),
        ));
    }
    let mut colors = Box::new([[0; 3]; 256]);
    for (i, color) in colors.iter_mut().take(count).enumerate() {
        *color = [0, 1, 2].map(|channel| (map[channel * count + i] >> 8) as u8);
    }
    Ok(colors)
}
