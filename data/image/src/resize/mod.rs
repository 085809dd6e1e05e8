//! Resizing like Pillow: two passes with an 8-bit intermediate image.

mod filter;
mod passes;
mod weights;

use std::ops::Range;

use topk_preprocessing::{Interpolation, Pillow};

use crate::limits::release;
use crate::{ImageError, Limits, RgbImage};
use filter::Filter;
use weights::Weights;

/// Whether rows are resized before columns.
fn rows_first(pillow: Pillow, from: [u32; 2], to: [u32; 2]) -> bool {
    let [columns, rows] = [0, 1].map(|axis| from[axis].saturating_sub(to[axis]));
    pillow == Pillow::V13 && u64::from(rows) > 2 * u64::from(columns)
}

/// RGB pixels to resize: an image or a part of one.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Width and height.
    pub(crate) size: [u32; 2],
    /// Rows, starting at the first pixel.
    pub(crate) pixels: &'a [u8],
    /// Bytes per row, including pixels outside the part.
    pub(crate) stride: usize,
}

impl<'a> Source<'a> {
    /// A whole image.
    pub(crate) fn of(image: &'a RgbImage) -> Self {
        Self {
            size: [image.width, image.height],
            pixels: &image.pixels,
            stride: 3 * image.width as usize,
        }
    }

    /// A part of an image, which must be inside.
    pub(crate) fn part(self, part: &Region) -> Self {
        let begin = part.rows.start as usize * self.stride + 3 * part.columns.start as usize;
        Self {
            size: [part.columns.len() as u32, part.rows.len() as u32],
            pixels: &self.pixels[begin..],
            ..self
        }
    }
}

/// A part of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Region {
    pub(crate) columns: Range<u32>,
    pub(crate) rows: Range<u32>,
}

impl Region {
    /// All of an image.
    pub(crate) fn whole([width, height]: [u32; 2]) -> Self {
        Self {
            columns: 0..width,
            rows: 0..height,
        }
    }

    /// The part of an image of size `from` that is needed for this part of the image resized to `to`, and a few
    /// more pixels around it.
    pub(crate) fn source(
        &self,
        from: [u32; 2],
        to: [u32; 2],
        interpolation: Interpolation,
    ) -> Self {
        let support = Filter::of(interpolation).map_or(1.0, |filter| filter.support);
        let axis = |axis: usize, part: &Range<u32>| {
            let scale = f64::from(from[axis]) / f64::from(to[axis]);
            let margin = support * scale.max(1.0) + 2.0;
            // Casts saturate and truncate.
            let start = (f64::from(part.start) * scale - margin) as u32;
            let end = (f64::from(part.end) * scale + margin) as u32;
            start..end.min(from[axis])
        };
        Self {
            columns: axis(0, &self.columns),
            rows: axis(1, &self.rows),
        }
    }
}

/// Resizes images one at a time, with reused buffers.
#[derive(Debug, Default)]
pub(crate) struct Resampler {
    columns: Weights,
    rows: Weights,
    between: Vec<u8>,
    groups: [Vec<passes::Column>; 2],
}

impl Resampler {
    /// Computes a non-empty region of the image resized to `to`.
    pub(crate) fn resize(
        &mut self,
        source: Source<'_>,
        to: [u32; 2],
        region: &Region,
        (interpolation, pillow): (Interpolation, Pillow),
        limits: &Limits,
        out: &mut [u8],
    ) -> Result<(), ImageError> {
        let from = source.size;
        let stride = source.stride;
        let width = 3 * region.columns.len();
        if to[0] != from[0] {
            let columns = region.columns.clone();
            self.columns
                .compute(from[0], to[0], columns, interpolation, limits)?;
        }
        if to[1] != from[1] {
            let rows = region.rows.clone();
            self.rows
                .compute(from[1], to[1], rows, interpolation, limits)?;
        }
        let row = |row: u32| &source.pixels[row as usize * stride..];
        let column = |column: u32| 3 * column as usize;
        match (to[0] != from[0], to[1] != from[1]) {
            (false, false) => {
                for (out, y) in out.chunks_exact_mut(width).zip(region.rows.clone()) {
                    let begin = column(region.columns.start);
                    out.copy_from_slice(&row(y)[begin..begin + width]);
                }
            }
            (true, false) => {
                let first = row(region.rows.start);
                passes::columns(first, stride, 0, &self.columns, &mut self.groups, out);
            }
            (false, true) => {
                let first = &source.pixels[column(region.columns.start)..];
                passes::rows(first, stride, 0, &self.rows, out, width);
            }
            (true, true) if rows_first(pillow, from, to) => {
                let columns = self.columns.inputs();
                let between = 3 * columns.len();
                self.reserve(between, region.rows.len(), limits)?;
                let first = &source.pixels[column(columns.start)..];
                let pixels = self.between.as_mut_slice();
                passes::rows(first, stride, 0, &self.rows, pixels, between);
                let weights = &self.columns;
                let groups = &mut self.groups;
                passes::columns(pixels, between, columns.start, weights, groups, out);
            }
            (true, true) => {
                let rows = self.rows.inputs();
                self.reserve(width, rows.len(), limits)?;
                let pixels = self.between.as_mut_slice();
                let first = row(rows.start);
                passes::columns(first, stride, 0, &self.columns, &mut self.groups, pixels);
                passes::rows(pixels, width, rows.start, &self.rows, out, width);
            }
        }
        Ok(())
    }

    /// Frees what a large image left.
    pub(crate) fn release(&mut self) {
        release(&mut self.between);
        self.groups.iter_mut().for_each(release);
        self.columns.release();
        self.rows.release();
    }

    /// Resizes the buffer between the passes.
    fn reserve(&mut self, width: usize, rows: usize, limits: &Limits) -> Result<(), ImageError> {
        let bytes = (width as u64).saturating_mul(rows as u64);
        limits.check_bytes("resizing the image", bytes)?;
        self.between.resize(bytes as usize, 0);
        Ok(())
    }
}
