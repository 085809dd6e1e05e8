//! Operations that replace each value of a channel by another.

use super::color::{blend, sum_of_greys};
use crate::RgbImage;

/// The new value for each value.
type Table = [u8; 256];

/// Number of pixels of a channel with each value.
type Histogram = [u64; 256];

pub(super) fn brightness(image: &mut RgbImage, factor: f64) {
    let table = table(|value| blend(0, value, factor as f32));
    look_up(image, &[table; 3]);
}

pub(super) fn contrast(image: &mut RgbImage, factor: f64) {
    let sum = sum_of_greys(&image.pixels);
    let mean = sum as f64 / (image.pixels.len() / 3) as f64;
    let mean = (mean + 0.5) as u8;
    let table = table(|value| blend(mean, value, factor as f32));
    look_up(image, &[table; 3]);
}

pub(super) fn posterize(image: &mut RgbImage, bits: u32) {
    let lost = 8 - bits.min(8);
    let table = table(|value| ((u32::from(value) >> lost) << lost) as u8);
    look_up(image, &[table; 3]);
}

pub(super) fn solarize(image: &mut RgbImage, threshold: f64) {
    let table = table(|value| {
        if f64::from(value) < threshold {
            value
        } else {
            255 - value
        }
    });
    look_up(image, &[table; 3]);
}

pub(super) fn invert(image: &mut RgbImage) {
    look_up(image, &[table(|value| 255 - value); 3]);
}

pub(super) fn solarize_add(image: &mut RgbImage, add: u8) {
    let table = table(|value| match value {
        ..128 => value.saturating_add(add),
        value => value,
    });
    look_up(image, &[table; 3]);
}

pub(super) fn auto_contrast(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| stretching(&histogram));
    look_up(image, &tables);
}

pub(super) fn equalize(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| equalization(&histogram));
    look_up(image, &tables);
}

/// Maps the lowest value to 0 and the highest to 255, truncated to integers.
fn stretching(histogram: &Histogram) -> Table {
    let there = |count: &u64| *count > 0;
    let low = histogram.iter().position(there).unwrap_or(0);
    let high = histogram.iter().rposition(there).unwrap_or(0);
    if high <= low {
        return table(|value| value);
    }
    let scale = 255.0 / (high - low) as f64;
    let offset = -(low as f64) * scale;
    // Casts truncate and saturate.
    table(|value| (f64::from(value) * scale + offset) as u8)
}

/// Pillow's histogram equalization, in integers.
fn equalization(histogram: &Histogram) -> Table {
    let all: u64 = histogram.iter().sum();
    let last = histogram.iter().rev().find(|count| **count > 0);
    // With a single value, the step is 0 too.
    let step = (all - last.unwrap_or(&0)) / 255;
    if step == 0 {
        return table(|value| value);
    }
    let mut below = step / 2;
    let mut levels = [0; 256];
    for (level, count) in levels.iter_mut().zip(histogram) {
        // For few pixels, the steps are so uneven that the result can exceed 255.
        *level = (below / step).min(255) as u8;
        below += count;
    }
    levels
}

fn table(of: impl Fn(u8) -> u8) -> Table {
    std::array::from_fn(|value| of(value as u8))
}

/// Counts the values of each channel.
fn histograms(image: &RgbImage) -> [Histogram; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.pixels.as_chunks::<3>().0 {
        for (counts, value) in counts.iter_mut().zip(pixel) {
            counts[usize::from(*value)] += 1;
        }
    }
    counts
}

fn look_up(image: &mut RgbImage, [reds, greens, blues]: &[Table; 3]) {
    for [r, g, b] in image.pixels.as_chunks_mut::<3>().0 {
        *r = reds[usize::from(*r)];
        *g = greens[usize::from(*g)];
        *b = blues[usize::from(*b)];
    }
}
