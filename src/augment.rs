use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use topk_image::NormalizationTable;

/// Pixels added on each side before the crop.
const PADDING: usize = 4;

/// Random crop of the image's own size out of the image padded with black, then a flip with
/// probability ½, then normalisation: the seed code's augmentation for CIFAR.
///
/// `pixels` are CHW; `out` has the same shape.
pub(crate) fn crop_and_flip(
    table: &NormalizationTable,
    [channels, height, width]: [usize; 3],
    pixels: &[u8],
    generator: &mut ChaCha8Rng,
    out: &mut [f32],
) {
    // Offsets of the crop in the padded image.
    let top = generator.random_range(0..=2 * PADDING);
    let left = generator.random_range(0..=2 * PADDING);
    let flip = generator.random_bool(0.5);
    let plane = height * width;
    for channel in 0..channels {
        let table = table.channel(channel);
        let pixels = &pixels[channel * plane..][..plane];
        let rows = out[channel * plane..][..plane].chunks_exact_mut(width);
        for (y, row) in rows.enumerate() {
            row.fill(table[0]);
            // Row and columns of the image that this row shows.
            let Some(y) = (y + top).checked_sub(PADDING).filter(|&y| y < height) else {
                continue;
            };
            let first = left.saturating_sub(PADDING).min(width);
            let last = (left + width).saturating_sub(PADDING).min(width);
            let start = PADDING.saturating_sub(left).min(width);
            for (out, &pixel) in row[start..]
                .iter_mut()
                .zip(&pixels[y * width..][first..last])
            {
                *out = table[usize::from(pixel)];
            }
            if flip {
                row.reverse();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use topk_image::Normalization;

    /// Every crop and flip, written out pixel by pixel, with what comes out for it.
    #[test]
    fn shows_a_shifted_or_mirrored_image_on_black() {
        let table = Normalization {
            mean: [0.0; 3],
            std: [1.0 / 255.0; 3],
        }
        .table();
        // Narrower than the padding, so that crops may miss the image.
        let shape @ [channels, height, width] = [3, 6, 3];
        let pixels: Vec<u8> = (1..=54).collect();
        let at = |c: usize, y: isize, x: isize| {
            let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
            if inside {
                f32::from(pixels[(c * height + y as usize) * width + x as usize])
            } else {
                0.0
            }
        };
        let mut seen = std::collections::HashSet::new();
        for seed in 0..2000 {
            let mut out = vec![f32::NAN; 54];
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            crop_and_flip(&table, shape, &pixels, &mut generator, &mut out);
            let found = (-4..=4isize)
                .flat_map(|dy| (-4..=4isize).map(move |dx| (dy, dx)))
                .flat_map(|(dy, dx)| [(dy, dx, false), (dy, dx, true)])
                .find(|&(dy, dx, flip)| {
                    (0..channels * height * width).all(|i| {
                        let (c, y, x) = (i / width / height, i / width % height, i % width);
                        let x = if flip { width - 1 - x } else { x };
                        let expected = at(c, y as isize + dy, x as isize + dx);
                        (out[i] - expected).abs() < 1e-3
                    })
                });
            seen.insert(found.expect("a crop of the padded image"));
        }
        // Nine rows, five columns and two orientations that show something, and black.
        assert_eq!(seen.len(), 9 * 5 * 2 + 1);
    }
}
