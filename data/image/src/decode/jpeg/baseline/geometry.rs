//! Which units an image has, and which of them a part of it needs.

use std::ops::Range;

use super::header::Header;
use crate::resize::Region;

/// The units of a scan, which have blocks of all components.
#[derive(Debug)]
pub(super) struct Units {
    /// Width and height of the image.
    pub(super) size: [usize; 2],
    pub(super) components: usize,
    /// Blocks of luma per unit, horizontally and vertically: also how many samples of it there are for one of chroma.
    pub(super) blocks: [usize; 2],
    /// Units per row, and rows of them.
    pub(super) count: [usize; 2],
}

impl Units {
    /// `None` if the sampling of the components, or the size of the image, is unusual.
    pub(super) fn of(header: &Header<'_>) -> Option<Self> {
        /// The library's limit.
        const LONGEST: usize = 65_500;
        let size @ [width, height] = [header.width, header.height];
        let (first, others) = header.components.split_first()?;
        let blocks @ [across, down] = first.blocks;
        let is_usual = matches!(blocks, [1 | 2, 1 | 2])
            && matches!(others.len(), 0 | 2)
            && others.iter().all(|other| other.blocks == [1; 2])
            // Chroma of fewer columns is not smoothed.
            && (across == 1 || width > 4)
            && (1..=LONGEST).contains(&width)
            && (1..=LONGEST).contains(&height);
        is_usual.then_some(Self {
            size,
            components: header.components.len(),
            blocks,
            count: [width.div_ceil(8 * across), height.div_ceil(8 * down)],
        })
    }

    /// The size of chroma.
    pub(super) fn chroma(&self) -> [usize; 2] {
        let [across, down] = self.blocks;
        [self.size[0].div_ceil(across), self.size[1].div_ceil(down)]
    }

    /// The row of chroma at a row of pixels, and the nearest other one, or the same row at an edge.
    pub(super) fn chroma_rows(&self, row: usize) -> [usize; 2] {
        let [_, down] = self.blocks;
        let at = row / down;
        let near = match (down, row % down) {
            (1, _) => at,
            (_, 0) => at.saturating_sub(1),
            _ => (at + 1).min(self.chroma()[1] - 1),
        };
        [at, near]
    }

    /// The rows of pixels that are complete with a row of units. The last one needs chroma of the units below.
    pub(super) fn complete(&self, row: usize) -> Range<usize> {
        let [_, down] = self.blocks;
        let end = |row: usize| {
            if row == self.count[1] {
                self.size[1]
            } else {
                (8 * down * row).saturating_sub(down - 1)
            }
        };
        end(row)..end(row + 1)
    }
}

/// What is needed for a part of an image.
#[derive(Debug)]
pub(super) struct Part {
    /// Columns of chroma.
    pub(super) columns: Range<usize>,
    /// Rows of pixels.
    pub(super) rows: Range<usize>,
    /// Columns and rows of units.
    pub(super) units: [Range<usize>; 2],
}

impl Part {
    pub(super) fn of(units: &Units, part: &Region) -> Self {
        /// One sample of chroma on each side contributes to a pixel, and a row of at least three is smoothed.
        const AROUND: usize = 2;
        let chroma = units.chroma();
        let [columns, rows] = [(0, &part.columns), (1, &part.rows)].map(|(axis, part)| {
            let each = units.blocks[axis];
            let start = (part.start as usize / each).saturating_sub(AROUND);
            let end = (part.end as usize).div_ceil(each) + AROUND;
            start..end.min(chroma[axis])
        });
        Self {
            units: [&columns, &rows].map(|needed| needed.start / 8..needed.end.div_ceil(8)),
            columns,
            rows: part.rows.start as usize..part.rows.end as usize,
        }
    }
}
