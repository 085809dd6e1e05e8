//! The images that an exported model is run on.

/// Photographs `[N, CHANNELS, SIDE, SIDE]`: the first of CIFAR-100's test set. One is enough, and a batch of
/// two with the image of noise takes the least memory that a batch can.
const PHOTOGRAPHS: &[u8] = include_bytes!("photographs.bin");

/// Height and width of a photograph.
const SIDE: usize = 32;

const CHANNELS: usize = 3;

/// Photographs, and an image of noise, in the size that a model takes.
pub(crate) struct TestImages {
    /// RGB, 0 to 255, `[COUNT, channels, height, width]`.
    pixels: Vec<u8>,
    size: [usize; 3],
}

impl TestImages {
    /// Number of images.
    pub(crate) const COUNT: usize = PHOTOGRAPHS.len() / (CHANNELS * SIDE * SIDE) + 1;

    /// The images in this size: channels, height and width.
    pub(crate) fn new(size: [usize; 3]) -> Self {
        let [channels, height, width] = size;
        // Of grey images, the red plane.
        let photographs = PHOTOGRAPHS.as_chunks::<{ SIDE * SIDE }>().0;
        let photographs = photographs.chunks_exact(CHANNELS);
        let mut pixels: Vec<u8> = photographs
            .flat_map(|planes| planes.iter().cycle().take(channels))
            .flat_map(|plane| resized(plane, [height, width]))
            .collect();
        pixels.extend(noise(channels * height * width));
        Self { pixels, size }
    }

    /// Shape of the images as planes.
    pub(crate) fn shape(&self) -> [usize; 4] {
        let [channels, height, width] = self.size;
        [Self::COUNT, channels, height, width]
    }

    /// Pixels / 255.
    pub(crate) fn fractions(&self) -> Vec<f32> {
        let pixels = self.pixels.iter();
        pixels.map(|&pixel| f32::from(pixel) / 255.0).collect()
    }

    /// (Pixels / 255 − mean) / std, with one number per channel.
    pub(crate) fn normalized(&self, mean: &[f32], std: &[f32]) -> Vec<f32> {
        let [channels, height, width] = self.size;
        let planes = self.pixels.chunks_exact(height * width).enumerate();
        planes
            .flat_map(|(plane, pixels)| {
                let (mean, std) = (mean[plane % channels], std[plane % channels]);
                let normalize = move |&pixel| (f32::from(pixel) / 255.0 - mean) / std;
                pixels.iter().map(normalize)
            })
            .collect()
    }

    /// The pixels with channels last, `[COUNT, height, width, channels]`.
    pub(crate) fn channels_last(&self) -> Vec<u8> {
        let [channels, height, width] = self.size;
        let plane = height * width;
        let images = self.pixels.chunks_exact(channels * plane);
        images
            .flat_map(|image| {
                (0..plane).flat_map(move |i| (0..channels).map(move |c| image[c * plane + i]))
            })
            .collect()
    }
}

/// A plane of `SIDE` × `SIDE` pixels in another size, interpolated bilinearly without antialiasing.
fn resized(plane: &[u8; SIDE * SIDE], [height, width]: [usize; 2]) -> Vec<u8> {
    let rows = neighbours(height);
    let columns = neighbours(width);
    let mut pixels = Vec::with_capacity(height * width);
    for &([top, bottom], down) in &rows {
        for &([left, right], across) in &columns {
            let at = |row: usize, column: usize| f32::from(plane[row * SIDE + column]);
            let between = |row| at(row, left) * (1.0 - across) + at(row, right) * across;
            let value = between(top) * (1.0 - down) + between(bottom) * down;
            pixels.push(value.round_ties_even() as u8);
        }
    }
    pixels
}

/// For each of `to` pixels along a side, the two nearest of the `SIDE` original pixels and the weight of the
/// second.
fn neighbours(to: usize) -> Vec<([usize; 2], f32)> {
    let scale = SIDE as f32 / to as f32;
    (0..to)
        .map(|i| {
            let position = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
            let first = (position as usize).min(SIDE - 1);
            let second = (first + 1).min(SIDE - 1);
            ([first, second], position - first as f32)
        })
        .collect()
}

/// Pseudorandom bytes from SplitMix64.
fn noise(count: usize) -> impl Iterator<Item = u8> {
    (1..=count as u64).map(|i| {
        let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 56) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_size_keeps_the_photographs() {
        let images = TestImages::new([CHANNELS, SIDE, SIDE]);
        assert_eq!(images.pixels[..PHOTOGRAPHS.len()], *PHOTOGRAPHS);
        assert_eq!(images.pixels.len(), 2 * PHOTOGRAPHS.len());
    }

    #[test]
    fn channels_last_holds_the_same_pixels() {
        let images = TestImages::new([CHANNELS, 4, 5]);
        let last = images.channels_last();
        for (i, &pixel) in last.iter().enumerate() {
            let (image, rest) = (i / 60, i % 60);
            let planar = image * 60 + rest % 3 * 20 + rest / 3;
            assert_eq!(pixel, images.pixels[planar]);
        }
    }

    #[test]
    fn grey_images_have_one_plane() {
        let images = TestImages::new([1, SIDE, SIDE]);
        assert_eq!(images.shape(), [2, 1, SIDE, SIDE]);
        assert_eq!(images.pixels.len(), 2 * SIDE * SIDE);
        assert_eq!(images.pixels[..SIDE * SIDE], PHOTOGRAPHS[..SIDE * SIDE]);
        assert_eq!(images.normalized(&[0.5], &[0.5]).len(), images.pixels.len());
    }

    #[cfg(feature = "libtorch")]
    #[test]
    fn photographs_are_resized_as_by_libtorch() {
        use tch::{Kind, Tensor};
        for [height, width] in [[32, 16], [97, 64], [224, 224], [107, 139]] {
            let shape = [1, CHANNELS as i64, SIDE as i64, SIDE as i64];
            let photograph = Tensor::from_slice(PHOTOGRAPHS)
                .reshape(shape)
                .to_kind(Kind::Float);
            let size = [height as i64, width as i64];
            let expected = photograph
                .upsample_bilinear2d(size, false, None, None)
                .round();
            let expected = Vec::<u8>::try_from(expected.to_kind(Kind::Uint8).view(-1)).unwrap();
            let images = TestImages::new([CHANNELS, height, width]);
            let different = expected.iter().zip(&images.pixels).filter(|(a, b)| a != b);
            // Values half-way between two pixels may be rounded either way.
            assert!(different.count() * 1000 <= expected.len());
        }
    }
}
