//! Pillow's Gaussian blur, which is approximated by three box blurs along each axis.

use crate::RgbImage;

const PASSES: usize = 3;

/// Blurs with this standard deviation in pixels.
pub(super) fn gaussian_blur(image: &mut RgbImage, std: f64) {
    let radius = box_radius(std as f32);
    if std == 0.0 || radius == 0.0 {
        return;
    }
    let [width, height] = [image.width as usize, image.height as usize];
    let mut blurred = Vec::new();
    let pixels = image.pixels.as_chunks_mut::<3>().0;
    for row in pixels.chunks_exact_mut(width) {
        blur_line(row, radius, &mut blurred);
    }
    let mut line = Vec::with_capacity(height);
    for column in 0..width {
        line.clear();
        line.extend(pixels[column..].iter().step_by(width));
        blur_line(&mut line, radius, &mut blurred);
        let target = pixels[column..].iter_mut().step_by(width);
        target.zip(&line).for_each(|(pixel, value)| *pixel = *value);
    }
}

/// The radius of the boxes for a standard deviation: P. Gwosdek et al., "Theoretical Foundations of Gaussian Convolution
/// by Extended Box Filtering", 2011, equations 7, 11 and 14. In the precision that Pillow computes each step with.
fn box_radius(std: f32) -> f32 {
    let variance = std * std / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let mut part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
    part /= 6.0 * (variance - (whole + 1.0) * (whole + 1.0));
    whole + part
}

/// Blurs a line three times. Pixels beyond its ends are those at the ends.
fn blur_line(line: &mut [[u8; 3]], radius: f32, blurred: &mut Vec<[u8; 3]>) {
    // Weights of a pixel within the whole radius, and of the next one on each side, with 24 fractional bits.
    let whole = radius as i64;
    let weight = ((1 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
    let next_weight = ((1 << 24) - (whole as u32 * 2 + 1) * weight) / 2;
    let last = line.len() as i64 - 1;
    for _ in 0..PASSES {
        let at = |index: i64| line[index.clamp(0, last) as usize];
        let mut sums = [0u32; 3];
        for index in -whole - 1..whole {
            add(&mut sums, at(index));
        }
        blurred.clear();
        for index in 0..=last {
            let (left, right) = (at(index - whole - 1), at(index + whole + 1));
            add(&mut sums, at(index + whole));
            std::iter::zip(&mut sums, left).for_each(|(sum, value)| *sum -= u32::from(value));
            blurred.push(std::array::from_fn(|channel| {
                let sides = u32::from(left[channel]) + u32::from(right[channel]);
                let sum = sums[channel] * weight + sides * next_weight;
                ((sum + (1 << 23)) >> 24) as u8
            }));
        }
        line.copy_from_slice(blurred);
    }
}

fn add(sums: &mut [u32; 3], pixel: [u8; 3]) {
    std::iter::zip(sums, pixel).for_each(|(sum, value)| *sum += u32::from(value));
}
