//! Pillow's affine transformation with bilinear and bicubic sampling.

use topk_preprocessing::Interpolation;

use super::affine::Matrix;
use crate::RgbImage;

/// Takes the value of each pixel from the position that the matrix gives for its centre. Pixels whose position is outside
/// of the image have the colour `fill`.
///
/// # Panics
///
/// If the interpolation is neither bilinear nor bicubic.
pub(super) fn warp(
    image: &RgbImage,
    [a, b, c, d, e, f]: Matrix,
    interpolation: Interpolation,
    fill: [u8; 3],
    out: &mut RgbImage,
) {
    let size = [image.width, image.height].map(f64::from);
    let source = Grid {
        pixels: image.pixels.as_chunks::<3>().0,
        size: [image.width as usize, image.height as usize],
    };
    let target = out.pixels.as_chunks_mut::<3>().0;
    for (row, pixels) in target.chunks_exact_mut(out.width as usize).enumerate() {
        let y = row as f64 + 0.5;
        for (column, pixel) in pixels.iter_mut().enumerate() {
            let x = column as f64 + 0.5;
            let [x, y] = [a * x + b * y + c, d * x + e * y + f];
            let inside = (0.0..size[0]).contains(&x) && (0.0..size[1]).contains(&y);
            *pixel = match (inside, interpolation) {
                (false, _) => fill,
                (true, Interpolation::Bilinear) => source.bilinear(x - 0.5, y - 0.5),
                (true, Interpolation::Bicubic) => source.bicubic(x - 0.5, y - 0.5),
                (true, other) => panic!("{other} is not a filter of affine transformations"),
            };
        }
    }
}

/// Pixels between whose centres values are interpolated.
struct Grid<'a> {
    pixels: &'a [[u8; 3]],
    /// Width and height.
    size: [usize; 2],
}

impl Grid<'_> {
    fn bilinear(&self, x: f64, y: f64) -> [u8; 3] {
        let ([column, dx], [row, dy]) = (split(x), split(y));
        let columns = [0.0, 1.0].map(|step| self.column(column + step));
        std::array::from_fn(|channel| {
            let of_row = |row: usize| {
                let [left, right] = self.values(row, columns, channel);
                left + (right - left) * dx
            };
            let above = of_row(self.row(row));
            let below = match self.has_row(row + 1.0) {
                true => of_row(self.row(row + 1.0)),
                false => above,
            };
            // Truncated.
            (above + (below - above) * dy) as u8
        })
    }

    fn bicubic(&self, x: f64, y: f64) -> [u8; 3] {
        let ([column, dx], [row, dy]) = (split(x), split(y));
        let columns = [-1.0, 0.0, 1.0, 2.0].map(|step| self.column(column + step));
        std::array::from_fn(|channel| {
            let of_row = |row: usize| cubic(self.values(row, columns, channel), dx);
            let mut last = of_row(self.row(row - 1.0));
            let others = [0.0, 1.0, 2.0].map(|step| {
                // A row outside of the image repeats the one before.
                if self.has_row(row + step) {
                    last = of_row(self.row(row + step));
                }
                last
            });
            let first = of_row(self.row(row - 1.0));
            // Truncated.
            cubic([first, others[0], others[1], others[2]], dy).clamp(0.0, 255.0) as u8
        })
    }

    fn values<const N: usize>(&self, row: usize, columns: [usize; N], channel: usize) -> [f64; N] {
        columns.map(|column| f64::from(self.pixels[row * self.size[0] + column][channel]))
    }

    fn column(&self, column: f64) -> usize {
        (column.max(0.0) as usize).min(self.size[0] - 1)
    }

    fn row(&self, row: f64) -> usize {
        (row.max(0.0) as usize).min(self.size[1] - 1)
    }

    fn has_row(&self, row: f64) -> bool {
        (0.0..self.size[1] as f64).contains(&row)
    }
}

/// A position as an index and the distance from it.
fn split(position: f64) -> [f64; 2] {
    let index = position.floor();
    [index, position - index]
}

/// Cubic convolution with a = −1, as Pillow's transformations have it; its resizing has −½.
fn cubic([before, left, right, after]: [f64; 4], at: f64) -> f64 {
    let linear = -before + right;
    let square = 2.0 * (before - left) + right - after;
    let cube = -before + left - right + after;
    left + at * (linear + at * (square + at * cube))
}
