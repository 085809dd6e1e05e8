//! Pillow's affine transformation with nearest-neighbour sampling, and torchvision's matrices for it.

use crate::RgbImage;

use super::{geometry, warp};
use topk_preprocessing::Interpolation;

/// Maps column x and row y of the result to those of the source: `[a, b, c, d, e, f]` for a·x + b·y + c and
/// d·x + e·y + f.
pub(super) type Matrix = [f64; 6];

pub(super) fn shear_x(image: &RgbImage, magnitude: f64, out: &mut RgbImage) {
    transform(image, inverse_shear([magnitude, 0.0]), out);
}

pub(super) fn shear_y(image: &RgbImage, magnitude: f64, out: &mut RgbImage) {
    transform(image, inverse_shear([0.0, magnitude]), out);
}

/// Pillow multiplies by 1 and adds halves, which is exact: pixels move without change.
pub(super) fn translate(image: &RgbImage, by: [i32; 2], out: &mut RgbImage) {
    geometry::crop(image, by.map(|pixels| -i64::from(pixels)), out);
}

/// Rotates an image about its centre, like `Image.rotate`.
pub(super) fn rotate(image: &RgbImage, degrees: f64, out: &mut RgbImage) {
    if !turn(image, degrees, out) {
        transform(
            image,
            inverse_rotation(image, degrees.rem_euclid(360.0)),
            out,
        );
    }
}

/// The same with interpolation and a colour for pixels from outside of the image.
pub(super) fn rotate_filled(
    image: &RgbImage,
    degrees: f64,
    interpolation: Interpolation,
    fill: [u8; 3],
    out: &mut RgbImage,
) {
    if !turn(image, degrees, out) {
        let matrix = inverse_rotation(image, degrees.rem_euclid(360.0));
        warp::warp(image, matrix, interpolation, fill, out);
    }
}

/// Rotates by a multiple of a right angle if that leaves the size as it is; returns whether it does.
fn turn(image: &RgbImage, degrees: f64, out: &mut RgbImage) -> bool {
    let degrees = degrees.rem_euclid(360.0);
    let pixels = image.pixels.as_chunks::<3>().0;
    let target = out.pixels.as_chunks_mut::<3>().0;
    let side = image.width as usize;
    let square = image.width == image.height;
    if degrees == 0.0 {
        target.copy_from_slice(pixels);
    } else if degrees == 180.0 {
        let turned = pixels.iter().rev();
        target
            .iter_mut()
            .zip(turned)
            .for_each(|(out, pixel)| *out = *pixel);
    } else if square && (degrees == 90.0 || degrees == 270.0) {
        for (y, row) in target.chunks_exact_mut(side).enumerate() {
            for (x, out) in row.iter_mut().enumerate() {
                *out = if degrees == 90.0 {
                    pixels[x * side + side - 1 - y]
                } else {
                    pixels[(side - 1 - x) * side + y]
                };
            }
        }
    } else {
        return false;
    }
    true
}

/// The inverse of torchvision's shear about the top left corner; its magnitudes are tangents.
fn inverse_shear(magnitudes: [f64; 2]) -> Matrix {
    // Converted to degrees and back, like torchvision.
    let [x, y] = magnitudes.map(|tangent| tangent.atan().to_degrees().to_radians());
    let a = (-y).cos() / y.cos();
    let b = -(-y).cos() * x.tan() / y.cos();
    let c = (-y).sin() / y.cos();
    let d = -(-y).sin() * x.tan() / y.cos() + 1.0;
    [d, -b, 0.0, -c, a, 0.0]
}

fn inverse_rotation(image: &RgbImage, degrees: f64) -> Matrix {
    let [x, y] = [image.width, image.height].map(|side| f64::from(side) / 2.0);
    let angle = -degrees.to_radians();
    let [cos, sin, minus_sin] = [angle.cos(), angle.sin(), -angle.sin()].map(to_15_digits);
    [
        cos,
        sin,
        cos * -x + sin * -y + 0.0 + x,
        minus_sin,
        cos,
        minus_sin * -x + cos * -y + 0.0 + y,
    ]
}

/// Python's `round(number, 15)`: the nearest number with 15 decimal places.
fn to_15_digits(number: f64) -> f64 {
    let digits = format!("{number:.15}");
    digits.parse().expect("a number that has just been written")
}

/// Takes the value of each pixel from the position given by the matrix; pixels outside the source are black.
fn transform(image: &RgbImage, matrix: Matrix, out: &mut RgbImage) {
    let [a, b, c, d, e, f] = matrix;
    let to = [out.width, out.height].map(f64::from);
    if b == 0.0 && d == 0.0 {
        sample(image, [[c + a * 0.5, a, 0.0], [f + e * 0.5, 0.0, e]], out);
    } else if [[0.0, 0.0], to, [0.0, to[1]], [to[0], 0.0]]
        .into_iter()
        .all(|[x, y]| countable(x * a + y * b + c) && countable(x * d + y * e + f))
    {
        let [x, y] = [c + a * 0.5 + b * 0.5, f + d * 0.5 + e * 0.5].map(fixed);
        let steps = [a, b, d, e].map(fixed);
        sample(
            image,
            [[x, steps[0], steps[1]], [y, steps[2], steps[3]]],
            out,
        );
    } else {
        let [x, y] = [c + b * 0.5 + a * 0.5, f + e * 0.5 + d * 0.5];
        sample(image, [[x, a, b], [y, d, e]], out);
    }
}

/// Whether the integer part of a number fits into 16 bits.
fn countable(number: f64) -> bool {
    number.abs() < 32_768.0
}

/// A position along an axis, with its increment per pixel.
trait Position: Copy + std::ops::Add<Output = Self> {
    /// Index of the pixel at this position, if it is one of `size`.
    fn pixel(self, of: u32) -> Option<usize>;
}

/// Fixed point with 16 fractional bits.
#[derive(Clone, Copy)]
struct Fixed(i32);

fn fixed(number: f64) -> Fixed {
    Fixed((number * 65_536.0 + 0.5).floor() as i32)
}

impl std::ops::Add for Fixed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // Only after the last pixel.
        Self(self.0.wrapping_add(other.0))
    }
}

impl Position for Fixed {
    #[inline(always)]
    fn pixel(self, of: u32) -> Option<usize> {
        let pixel = (self.0 >> 16) as u32;
        (pixel < of).then_some(pixel as usize)
    }
}

impl Position for f64 {
    #[inline(always)]
    fn pixel(self, of: u32) -> Option<usize> {
        (0.0..f64::from(of))
            .contains(&self)
            .then_some(self as usize)
    }
}

/// Iterates over columns and rows; each coordinate has a start, an increment per column and one per row. Sums
/// are accumulated step by step, like Pillow's: products would round differently.
fn sample<P: Position>(image: &RgbImage, [x, y]: [[P; 3]; 2], out: &mut RgbImage) {
    let pixels = image.pixels.as_chunks::<3>().0;
    let width = image.width as usize;
    let [mut row_x, mut row_y] = [x[0], y[0]];
    let target = out.pixels.as_chunks_mut::<3>().0;
    for row in target.chunks_exact_mut(out.width as usize) {
        let [mut place_x, mut place_y] = [row_x, row_y];
        for out in row {
            let columns = place_x.pixel(image.width);
            let rows = place_y.pixel(image.height);
            if let (Some(column), Some(row)) = (columns, rows) {
                *out = pixels[row * width + column];
            }
            place_x = place_x + x[1];
            place_y = place_y + y[1];
        }
        row_x = row_x + x[2];
        row_y = row_y + y[2];
    }
}
