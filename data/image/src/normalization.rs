use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Mean and standard deviation per channel (red, green, blue), in units of pixels divided by 255.
///
/// A pixel p becomes (p / 255 − mean) / std, each step rounded to `f32`: what torchvision's `ToTensor`
/// and `Normalize` compute.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Normalization {
    /// Subtracted from p / 255.
    pub mean: [f32; 3],
    /// Divides the difference.
    pub std: [f32; 3],
}

/// A mean or standard deviation that cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("mean {:?} and std {:?} must be finite and each std above 0, in units of pixels / 255", .0.mean, .0.std)]
pub struct NormalizationError(Normalization);

impl Normalization {
    /// That of ImageNet's training images, as torchvision and timm have it.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    /// That of CIFAR-100's training images, as the authors' code and most of the literature have it.
    pub const CIFAR100: Self = Self {
        mean: [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0],
        std: [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0],
    };

    /// Checks that the numbers can be computed with.
    ///
    /// # Errors
    /// If one is not finite, or a standard deviation is not above 0.
    pub fn check(self) -> Result<Self, NormalizationError> {
        let finite = self
            .mean
            .iter()
            .chain(&self.std)
            .all(|value| value.is_finite());
        if finite && self.std.iter().all(|&std| std > 0.0) {
            Ok(self)
        } else {
            Err(NormalizationError(self))
        }
    }

    /// Prepares for many pixels.
    pub fn table(&self) -> NormalizationTable {
        NormalizationTable(std::array::from_fn(|channel| {
            std::array::from_fn(|pixel| {
                (pixel as f32 / 255.0 - self.mean[channel]) / self.std[channel]
            })
        }))
    }
}

/// The normalised value of every pixel of every channel.
#[derive(Clone, Debug)]
pub struct NormalizationTable([[f32; 256]; 3]);

impl NormalizationTable {
    /// The values of one channel: 0 red, 1 green, 2 blue.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn channel(&self, channel: usize) -> &[f32; 256] {
        &self.0[channel]
    }

    /// Normalises one CHW image of three channels.
    ///
    /// # Panics
    /// If the lengths of `pixels` and `out` differ or are no multiple of three.
    pub fn normalize(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len());
        assert!(pixels.len().is_multiple_of(3));
        let plane = pixels.len() / 3;
        let planes = pixels.chunks(plane).zip(out.chunks_mut(plane));
        for (table, (pixels, out)) in self.0.iter().zip(planes) {
            for (out, &pixel) in out.iter_mut().zip(pixels) {
                *out = table[usize::from(pixel)];
            }
        }
    }

    /// Normalises one image of interleaved pixels, `height × width × 3`, into planes, `3 × height ×
    /// width`.
    ///
    /// # Panics
    /// If the lengths of `pixels` and `out` differ or are no multiple of three.
    pub fn normalize_interleaved(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len());
        let (pixels, rest) = pixels.as_chunks::<3>();
        assert!(rest.is_empty());
        let (red, others) = out.split_at_mut(pixels.len());
        let (green, blue) = others.split_at_mut(pixels.len());
        let [reds, greens, blues] = &self.0;
        let out = red.iter_mut().zip(green).zip(blue);
        for (((red, green), blue), &[r, g, b]) in out.zip(pixels) {
            *red = reds[usize::from(r)];
            *green = greens[usize::from(g)];
            *blue = blues[usize::from(b)];
        }
    }
}

/// A text that is not a number for each channel.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("expected three numbers, such as 0.5,0.5,0.5")]
pub struct ParseChannelsError;

/// Reads a number for red, green and blue, with commas between them.
///
/// # Errors
/// If there are not three, or one is no number.
pub fn parse_channels(text: &str) -> Result<[f32; 3], ParseChannelsError> {
    let numbers: Option<Vec<f32>> = text
        .split(',')
        .map(|number| number.trim().parse().ok())
        .collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or(ParseChannelsError)
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
        normalization
            .table()
            .normalize(&[0, 255, 0, 255, 0, 255], &mut out);
        assert_eq!(out, [0.0, 1.0, -1.0, 1.0, -4.0, 0.0]);
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
        let table = normalization.table();
        table.normalize(&planes, &mut expected);
        table.normalize_interleaved(&interleaved, &mut found);
        assert_eq!(found, expected);
    }

    #[test]
    fn unusable_numbers_are_refused() {
        let good = Normalization {
            mean: [0.5; 3],
            std: [0.2; 3],
        };
        assert_eq!(good.check(), Ok(good));
        assert!(
            Normalization {
                std: [0.2, 0.0, 0.2],
                ..good
            }
            .check()
            .is_err()
        );
        assert!(
            Normalization {
                mean: [f32::NAN; 3],
                ..good
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn three_numbers_are_read() {
        assert_eq!(parse_channels("0.5, 0.4,0.3"), Ok([0.5, 0.4, 0.3]));
        for text in ["0.5,0.4", "a,b,c", "", "1,2,3,4"] {
            assert_eq!(parse_channels(text), Err(ParseChannelsError), "{text}");
        }
    }
}
