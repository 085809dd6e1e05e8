use crate::RgbImage;

/// Mirrors an image left to right.
pub(super) fn flip(image: &mut RgbImage) {
    let pixels = image.pixels.as_chunks_mut::<3>().0;
    for row in pixels.chunks_exact_mut(image.width as usize) {
        row.reverse();
    }
}

/// Mirrors an image top to bottom.
pub(super) fn flip_vertical(image: &mut RgbImage) {
    let pixels = image.pixels.as_chunks_mut::<3>().0;
    let mut rows = pixels.chunks_exact_mut(image.width as usize);
    while let (Some(first), Some(last)) = (rows.next(), rows.next_back()) {
        first.swap_with_slice(last);
    }
}

/// Copies a part from this column and row; it may extend beyond the image. `out` must be black.
pub(super) fn crop(image: &RgbImage, [x, y]: [i64; 2], out: &mut RgbImage) {
    let columns = overlap(x, out.width, image.width);
    let rows = overlap(y, out.height, image.height);
    let bytes = 3 * columns.len;
    let source = image.pixels.chunks_exact(3 * image.width as usize);
    let target = out.pixels.chunks_exact_mut(3 * out.width as usize);
    let source = source.skip(rows.from).take(rows.len);
    for (out, pixels) in target.skip(rows.to).zip(source) {
        out[3 * columns.to..][..bytes].copy_from_slice(&pixels[3 * columns.from..][..bytes]);
    }
}

/// Copies a part from this column and row; pixels beyond the edges of the image are reflected.
pub(super) fn crop_reflected(image: &RgbImage, [x, y]: [i64; 2], out: &mut RgbImage) {
    let pixels = image.pixels.as_chunks::<3>().0;
    let [width, height] = [image.width as usize, image.height as usize];
    let columns: Vec<usize> = (x..)
        .take(out.width as usize)
        .map(|x| reflected(x, width))
        .collect();
    let target = out.pixels.as_chunks_mut::<3>().0;
    for (y, row) in (y..).zip(target.chunks_exact_mut(out.width as usize)) {
        let begin = reflected(y, height) * width;
        let source = &pixels[begin..begin + width];
        for (pixel, &column) in row.iter_mut().zip(&columns) {
            *pixel = source[column];
        }
    }
}

/// The index within an axis of this length of one beyond its ends, at which it is reflected as often as needed: after
/// the last index comes the one before it.
pub(super) fn reflected(index: i64, len: usize) -> usize {
    let last = len as i64 - 1;
    if last == 0 {
        return 0;
    }
    let within = index.rem_euclid(2 * last);
    within.min(2 * last - within) as usize
}

/// The visible part of an axis in a window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::augment) struct Overlap {
    /// The first visible pixel.
    pub(in crate::augment) from: usize,
    /// Its position in the window.
    pub(in crate::augment) to: usize,
    /// Number of visible pixels.
    pub(in crate::augment) len: usize,
}

/// The part of an axis of `image` pixels that is visible in a window of `size` pixels from `at`.
pub(in crate::augment) fn overlap(at: i64, size: u32, image: u32) -> Overlap {
    let first = at.clamp(0, i64::from(image));
    let end = at
        .saturating_add(i64::from(size))
        .clamp(first, i64::from(image));
    Overlap {
        from: first as usize,
        // The position of an empty part does not matter.
        to: first.saturating_sub(at).clamp(0, i64::from(size)) as usize,
        len: (end - first) as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_reflected_without_repeating_them() {
        let found: Vec<usize> = (-5..8).map(|index| reflected(index, 3)).collect();
        assert_eq!(found, [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(reflected(-7, 1), 0);
    }

    #[test]
    fn a_window_shows_what_is_inside() {
        let seen = |at, size, image| {
            let Overlap { from, to, len } = overlap(at, size, image);
            [from, to, len]
        };
        assert_eq!(seen(0, 5, 5), [0, 0, 5]);
        assert_eq!(seen(-2, 5, 5), [0, 2, 3]);
        assert_eq!(seen(3, 5, 5), [3, 0, 2]);
        assert_eq!(seen(-2, 9, 5), [0, 2, 5]);
        assert_eq!(seen(2, 2, 5), [2, 0, 2]);
        for at in [-5, 5, i64::MIN, i64::MAX] {
            let [from, to, len] = seen(at, 5, 5);
            assert!(from <= 5 && to <= 5 && len == 0, "{at}");
        }
    }
}
