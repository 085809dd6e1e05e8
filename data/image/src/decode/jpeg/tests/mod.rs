//! The fast decoder compared with the library alone.

mod damage;

use std::fs;
use std::path::{Path, PathBuf};

use libjpeg_turbo_rs::{Encoder, Subsampling, compress_raw};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use topk_testing::shared;

use super::*;
use crate::resize::Region;

fn by_library(encoded: &[u8], limits: &Limits) -> Result<RgbImage, ImageError> {
    let mut image = RgbImage::default();
    let mut decoder = Decoder::new(encoded).map_err(error)?;
    prepare(&mut decoder, encoded, limits)?;
    with_library(&mut decoder, &mut image)?;
    Ok(image)
}

/// A decoder whose buffers have the remains of other images.
#[derive(Default)]
struct Fast {
    baseline: Baseline,
    image: RgbImage,
}

impl Fast {
    /// Whether the fast decoder takes the file, and its pixels.
    fn decode(&mut self, encoded: &[u8]) -> Option<&RgbImage> {
        let decoder = Decoder::new(encoded).ok()?;
        let colors = match decoder.jpeg_color_space() {
            ColorSpace::Rgb => Colors::Rgb,
            _ => Colors::YCbCr,
        };
        let size = output_size(&decoder);
        let part = Region::whole(size);
        self.baseline
            .decode(encoded, size, colors, &part, &mut self.image)?;
        Some(&self.image)
    }

    /// Checks a file that the fast decoder must take.
    fn check(&mut self, encoded: &[u8], name: &str) {
        let expected = by_library(encoded, &Limits::default()).unwrap();
        let found = self.decode(encoded);
        let found = found.unwrap_or_else(|| panic!("{name} is not taken"));
        assert!(*found == expected, "{name} has other pixels");
    }
}

const SAMPLINGS: [Subsampling; 4] = [
    Subsampling::S444,
    Subsampling::S422,
    Subsampling::S420,
    Subsampling::S440,
];

/// Pixels with some structure, some noise, and some black and white ones.
fn pixels(size: [usize; 2], random: &mut impl Rng) -> Vec<u8> {
    let [width, height] = size;
    let noise = [0, 8, 64, 255][random.random_range(0..4)];
    let slope: [f32; 6] = random.random();
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let wave = slope[channel] * x as f32 + slope[channel + 3] * y as f32;
                let value = 128.0 + 120.0 * wave.sin();
                let noise = random.random_range(-noise..=noise);
                pixels.push((value as i32 + noise).clamp(0, 255) as u8);
            }
        }
    }
    pixels
}

fn encode(
    pixels: &[u8],
    [width, height]: [usize; 2],
    configure: impl FnOnce(Encoder<'_>) -> Encoder<'_>,
) -> Vec<u8> {
    let encoder = Encoder::new(pixels, width, height, PixelFormat::Rgb);
    configure(encoder).encode().unwrap()
}

#[test]
fn images_of_all_samplings_and_sizes_have_the_pixels_of_the_library() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut fast = Fast::default();
    for width in 1..=40 {
        for height in 1..=40 {
            let pixels = pixels([width, height], &mut random);
            let quality = [1, 20, 75, 90, 95, 100][random.random_range(0..6)];
            let optimized = random.random();
            let restarts = [0, 0, 1, 2, 3, 7][random.random_range(0..6)];
            let sampling = SAMPLINGS[(width + height) % 4];
            let is_grey = random.random_ratio(1, 8);
            let encoded = encode(&pixels, [width, height], |encoder| {
                encoder
                    .quality(quality)
                    .force_baseline(true)
                    .subsampling(sampling)
                    .optimize_huffman(optimized)
                    .grayscale_from_color(is_grey)
                    .restart_blocks(restarts)
            });
            let name = format!(
                "{width} x {height}, {sampling:?}, grey: {is_grey}, quality {quality}, \
                 optimized: {optimized}, {restarts} blocks between restarts"
            );
            // Chroma of one or two columns is not smoothed.
            let is_wide = matches!(sampling, Subsampling::S422 | Subsampling::S420) && !is_grey;
            if is_wide && width <= 4 {
                assert!(fast.decode(&encoded).is_none(), "{name}");
            } else {
                fast.check(&encoded, &name);
            }
        }
    }
}

#[test]
fn larger_images_have_the_pixels_of_the_library() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut fast = Fast::default();
    for sampling in SAMPLINGS {
        for size in [[640, 129], [97, 500], [256, 256]] {
            let pixels = pixels(size, &mut random);
            for quality in [50, 98] {
                let encoded = encode(&pixels, size, |encoder| {
                    encoder
                        .quality(quality)
                        .subsampling(sampling)
                        .restart_rows(3)
                });
                fast.check(&encoded, &format!("{size:?}, {sampling:?}, {quality}"));
            }
        }
    }
}

/// Every pair of chroma values, in blocks of one colour, so that also ties are rounded alike.
#[test]
fn all_colors_are_converted_like_those_of_the_library() {
    const SIDE: usize = 8 * 256;
    let plane = |value: fn(usize, usize) -> usize| {
        let pixels = (0..SIDE * SIDE).map(|at| value(at % SIDE / 8, at / SIDE / 8) as u8);
        pixels.collect::<Vec<_>>()
    };
    let [cb, cr] = [plane(|x, _| x), plane(|_, y| y)];
    for y in [plane(|_, _| 100), plane(|x, y| 255 - (x ^ y))] {
        let planes = [y, cb.clone(), cr.clone()];
        let sampling = Subsampling::S444;
        let sides = [SIDE; 3];
        let planes = planes.each_ref().map(Vec::as_slice);
        let encoded = compress_raw(&planes, &sides, &sides, SIDE, SIDE, 100, sampling).unwrap();
        Fast::default().check(&encoded, "an image of all colours");
    }
}

#[test]
fn red_green_and_blue_are_not_converted() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let size = [37, 29];
    let pixels = pixels(size, &mut random);
    let encoded = encode(&pixels, size, |encoder| {
        let encoder = encoder.colorspace(ColorSpace::Rgb).quality(100);
        encoder.subsampling(Subsampling::S444)
    });
    let mut fast = Fast::default();
    fast.check(&encoded, "an RGB image");
    let close = |(a, b): (&u8, &u8)| a.abs_diff(*b) < 4;
    assert!(fast.image.pixels.iter().zip(&pixels).all(close));
}

#[test]
fn unusual_files_are_not_taken() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let size = [37, 29];
    let pixels = pixels(size, &mut random);
    let usual = encode(&pixels, size, |encoder| encoder);
    let progressive = encode(&pixels, size, |encoder| encoder.progressive(true));
    let arithmetic = encode(&pixels, size, |encoder| encoder.arithmetic(true));
    let wide = encode(&pixels, size, |encoder| {
        encoder.subsampling(Subsampling::S411)
    });
    // 16-bit quantization.
    let coarse = encode(&pixels, size, |encoder| {
        encoder.quant_table(0, [300; 64]).force_baseline(false)
    });
    let mut fast = Fast::default();
    assert!(fast.decode(&usual).is_some());
    for (encoded, name) in [
        (progressive, "progressive"),
        (arithmetic, "arithmetic"),
        (wide, "4:1:1"),
        (coarse, "16-bit quantization"),
    ] {
        assert!(fast.decode(&encoded).is_none(), "{name}");
        let mut image = RgbImage::default();
        let limits = Limits::default();
        let decoded = decode(
            &encoded,
            &limits,
            Request::WHOLE,
            &mut fast.baseline,
            &mut image,
        );
        assert!(decoded.is_ok(), "{name}");
        assert_eq!(image, by_library(&encoded, &limits).unwrap(), "{name}");
    }
}

#[test]
fn scaled_images_are_those_of_the_library() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let encoded = encode(&pixels([37, 29], &mut random), [37, 29], |encoder| encoder);
    let limits = Limits::default();
    let request = Request {
        at_least: Some([10, 10]),
        ..Request::WHOLE
    };
    let Fast { baseline, image } = &mut Fast::default();
    assert!(decode(&encoded, &limits, request, baseline, image).is_ok());
    let mut decoder = Decoder::new(&encoded).unwrap();
    decoder.set_scale(ScalingFactor::try_new(1, 2).unwrap());
    let mut expected = RgbImage::default();
    with_library(&mut decoder, &mut expected).unwrap();
    assert_eq!([expected.width, expected.height], [19, 15]);
    assert_eq!(*image, expected);
}

/// All files below a folder with the signature of a JPEG.
fn jpegs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let encoded = fs::read(&path).unwrap();
                if encoded.starts_with(&[0xff, 0xd8, 0xff]) {
                    found.push((path, encoded));
                }
            }
        }
    }
    found.sort();
    found
}

/// Compares all files, and returns their number, and how many of them are taken.
fn compare(files: &[(PathBuf, Vec<u8>)]) -> [usize; 2] {
    let mut fast = Fast::default();
    let mut taken = 0;
    for (path, encoded) in files {
        let expected = by_library(encoded, &Limits::default());
        if let Some(found) = fast.decode(encoded) {
            taken += 1;
            assert_eq!(Ok(found), expected.as_ref(), "{}", path.display());
        }
    }
    [files.len(), taken]
}

#[test]
fn fixtures_have_the_pixels_of_the_library() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images");
    assert_eq!(compare(&jpegs(&images)), [42, 27]);
}

#[test]
fn photographs_have_the_pixels_of_the_library() {
    let Some(photographs) = shared("data/imagenet-sample") else {
        return;
    };
    assert_eq!(compare(&jpegs(&photographs)), [300, 300]);
}

/// A part of an image.
fn part_of(image: &RgbImage, part: &Region) -> Vec<u8> {
    let rows = image.pixels.chunks_exact(3 * image.width as usize);
    let rows = rows.skip(part.rows.start as usize).take(part.rows.len());
    let columns = 3 * part.columns.start as usize..3 * part.columns.end as usize;
    rows.flat_map(|row| row[columns.clone()].to_vec()).collect()
}

#[test]
fn parts_have_the_pixels_of_the_whole() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut fast = Fast::default();
    for round in 0..3000 {
        let size = [random.random_range(5..120), random.random_range(1..120)];
        let [mut columns, mut rows] = size.map(|side| {
            let start = random.random_range(0..side as u32);
            start..random.random_range(start + 1..=side as u32)
        });
        // Also parts at the sides.
        match random.random_range(0..8) {
            0 => columns.start = 0,
            1 => columns.end = size[0] as u32,
            2 => rows.start = 0,
            3 => rows.end = size[1] as u32,
            _ => {}
        }
        let part = Region { columns, rows };
        let pixels = pixels(size, &mut random);
        let sampling = SAMPLINGS[round % 4];
        let encoded = encode(&pixels, size, |encoder| {
            let is_grey = round % 16 < 4;
            encoder.subsampling(sampling).grayscale_from_color(is_grey)
        });
        let whole = by_library(&encoded, &Limits::default()).unwrap();
        // Whatever is not decoded differs from it.
        fast.image.pixels = whole.pixels.iter().map(|value| !value).collect();
        let size = size.map(|side| side as u32);
        let Fast { baseline, image } = &mut fast;
        let decoded = baseline.decode(&encoded, size, Colors::YCbCr, &part, image);
        assert!(decoded.is_some(), "{size:?}, {sampling:?}");
        assert!(
            part_of(image, &part) == part_of(&whole, &part),
            "{part:?} of {size:?}, {sampling:?}"
        );
    }
}
