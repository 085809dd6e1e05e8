//! A region of the resized image equals that part of the whole resized image.

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
use proptest::prelude::*;
use topk_image::{Limits, Preprocessor, RgbImage, decode};
use topk_preprocessing::{Crop, Halves, ImageMode, Interpolation, Pillow, Preprocessing, Resize};

/// A 24-bit BMP of noise.
fn bitmap(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let len = (3 * width).next_multiple_of(4) * height;
    let mut bitmap = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bitmap.extend(width.to_le_bytes());
    bitmap.extend(height.to_le_bytes());
    bitmap.extend(b"\x01\0\x18\0");
    bitmap.resize(0x36, 0);
    let mut state = seed | 1;
    bitmap.extend((0..len).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    bitmap
}

fn crops(encoded: &[u8], preprocessing: Preprocessing) -> (Vec<u8>, [usize; 2]) {
    let mut preprocessor = Preprocessor::new(preprocessing, Limits::default()).unwrap();
    let crops = preprocessor.crops(encoded).unwrap();
    let size = [crops.width(), crops.height()].map(|side| side as usize);
    (crops.pixels().to_vec(), size)
}

/// A part of an RGB image.
fn cut(pixels: &[u8], width: usize, at: [usize; 2], size: [usize; 2]) -> Vec<u8> {
    let rows = pixels.chunks_exact(3 * width).skip(at[1]).take(size[1]);
    rows.flat_map(|row| &row[3 * at[0]..3 * (at[0] + size[0])])
        .copied()
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_crop_is_a_part_of_the_whole(
        (width, height) in (1u32..90, 1u32..90),
        (to_width, to_height) in (1u32..70, 1u32..70),
        part in (1u32..=100, 1u32..=100),
        interpolation in prop::sample::select(vec![
            Interpolation::Nearest,
            Interpolation::Box,
            Interpolation::Bilinear,
            Interpolation::Hamming,
            Interpolation::Bicubic,
            Interpolation::Lanczos,
        ]),
        pillow in prop::sample::select(vec![Pillow::V12, Pillow::V13]),
        seed: u32,
    ) {
        let encoded = bitmap(width, height, seed);
        let whole = Preprocessing {
            mode: ImageMode::Rgb,
            trim: 0,
            resize: Resize::Exact([to_width, to_height]),
            interpolation,
            crop: Crop::None,
            pillow,
            fast: false,
        };
        let (resized, [columns, rows]) = crops(&encoded, whole);
        let size = [
            (to_width * part.0).div_ceil(100),
            (to_height * part.1).div_ceil(100),
        ];
        let ten = Preprocessing { crop: Crop::Ten { size }, ..whole };
        let (found, size) = crops(&encoded, ten);
        let [right, bottom] = [columns - size[0], rows - size[1]];
        let mut mirrored = resized.clone();
        for row in mirrored.chunks_exact_mut(3 * columns) {
            row.as_chunks_mut::<3>().0.reverse();
        }
        // Halves are rounded to even.
        let center = [right, bottom].map(|room| (room as f64 / 2.0).round_ties_even() as usize);
        let corners = [[0, 0], [right, 0], [0, bottom], [right, bottom], center];
        let expected: Vec<u8> = [&resized, &mirrored]
            .into_iter()
            .flat_map(|image| corners.map(|at| cut(image, columns, at, size)))
            .flatten()
            .collect();
        prop_assert_eq!(&found, &expected);

        let middle = Crop::Center { size: size.map(|side| side as u32), fill: [0; 3], halves: Halves::Even };
        let (found, size) = crops(&encoded, Preprocessing { crop: middle, ..whole });
        prop_assert_eq!(found, cut(&resized, columns, center, size));
    }
}

/// A JPEG of noise.
fn jpeg([width, height]: [u32; 2], sampling: Subsampling, restarts: u16, seed: u32) -> Vec<u8> {
    let [width, height] = [width, height].map(|side| side as usize);
    let mut state = seed | 1;
    let pixels: Vec<u8> = (0..3 * width * height)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    Encoder::new(&pixels, width, height, PixelFormat::Rgb)
        .subsampling(sampling)
        .restart_blocks(restarts)
        .encode()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    // Only the part of a JPEG that is needed is decoded, but damage to the rest makes no difference.
    #[test]
    fn crops_of_a_jpeg_are_those_of_the_decoded_image(
        size in [5u32..150, 1u32..150],
        sampling in prop::sample::select(vec![
            Subsampling::S444,
            Subsampling::S422,
            Subsampling::S420,
            Subsampling::S440,
        ]),
        restarts in prop::sample::select(vec![0u16, 0, 5]),
        resize in prop_oneof![
            Just(Resize::None),
            (1u32..90).prop_map(Resize::ShorterSide),
            [1u32..90, 1u32..90].prop_map(Resize::Exact),
        ],
        crop in prop_oneof![
            [1u32..60, 1u32..60].prop_map(|size| {
                Crop::Center { size, fill: [9; 3], halves: Halves::Even }
            }),
            [1u32..9, 1u32..9].prop_map(|size| Crop::Ten { size }),
            Just(Crop::None),
        ],
        interpolation in prop::sample::select(vec![
            Interpolation::Nearest,
            Interpolation::Box,
            Interpolation::Bilinear,
            Interpolation::Bicubic,
            Interpolation::Lanczos,
        ]),
        pillow in prop::sample::select(vec![Pillow::V12, Pillow::V13]),
        mode in prop::sample::select(vec![ImageMode::Rgb, ImageMode::L]),
        trim in 0u32..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        seed: u32,
    ) {
        let preprocessing = Preprocessing { mode, trim, resize, interpolation, crop, pillow, fast: false };
        let limits = Limits::default();
        let mut preprocessor = Preprocessor::new(preprocessing, limits).unwrap();
        // Its pixels remain where those of the next image are not needed.
        let _ = preprocessor.crops(&jpeg(size, sampling, restarts, !seed));
        let mut encoded = jpeg(size, sampling, restarts, seed);
        let scan = encoded.windows(2).position(|two| two == [0xff, 0xda]).unwrap();
        for (at, value) in damage {
            let at = scan + at.index(encoded.len() - scan);
            encoded[at] = value;
        }
        let found = preprocessor.crops(&encoded).map(|crops| crops.pixels().to_vec());
        let mut whole = Preprocessor::new(preprocessing, limits).unwrap();
        let expected = decode(&encoded, &limits)
            .and_then(|image| Ok(whole.crops_of(&image)?.pixels().to_vec()));
        prop_assert!(found == expected, "{:?}", found.err().or(expected.err()));
    }
}

#[test]
fn trimmed_images_are_those_without_their_outermost_pixels() {
    let [width, height, trim] = [37, 29, 2];
    let encoded = bitmap(width as u32, height as u32, 5);
    let untouched = Preprocessing {
        resize: Resize::None,
        crop: Crop::None,
        ..Preprocessing::torchvision(16, 12)
    };
    let (pixels, _) = crops(&encoded, untouched);
    let size = [width - 2 * trim, height - 2 * trim];
    let inside = RgbImage {
        width: size[0] as u32,
        height: size[1] as u32,
        pixels: cut(&pixels, width, [trim, trim], size),
    };
    for preprocessing in [untouched, Preprocessing::torchvision(16, 12)] {
        let trimmed = Preprocessing {
            trim: trim as u32,
            ..preprocessing
        };
        let (found, _) = crops(&encoded, trimmed);
        let mut preprocessor = Preprocessor::new(preprocessing, Limits::default()).unwrap();
        assert_eq!(found, preprocessor.crops_of(&inside).unwrap().pixels());
    }
    let nothing = Preprocessing {
        trim: 15,
        ..untouched
    };
    let mut preprocessor = Preprocessor::new(nothing, Limits::default()).unwrap();
    let error = preprocessor.crops(&encoded).unwrap_err().to_string();
    assert_eq!(
        error,
        "15 pixels cannot be removed from each side of an image of 37 x 29 pixels"
    );
    let fast = Preprocessing {
        fast: true,
        ..nothing
    };
    assert!(Preprocessor::new(fast, Limits::default()).is_err());
}

#[test]
fn preprocessing_survives_json() {
    let preprocessing = Preprocessing {
        crop: Crop::Ten { size: [224, 192] },
        pillow: Pillow::V12,
        ..Preprocessing::torchvision(256, 224)
    };
    let json = serde_json::to_string(&preprocessing).unwrap();
    assert_eq!(
        json,
        r#"{"resize":{"shorter_side":256},"interpolation":"bilinear","crop":{"ten":{"size":[224,192]}},"pillow":"12","fast":false}"#
    );
    let read: Preprocessing = serde_json::from_str(&json).unwrap();
    assert_eq!(read, preprocessing);
}

#[test]
fn invalid_sizes_are_errors() {
    for preprocessing in [
        Preprocessing::torchvision(0, 224),
        Preprocessing::torchvision(256, 0),
        Preprocessing::torchvision(1 << 20, 224),
    ] {
        let error = Preprocessor::new(preprocessing, Limits::default()).unwrap_err();
        assert!(error.to_string().contains("from 1 to 65536"), "{error}");
    }
}
