use topk_preprocessing::{ImageMode, Normalization, PixelRange};

/// The normalized value of every pixel of every channel: of red, green and blue, or of grey images.
#[derive(Clone, Debug)]
pub struct NormalizationTable(Vec<[f32; 256]>);

impl NormalizationTable {
    /// Computes the value of every pixel.
    pub fn new(normalization: &Normalization) -> Self {
        let Normalization { mean, std } = normalization;
        let channel =
            |(mean, std)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
        Self(mean.iter().zip(std).map(channel).collect())
    }

    /// Computes the value of every pixel for networks that take pixels of this range.
    ///
    /// From 0 to 255, the values are computed in `f64` and then rounded: without mean and standard deviation they are
    /// the pixels, exactly.
    pub fn in_range(normalization: &Normalization, range: PixelRange) -> Self {
        if range == PixelRange::One {
            return Self::new(normalization);
        }
        let Normalization { mean, std } = normalization;
        let channel = |(&mean, &std): (&f32, &f32)| {
            let [mean, std] = [mean, std].map(f64::from);
            std::array::from_fn(|pixel| ((pixel as f64 - 255.0 * mean) / std) as f32)
        };
        Self(mean.iter().zip(std).map(channel).collect())
    }

    /// The values for images of this mode: of all channels, or of the first one of grey images.
    pub fn in_mode(mut self, mode: ImageMode) -> Self {
        self.0.truncate(mode.channels());
        self
    }

    /// Number of channels that are written.
    pub fn channels(&self) -> usize {
        self.0.len()
    }

    /// The values of one channel: 0 red or grey, 1 green, 2 blue.
    ///
    /// # Panics
    /// If `channel` is out of range.
    pub fn channel(&self, channel: usize) -> &[f32; 256] {
        &self.0[channel]
    }

    /// Normalizes one CHW image.
    ///
    /// # Panics
    /// If the lengths of `pixels` and `out` differ or are not a multiple of [`channels`](Self::channels).
    pub fn normalize(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len());
        assert!(pixels.len().is_multiple_of(self.channels()));
        let plane = pixels.len() / self.channels();
        let planes = pixels.chunks(plane).zip(out.chunks_mut(plane));
        for (table, (pixels, out)) in self.0.iter().zip(planes) {
            for (out, &pixel) in out.iter_mut().zip(pixels) {
                *out = table[usize::from(pixel)];
            }
        }
    }

    /// Normalizes one image of interleaved pixels, `height × width × 3`, into planes, `channels × height ×
    /// width`. Of grey images, which have the same value three times, one is written.
    ///
    /// # Panics
    /// If the number of pixels is not that of `out`, or the length of `pixels` is not a multiple of three.
    pub fn normalize_interleaved(&self, pixels: &[u8], out: &mut [f32]) {
        let (pixels, rest) = pixels.as_chunks::<3>();
        assert!(rest.is_empty());
        assert_eq!(self.channels() * pixels.len(), out.len());
        let [reds, greens, blues] = &self.0[..] else {
            for (out, &[grey, ..]) in out.iter_mut().zip(pixels) {
                *out = self.0[0][usize::from(grey)];
            }
            return;
        };
        let (red, others) = out.split_at_mut(pixels.len());
        let (green, blue) = others.split_at_mut(pixels.len());
        let out = red.iter_mut().zip(green).zip(blue);
        for (((red, green), blue), &[r, g, b]) in out.zip(pixels) {
            *red = reds[usize::from(r)];
            *green = greens[usize::from(g)];
            *blue = blues[usize::from(b)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_mean_and_std() {
        let normalization = Normalization {
            mean: [0.0, 0.5, 1.0],
            std: [1.0, 0.5, 0.25],
        };
        let mut out = [f32::NAN; 6];
        NormalizationTable::new(&normalization).normalize(&[0, 255, 0, 255, 0, 255], &mut out);
        assert_eq!(out, [0.0, 1.0, -1.0, 1.0, -4.0, 0.0]);
    }

    #[test]
    fn pixels_to_255_are_exact() {
        let raw = Normalization {
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let table = NormalizationTable::in_range(&raw, PixelRange::Byte);
        assert_eq!(*table.channel(0), std::array::from_fn(|pixel| pixel as f32));
        let caffe = Normalization {
            mean: [123.68 / 255.0, 116.779 / 255.0, 103.939 / 255.0],
            std: [1.0; 3],
        };
        let table = NormalizationTable::in_range(&caffe, PixelRange::Byte);
        for (channel, mean) in [123.68, 116.779, 103.939].into_iter().enumerate() {
            for pixel in 0..256 {
                let expected = pixel as f32 - mean;
                assert!((table.channel(channel)[pixel] - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn interleaved_pixels_become_the_same_planes() {
        let normalization = Normalization {
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        };
        let (mut planes, mut interleaved) = ([0; 768], [0; 768]);
        for (i, pixel) in interleaved.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = (i + 85 * channel) as u8;
                planes[256 * channel + i] = *value;
            }
        }
        let (mut expected, mut found) = ([f32::NAN; 768], [f32::NAN; 768]);
        let table = NormalizationTable::new(&normalization);
        table.normalize(&planes, &mut expected);
        table.normalize_interleaved(&interleaved, &mut found);
        assert_eq!(found, expected);
    }

    #[test]
    fn grey_pixels_are_written_once() {
        let table = NormalizationTable::new(&Normalization::IMAGENET.grey()).in_mode(ImageMode::L);
        let mut out = [f32::NAN; 2];
        table.normalize_interleaved(&[0, 0, 0, 255, 255, 255], &mut out);
        assert_eq!(out, [-0.449 / 0.226, (1.0 - 0.449) / 0.226]);
        let mut of_plane = [f32::NAN; 2];
        table.normalize(&[0, 255], &mut of_plane);
        assert_eq!(of_plane, out);
    }
}
