//! Pillow's resampling filters.
//!
//! The arithmetic is Pillow's, operation by operation: any other order rounds differently.

use std::f64::consts::PI;

use topk_preprocessing::Interpolation;

/// One of Pillow's filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    /// Largest distance from the centre with a non-zero weight, in pixels of the smaller image.
    pub(super) support: f64,
    /// The weight at a distance from the centre.
    pub(super) weight: fn(f64) -> f64,
}

impl Filter {
    /// The filter; `None` if single pixels are copied.
    pub(super) fn of(interpolation: Interpolation) -> Option<Self> {
        let (support, weight): (f64, fn(f64) -> f64) = match interpolation {
            Interpolation::Nearest => return None,
            Interpolation::Box => (0.5, square),
            Interpolation::Bilinear => (1.0, triangle),
            Interpolation::Hamming => (1.0, hamming),
            Interpolation::Bicubic => (2.0, cubic),
            Interpolation::Lanczos => (3.0, lanczos),
        };
        Some(Self { support, weight })
    }
}

fn square(x: f64) -> f64 {
    f64::from(x > -0.5 && x <= 0.5)
}

fn triangle(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 { 1.0 - x } else { 0.0 }
}

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x == 0.0 {
        1.0
    } else if x >= 1.0 {
        0.0
    } else {
        // Pillow's constants have single precision.
        let x = x * PI;
        x.sin() / x * (f64::from(0.54f32) + f64::from(0.46f32) * x.cos())
    }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}
