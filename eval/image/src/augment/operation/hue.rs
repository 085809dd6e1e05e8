//! Turning hues as Pillow's HSV of 8 bits has them. Precisions are those of its C: where it computes in
//! double precision and keeps a single one, other pixels would come out otherwise.

use multiversion::multiversion;

/// Turns the hues of all pixels by a part of the circle.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn turn(pixels: &mut [u8], by: f64) {
    // Cut off to a whole number of 255ths, which wrap around 256.
    let by = (by * 255.0) as i64 as u8;
    let sextants: [Sextant; 256] = std::array::from_fn(|hue| Sextant::of(hue as u8));
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let [hue, saturation, value] = hsv(*pixel);
        let hue = hue.wrapping_add(by);
        *pixel = rgb(&sextants[usize::from(hue)], saturation, value);
    }
}

#[inline(always)]
fn hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let max = r.max(g).max(b);
    let min = r.min(g).min(b);
    if max == min {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let saturation = range / f32::from(max);
    let [from_r, from_g, from_b] = [r, g, b].map(|value| f32::from(max - value) / range);
    let hue = if r == max {
        from_b - from_g
    } else if g == max {
        (2.0 + f64::from(from_r) - f64::from(from_b)) as f32
    } else {
        (4.0 + f64::from(from_g) - f64::from(from_r)) as f32
    };
    let hue = (f64::from(hue) / 6.0 + 1.0).fract() as f32;
    let byte = |part: f32| (f64::from(part) * 255.0) as u8;
    [byte(hue), byte(saturation), max]
}

/// What a hue says: between which of the six pure colours it is, and how far.
#[derive(Clone, Copy)]
struct Sextant {
    number: usize,
    part: f32,
}

impl Sextant {
    fn of(hue: u8) -> Self {
        let place = f64::from(hue) * 6.0 / 255.0;
        let number = place.floor();
        Self {
            number: number as usize % 6,
            part: (place - number) as f32,
        }
    }
}

#[inline(always)]
fn rgb(sextant: &Sextant, saturation: u8, value: u8) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let part = sextant.part;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let byte = |kept: f64| (f64::from(value) * kept).round() as u8;
    let low = byte(1.0 - f64::from(saturation));
    let falling = byte(1.0 - f64::from(saturation * part));
    let rising = byte(1.0 - f64::from(saturation) * (1.0 - f64::from(part)));
    let of = [value, falling, low, rising];
    ORDER[sextant.number].map(|which| of[which])
}

/// Which of value, falling, low and rising red, green and blue are, a sextant.
const ORDER: [[usize; 3]; 6] = [
    [0, 3, 2],
    [1, 0, 2],
    [2, 0, 3],
    [2, 1, 0],
    [3, 2, 0],
    [0, 2, 1],
];
