//! Encoded images of every format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topk_image::{Limits, decode};

const LIMITS: Limits = Limits {
    max_pixels: 1 << 18,
    max_bytes: 8 << 20,
};

fuzz_target!(|encoded: &[u8]| {
    if let Ok(image) = decode(encoded, &LIMITS) {
        let pixels = image.width as usize * image.height as usize;
        assert_eq!(image.pixels.len(), 3 * pixels);
        assert!(pixels <= LIMITS.max_pixels as usize);
    }
});
