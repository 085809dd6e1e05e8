//! Sizes of images, resizes and crops: a bitmap of the first two bytes' size, and what the next say.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topk_image::{Limits, Preprocessor};
use topk_preprocessing::{Crop, Halves, ImageMode, Interpolation, Pillow, Preprocessing, Resize};

const LIMITS: Limits = Limits {
    max_pixels: 1 << 16,
    max_bytes: 4 << 20,
};

const INTERPOLATIONS: [Interpolation; 6] = [
    Interpolation::Nearest,
    Interpolation::Box,
    Interpolation::Bilinear,
    Interpolation::Hamming,
    Interpolation::Bicubic,
    Interpolation::Lanczos,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&[w, h, kind, a, b, c, d, crop], pixels)) = bytes.split_first_chunk() else {
        return;
    };
    let [a, b, c, d] = [a, b, c, d].map(u32::from);
    let preprocessing = Preprocessing {
        mode: if crop > 127 {
            ImageMode::L
        } else {
            ImageMode::Rgb
        },
        trim: u32::from(crop / 4 % 4),
        resize: match kind % 5 {
            0 => Resize::None,
            1 => Resize::ShorterSide(a),
            2 => Resize::Exact([a, b]),
            3 => Resize::Cover([a, b]),
            _ => Resize::Contain([a, b]),
        },
        interpolation: INTERPOLATIONS[usize::from(kind / 5 % 6)],
        crop: match crop % 4 {
            0 => Crop::None,
            1 => Crop::Center {
                size: [c, d],
                fill: [crop; 3],
                halves: if kind > 63 {
                    Halves::Even
                } else {
                    Halves::Down
                },
            },
            2 => Crop::Five { size: [c, d] },
            _ => Crop::Ten { size: [c, d] },
        },
        pillow: if kind > 127 { Pillow::V12 } else { Pillow::V13 },
        fast: false,
    };
    let Ok(mut preprocessor) = Preprocessor::new(preprocessing, LIMITS) else {
        return;
    };
    if let Ok(crops) = preprocessor.crops(&bitmap(w, h, pixels)) {
        let size = crops.width() as usize * crops.height() as usize;
        assert_eq!(crops.iter().len(), preprocessing.crop.count());
        assert_eq!(crops.pixels().len(), 3 * size * crops.iter().len());
    }
});

/// A BMP of 24 bits a pixel, with these pixels again and again.
fn bitmap(width: u8, height: u8, pixels: &[u8]) -> Vec<u8> {
    let stride = (usize::from(width) * 3).next_multiple_of(4);
    let len = stride * usize::from(height);
    let mut bitmap = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bitmap.extend(u32::from(width).to_le_bytes());
    bitmap.extend(u32::from(height).to_le_bytes());
    bitmap.extend(b"\x01\0\x18\0");
    bitmap.resize(0x36, 0);
    bitmap.extend(pixels.iter().chain(&[0]).cycle().take(len));
    bitmap
}
