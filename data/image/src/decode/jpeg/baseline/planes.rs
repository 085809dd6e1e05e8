//! The samples of a row of units, and how they become pixels.

use super::geometry::{Part, Units};
use super::scan::Channel;
use super::{Colors, color, upsample};
use crate::limits::release;

/// The samples of a component in a row of units, below the last row of samples of the units above.
#[derive(Debug, Default)]
pub(super) struct Plane {
    samples: Vec<u8>,
    stride: usize,
}

impl Plane {
    /// The samples from the first one of a block on, and how many there are in each row.
    #[inline(always)]
    pub(super) fn block(&mut self, column: usize, row: usize) -> (&mut [u8], usize) {
        let first = (1 + 8 * row) * self.stride + 8 * column;
        (&mut self.samples[first..], self.stride)
    }

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

/// The samples of all components in a row of units.
#[derive(Debug, Default)]
pub(super) struct Planes {
    planes: [Plane; 3],
    /// A row of each chroma component, at the size of luma.
    chroma: [Vec<u8>; 2],
}

impl Planes {
    pub(super) fn resize(&mut self, units: &Units, channels: &[Channel<'_>]) {
        for (plane, channel) in self.planes.iter_mut().zip(channels) {
            let [columns, rows] = channel.blocks;
            plane.stride = 8 * columns * units.count[0];
            plane.samples.resize(plane.stride * (1 + 8 * rows), 0);
        }
        for row in &mut self.chroma {
            row.resize(8 * units.blocks[0] * units.count[0], 0);
        }
    }

    /// Frees what a large image left.
    pub(super) fn release(&mut self) {
        for plane in &mut self.planes {
            release(&mut plane.samples);
        }
        self.chroma.iter_mut().for_each(release);
    }

    /// The planes, whose blocks are to be replaced.
    pub(super) fn samples(&mut self) -> &mut [Plane] {
        &mut self.planes
    }

    /// Writes the pixels that are complete with a row of units.
    pub(super) fn write(
        &mut self,
        units: &Units,
        part: &Part,
        unit: usize,
        colors: Colors,
        pixels: &mut [[u8; 3]],
    ) {
        let Self { planes, chroma } = self;
        let [y, cb, cr] = &*planes;
        let [width, _] = units.size;
        let [across, down] = units.blocks;
        let columns = across * part.columns.start..width.min(across * part.columns.end);
        let complete = units.complete(unit);
        for row in complete.start.max(part.rows.start)..complete.end.min(part.rows.end) {
            let out = &mut pixels[row * width..][columns.clone()];
            let luma = &y.row(row, 8 * down * unit)[columns.clone()];
            if units.components == 1 {
                color::grey(luma, out);
                continue;
            }
            let [at, near] = units.chroma_rows(row);
            let near_is_below = row % 2 == 1;
            let rows = |at| [cb, cr].map(|plane| &plane.row(at, 8 * unit)[part.columns.clone()]);
            let [cb, cr] = if units.blocks == [1; 2] {
                rows(at)
            } else {
                for ((out, row), near) in chroma.iter_mut().zip(rows(at)).zip(rows(near)) {
                    match units.blocks {
                        [2, 2] => upsample::both(row, near, out.as_chunks_mut().0),
                        [2, _] => upsample::columns(row, out.as_chunks_mut().0),
                        _ => upsample::rows(row, near, out, near_is_below),
                    }
                }
                chroma.each_ref().map(Vec::as_slice)
            };
            match colors {
                Colors::YCbCr => color::ycbcr([luma, cb, cr], out),
                Colors::Rgb => color::rgb([luma, cb, cr], out),
            }
        }
        planes.iter_mut().for_each(Plane::keep_last_row);
    }
}
