//! Rotation of hues in Pillow's 8-bit HSV. Precisions are those of its C code: where it computes in double
//! precision and stores single precision, other precisions would give other pixels.

use multiversion::multiversion;

use super::color::{LANES, Lanes, change};

/// Rotates the hues of all pixels by a fraction of the circle.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(super) fn turn(pixels: &mut [u8], by: f64) {
    // Truncated to a whole number of 255ths, modulo 256.
    let by = (by * 255.0) as i64 as u8;
    let sextants = Sextants::new();
    change(pixels, |rgb| {
        let [mut hues, saturations, values] = to_hsv(rgb);
        for hue in &mut hues {
            *hue = hue.wrapping_add(by);
        }
        to_rgb([hues, saturations, values], &sextants)
    });
}

#[inline(always)]
fn to_hsv([r, g, b]: Lanes) -> Lanes {
    let mut hsv = [[0; LANES]; 3];
    for i in 0..LANES {
        let [r, g, b] = [r[i], g[i], b[i]];
        let max = r.max(g).max(b);
        let range = max - r.min(g).min(b);
        // Greys have neither hue nor saturation: 0 / 1 gives 0.
        let divisor = f32::from(range.max(1));
        let [from_r, from_g, from_b] = [r, g, b].map(|value| f32::from(max - value) / divisor);
        // Pillow does not widen the first difference, which is exact: it has few bits.
        let (begin, up, down) = if r == max {
            (0.0, from_b, from_g)
        } else if g == max {
            (2.0, from_r, from_b)
        } else {
            (4.0, from_g, from_r)
        };
        let hue = (begin + f64::from(up) - f64::from(down)) as f32;
        let hue = f64::from(hue) / 6.0 + 1.0;
        let hue = (hue - f64::from(hue >= 1.0)) as f32;
        let saturation = f32::from(range) / f32::from(max.max(1));
        hsv[0][i] = byte(f64::from(hue) * 255.0);
        hsv[1][i] = byte(f64::from(saturation) * 255.0);
        hsv[2][i] = max;
    }
    hsv
}

/// Integer part of a number from 0 to below 256, same as `as u8`, which would prevent vectorisation. The
/// integer is in the lowest bits.
#[inline(always)]
fn byte(number: f64) -> u8 {
    (number.trunc() + (1u64 << 52) as f64).to_bits() as u8
}

/// For each hue, its sextant of the colour circle and the position in it.
struct Sextants {
    numbers: [u8; 256],
    parts: [f32; 256],
}

impl Sextants {
    fn new() -> Self {
        let place = |hue: usize| hue as f64 * 6.0 / 255.0;
        Self {
            numbers: std::array::from_fn(|hue| place(hue) as u8 % 6),
            parts: std::array::from_fn(|hue| place(hue).fract() as f32),
        }
    }
}

#[inline(always)]
fn to_rgb([hues, saturations, values]: Lanes, sextants: &Sextants) -> Lanes {
    let mut numbers = [0; LANES];
    let mut parts = [0.0; LANES];
    for i in 0..LANES {
        numbers[i] = sextants.numbers[usize::from(hues[i])];
        parts[i] = sextants.parts[usize::from(hues[i])];
    }
    let mut rgb = [[0; LANES]; 3];
    for i in 0..LANES {
        let (number, part, value) = (numbers[i], parts[i], values[i]);
        // For integers, division in single precision gives the same result as in double precision.
        let saturation = f32::from(saturations[i]) / 255.0;
        // Rounded: the sum is exact because there are few bits.
        let kept = |part: f64| byte(f64::from(value) * part + 0.5);
        let low = kept(1.0 - f64::from(saturation));
        let falling = kept(1.0 - f64::from(saturation * part));
        let rising = kept(1.0 - f64::from(saturation) * (1.0 - f64::from(part)));
        let even = number % 2 == 0;
        // The largest, middle and smallest value are each the same channel in a third of the circle.
        let between = if even { rising } else { falling };
        rgb[0][i] = match number {
            0 | 5 => value,
            2 | 3 => low,
            _ => between,
        };
        rgb[1][i] = match number {
            1 | 2 => value,
            4 | 5 => low,
            _ => between,
        };
        rgb[2][i] = match number {
            3 | 4 => value,
            0 | 1 => low,
            _ => between,
        };
    }
    rgb
}
