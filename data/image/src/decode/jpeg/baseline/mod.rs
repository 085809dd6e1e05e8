//! A fast decoder of the usual JPEGs: baseline, 8 bits, and one scan, with the pixels of libjpeg.
//!
//! Whatever is unusual in a file, or wrong in its data, makes it give up, and the library decodes the file from the
//! start. It therefore needs no recovery from damage, and damaged files have the library's pixels.

mod bits;
mod block;
mod color;
mod header;
mod huffman;
mod idct;
mod upsample;

use multiversion::multiversion;

use super::RgbImage;
use crate::limits::release;
use bits::Bits;
use header::{Component, Header};
use huffman::{AcTable, DcTable};
use idct::Quantization;

/// Decodes one image at a time, with reused buffers.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    dc_tables: [DcTable; 2],
    ac_tables: [AcTable; 2],
    planes: [Plane; 3],
    /// A row of each chroma component, at the size of luma.
    chroma: [Vec<u8>; 2],
}

/// What the components are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Colors {
    YCbCr,
    Rgb,
}

/// The samples of a row of units, below the last row of samples of the units above.
#[derive(Debug, Default)]
struct Plane {
    samples: Vec<u8>,
    stride: usize,
}

/// A component while its blocks are read.
struct Channel<'a> {
    blocks: [usize; 2],
    tables: (&'a DcTable, &'a AcTable),
    quantization: &'a Quantization,
    plane: &'a mut Plane,
    /// The last DC coefficient.
    dc: i32,
}

/// Where the scan is between two restart markers.
struct Restarts {
    interval: usize,
    /// Number of units before the next marker.
    left: usize,
    /// The next marker.
    marker: u8,
}

impl Baseline {
    /// Decodes an image of this size; `None` if the library must decode it, whatever has become of the image.
    pub(super) fn decode(
        &mut self,
        encoded: &[u8],
        size: [u32; 2],
        colors: Colors,
        image: &mut RgbImage,
    ) -> Option<()> {
        let decoded = self.read(encoded, size, colors, image);
        for plane in &mut self.planes {
            release(&mut plane.samples);
        }
        self.chroma.iter_mut().for_each(release);
        decoded
    }

    fn read(
        &mut self,
        encoded: &[u8],
        size: [u32; 2],
        colors: Colors,
        image: &mut RgbImage,
    ) -> Option<()> {
        let [width, height] = size.map(|side| side as usize);
        let header = Header::read(encoded)?;
        let units = Units::of(&header)?;
        if [header.width, header.height] != [width, height] {
            return None;
        }
        // Unequal sampling of red, green and blue is unusual.
        if colors == Colors::Rgb && units.blocks != [1; 2] {
            return None;
        }
        let quantizations: Vec<_> = header
            .components
            .iter()
            .map(|component| Quantization::new(component.quantization))
            .collect();
        for Component { codes, .. } in &header.components {
            let [dc, ac] = *codes;
            self.dc_tables[dc.index].compile(dc.codes)?;
            self.ac_tables[ac.index].compile(ac.codes)?;
        }
        for (plane, component) in self.planes.iter_mut().zip(&header.components) {
            let [columns, rows] = component.blocks;
            plane.stride = 8 * columns * units.count[0];
            plane.samples.resize(plane.stride * (1 + 8 * rows), 0);
        }
        for row in &mut self.chroma {
            row.resize(8 * units.blocks[0] * units.count[0], 0);
        }
        let pixels = image.resize(size[0], size[1]);
        let pixels = pixels.as_chunks_mut::<3>().0;
        let mut data = Bits::new(header.scan);
        let mut restarts = Restarts {
            interval: header.restart_interval,
            left: header.restart_interval,
            marker: RESTART,
        };
        let mut dc = [0; 3];
        for row in 0..units.count[1] {
            let planes = self.planes.iter_mut().zip(&quantizations).zip(&dc);
            let mut channels: Vec<_> = planes
                .zip(&header.components)
                .map(|(((plane, quantization), &dc), component)| {
                    let [dc_index, ac_index] = component.codes.map(|slot| slot.index);
                    Channel {
                        blocks: component.blocks,
                        tables: (&self.dc_tables[dc_index], &self.ac_tables[ac_index]),
                        quantization,
                        plane,
                        dc,
                    }
                })
                .collect();
            read_units(&mut data, &mut channels, &mut restarts, units.count[0])?;
            for (dc, channel) in dc.iter_mut().zip(&channels) {
                *dc = channel.dc;
            }
            let rows = units.rows(row, height);
            self.write(&units, row, rows, [width, height], colors, pixels);
            for plane in &mut self.planes {
                plane.keep_last_row();
            }
        }
        data.check()
    }

    /// Writes the rows of pixels that are complete.
    fn write(
        &mut self,
        units: &Units,
        unit: usize,
        rows: std::ops::Range<usize>,
        [width, height]: [usize; 2],
        colors: Colors,
        pixels: &mut [[u8; 3]],
    ) {
        let [y, cb, cr] = &self.planes;
        let [across, down] = units.blocks;
        let chroma_width = width.div_ceil(across);
        let last = height.div_ceil(down) - 1;
        for row in rows {
            let out = &mut pixels[row * width..][..width];
            let luma = y.row(row, 8 * down * unit);
            if units.components == 1 {
                color::grey(luma, out);
                continue;
            }
            let at = row / down;
            let is_below = row % 2 == 1;
            let near = if is_below {
                (at + 1).min(last)
            } else {
                at.saturating_sub(1)
            };
            let first = 8 * unit;
            let rows = [cb, cr].map(|plane| {
                let row = |at| &plane.row(at, first)[..chroma_width];
                (row(at), if down == 2 { row(near) } else { &[] })
            });
            for (out, (row, near)) in self.chroma.iter_mut().zip(rows) {
                match [across, down] {
                    [2, 2] => upsample::both(row, near, out.as_chunks_mut().0),
                    [2, 1] => upsample::columns(row, out.as_chunks_mut().0),
                    [1, 2] => upsample::rows(row, near, out, is_below),
                    _ => {}
                }
            }
            let [cb, cr] = if units.blocks == [1; 2] {
                rows.map(|(row, _)| row)
            } else {
                self.chroma.each_ref().map(Vec::as_slice)
            };
            match colors {
                Colors::YCbCr => color::ycbcr([luma, cb, cr], out),
                Colors::Rgb => color::rgb([luma, cb, cr], out),
            }
        }
    }
}

/// The first restart marker; the others count to 7.
const RESTART: u8 = 0xd0;

/// The units of a scan, which have blocks of all components.
struct Units {
    /// Units per row, and rows of them.
    count: [usize; 2],
    components: usize,
    /// Blocks of luma per unit, horizontally and vertically.
    blocks: [usize; 2],
}

impl Units {
    /// `None` if the sampling of the components, or the size of the image, is unusual.
    fn of(header: &Header<'_>) -> Option<Self> {
        /// The library's limit.
        const LONGEST: usize = 65_500;
        let Header { width, height, .. } = *header;
        let (first, others) = header.components.split_first()?;
        let blocks @ [across, down] = first.blocks;
        let is_usual = matches!(blocks, [1 | 2, 1 | 2])
            && matches!(others.len(), 0 | 2)
            && others.iter().all(|other| other.blocks == [1; 2])
            // Chroma of fewer columns is not smoothed.
            && (across == 1 || width > 4)
            && width <= LONGEST
            && height <= LONGEST;
        is_usual.then_some(Self {
            count: [width.div_ceil(8 * across), height.div_ceil(8 * down)],
            components: header.components.len(),
            blocks,
        })
    }

    /// The rows of pixels that are complete with a row of units. The last one needs chroma of the units below.
    fn rows(&self, unit: usize, height: usize) -> std::ops::Range<usize> {
        let [_, down] = self.blocks;
        let missing = down - 1;
        let first = (8 * down * unit).saturating_sub(missing);
        if unit + 1 == self.count[1] {
            return first..height;
        }
        first..8 * down * (unit + 1) - missing
    }
}

impl Plane {
    /// A row of samples of the image, while those from `first` on are below the kept one.
    fn row(&self, row: usize, first: usize) -> &[u8] {
        &self.samples[(row + 1 - first) * self.stride..][..self.stride]
    }

    /// Keeps the last row for the units below.
    fn keep_last_row(&mut self) {
        let last = self.samples.len() - self.stride;
        self.samples.copy_within(last.., 0);
    }
}

/// Reads a row of units.
#[multiversion(targets("x86_64+bmi1+bmi2+lzcnt"))]
fn read_units(
    data: &mut Bits<'_>,
    channels: &mut [Channel<'_>],
    restarts: &mut Restarts,
    count: usize,
) -> Option<()> {
    let mut coefficients = [0; 256];
    for unit in 0..count {
        if restarts.interval != 0 {
            if restarts.left == 0 {
                data.restart(restarts.marker)?;
                restarts.left = restarts.interval;
                restarts.marker = RESTART + (restarts.marker + 1) % 8;
                for channel in &mut *channels {
                    channel.dc = 0;
                }
            }
            restarts.left -= 1;
        }
        for channel in &mut *channels {
            let [across, down] = channel.blocks;
            for row in 0..down {
                for column in unit * across..(unit + 1) * across {
                    coefficients[..64].fill(0);
                    let last =
                        block::read(data, channel.tables, &mut channel.dc, &mut coefficients)?;
                    let Plane { samples, stride } = &mut *channel.plane;
                    let out = &mut samples[(1 + 8 * row) * *stride + 8 * column..];
                    idct::transform(last, &coefficients, channel.quantization, out, *stride)?;
                }
            }
        }
    }
    Some(())
}
