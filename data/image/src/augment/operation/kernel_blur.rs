//! torchvision's Gaussian blur, a convolution with a sampled kernel.

use super::geometry::reflected;
use crate::RgbImage;

/// Blurs with a kernel of this odd width and height and this standard deviation in pixels. Pixels beyond the edges are
/// reflected.
pub(super) fn gaussian_kernel(image: &mut RgbImage, kernel: u32, sigma: f64) {
    let weights = weights(kernel, sigma);
    let [width, height] = [image.width as usize, image.height as usize];
    let pixels = image.pixels.as_chunks_mut::<3>().0;
    // Columns are blurred first, in `f64`, so that values are rounded once.
    let mut rows = vec![[0.0; 3]; width];
    let source = pixels.to_vec();
    let half = i64::from(kernel / 2);
    for (y, out) in pixels.chunks_exact_mut(width).enumerate() {
        rows.fill([0.0; 3]);
        for (offset, weight) in (-half..).zip(&weights) {
            let row = reflected(y as i64 + offset, height) * width;
            for (sum, pixel) in rows.iter_mut().zip(&source[row..row + width]) {
                for (sum, &value) in sum.iter_mut().zip(pixel) {
                    *sum += weight * f64::from(value);
                }
            }
        }
        for (x, pixel) in out.iter_mut().enumerate() {
            let mut sums = [0.0; 3];
            for (offset, weight) in (-half..).zip(&weights) {
                let column = rows[reflected(x as i64 + offset, width)];
                for (sum, value) in sums.iter_mut().zip(column) {
                    *sum += weight * value;
                }
            }
            *pixel = sums.map(|sum: f64| sum.round_ties_even() as u8);
        }
    }
}

/// The density of the normal distribution at whole numbers, scaled to a sum of 1.
fn weights(kernel: u32, sigma: f64) -> Vec<f64> {
    let half = f64::from(kernel / 2);
    let density = |index: u32| (-0.5 * ((f64::from(index) - half) / sigma).powi(2)).exp();
    let weights: Vec<f64> = (0..kernel).map(density).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_image_stays() {
        let mut image = RgbImage {
            width: 3,
            height: 2,
            pixels: [7, 200, 255].repeat(6),
        };
        let before = image.clone();
        gaussian_kernel(&mut image, 23, 2.0);
        assert_eq!(image, before);
    }

    #[test]
    fn weights_sum_to_1() {
        for (kernel, sigma) in [(1, 0.5), (23, 0.1), (23, 2.0), (5, 30.0)] {
            let weights = weights(kernel, sigma);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-15);
            assert!(weights.iter().eq(weights.iter().rev()));
        }
    }
}
