//! Crops and flips of small planar images, combined with normalisation.

use super::Operation;
use super::operation::{Overlap, overlap};
use crate::NormalizationTable;

/// The part of an image that is visible after a crop and a flip.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The first column and row, which may be outside the image; what is outside is black.
    pub at: [i64; 2],
    /// Width and height.
    pub size: [u32; 2],
    /// Whether left and right are exchanged.
    pub mirrored: bool,
}

impl Shown {
    /// The visible part after these operations, if they are at most one crop, followed by flips.
    pub(super) fn after(operations: &[Operation], image: [u32; 2]) -> Option<Self> {
        let (at, size, rest) = match operations {
            [Operation::Crop { x, y, size }, rest @ ..] => ([*x, *y], *size, rest),
            rest => ([0; 2], image, rest),
        };
        let flips = rest.iter().all(|operation| *operation == Operation::Flip);
        flips.then_some(Self {
            at,
            size,
            mirrored: rest.len() % 2 == 1,
        })
    }
}

/// Writes the normalised values of the visible part of three planes; pixels outside of them are black.
///
/// # Panics
///
/// If the number of pixels or values does not match the sizes.
pub(super) fn normalize_shown(
    shown: Shown,
    [width, height]: [u32; 2],
    planes: &[u8],
    table: &NormalizationTable,
    out: &mut [f32],
) {
    let [out_width, out_height] = shown.size.map(|side| side as usize);
    assert_eq!(out.len(), 3 * out_width * out_height);
    let columns = overlap(shown.at[0], shown.size[0], width);
    let rows = overlap(shown.at[1], shown.size[1], height);
    let plane = width as usize * height as usize;
    let out = out.chunks_exact_mut(out_width * out_height);
    for (channel, (out, pixels)) in out.zip(planes.chunks_exact(plane)).enumerate() {
        let table = table.channel(channel);
        let (above, out) = out.split_at_mut(rows.to * out_width);
        let (seen, below) = out.split_at_mut(rows.len * out_width);
        above.fill(table[0]);
        below.fill(table[0]);
        let pixels = pixels.chunks_exact(width as usize).skip(rows.from);
        for (out, pixels) in seen.chunks_exact_mut(out_width).zip(pixels) {
            let pixels = &pixels[columns.from..][..columns.len];
            if shown.mirrored {
                normalize_row(table, columns, pixels.iter().rev(), out, true);
            } else {
                normalize_row(table, columns, pixels.iter(), out, false);
            }
        }
    }
}

/// Writes a row: black, the visible pixels, black.
#[inline(always)]
fn normalize_row<'a>(
    table: &[f32; 256],
    columns: Overlap,
    pixels: impl Iterator<Item = &'a u8>,
    out: &mut [f32],
    mirrored: bool,
) {
    let behind = out.len() - columns.to - columns.len;
    let begin = if mirrored { behind } else { columns.to };
    let (before, out) = out.split_at_mut(begin);
    let (seen, after) = out.split_at_mut(columns.len);
    before.fill(table[0]);
    after.fill(table[0]);
    for (out, &pixel) in seen.iter_mut().zip(pixels) {
        *out = table[usize::from(pixel)];
    }
}
