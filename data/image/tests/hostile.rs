//! Inconsistent or truncated files are errors, before much memory is allocated.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use topk_image::{ImageError, Limits, Preprocessor, decode};
use topk_preprocessing::Preprocessing;

fn images() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    files.into_iter().map(read).collect()
}

fn image(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/images")
            .join(name),
    )
    .unwrap()
}

/// Limits low enough to detect unnecessary allocations.
const SMALL: Limits = Limits {
    max_pixels: 1 << 20,
    max_bytes: 16 << 20,
};

#[test]
fn truncated_files_are_errors() {
    for (path, whole) in images() {
        let name = path.file_name().unwrap().to_str().unwrap();
        // Files with an end marker, or data after the image.
        let with_more = ["trailing.jpg", "animated.gif"];
        if name.starts_with("early_end") || with_more.contains(&name) {
            continue;
        }
        let cuts = (0..64).chain((64..whole.len()).step_by(97));
        for cut in cuts.take_while(|&cut| cut < whole.len() * 9 / 10) {
            let error = decode(&whole[..cut], &SMALL);
            assert!(error.is_err(), "{name} of {cut} bytes");
        }
    }
}

#[test]
fn truncated_jpegs_are_reported_as_truncated() {
    for name in ["420.jpg", "444_progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        let whole = image(name);
        // Also without the end marker.
        for cut in [whole.len() / 2, whole.len() - 20, whole.len() - 2] {
            let error = decode(&whole[..cut], &SMALL).unwrap_err();
            assert_eq!(error, ImageError::Truncated { format: "JPEG" }, "{name}");
        }
    }
}

#[test]
fn sizes_are_checked_before_memory_is_allocated() {
    /// Position and encoding of the size in a format.
    struct Header {
        file: &'static str,
        at: usize,
        size: &'static [u8],
    }
    let frame = image("444.jpg");
    let frame = frame.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    let progressive = image("444_progressive.jpg");
    let scans = progressive
        .windows(2)
        .position(|w| w == [0xff, 0xc2])
        .unwrap();
    for header in [
        Header {
            file: "444.jpg",
            at: frame + 5,
            size: &[0xff, 0xdc, 0xff, 0xdc],
        },
        Header {
            file: "444_progressive.jpg",
            at: scans + 5,
            size: &[0xff, 0xdc, 0xff, 0xdc],
        },
        Header {
            file: "palette.gif",
            at: 6,
            size: &[0xff; 4],
        },
        Header {
            file: "rgb.bmp",
            at: 18,
            size: &[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0],
        },
        Header {
            file: "lossy.webp",
            at: 26,
            size: &[0xff, 0x3f, 0xff, 0x3f],
        },
    ] {
        let mut lie = image(header.file);
        lie[header.at..][..header.size.len()].copy_from_slice(header.size);
        let error = decode(&lie, &SMALL).unwrap_err();
        let file = header.file;
        assert!(
            matches!(error, ImageError::TooManyPixels { .. }),
            "{file}: {error}"
        );
    }
}

#[test]
fn the_error_of_a_huge_png_has_its_size() {
    let mut lie = image("rgb_8.png");
    lie[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let crc = crc32(&lie[12..29]);
    lie[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = decode(&lie, &Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image has 2147483647 x 2147483647 pixels; the limit is 178956970 pixels"
    );
}

/// CRC of a PNG chunk, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let remainder = bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    });
    !remainder
}

#[test]
fn frames_larger_than_the_canvas_are_errors() {
    let mut lie = image("lossy_alpha.webp");
    let frame = lie.windows(4).position(|w| w == b"VP8 ").unwrap();
    lie[frame + 14..frame + 18].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    let error = decode(&lie, &SMALL).unwrap_err();
    assert!(error.to_string().contains("16383 x 16383"), "{error}");
}

#[test]
fn memory_is_limited() {
    let limits = Limits {
        max_bytes: 10_000,
        ..SMALL
    };
    for (path, encoded) in images() {
        let size = decode(&encoded, &SMALL)
            .map(|image| image.pixels.len())
            .unwrap();
        if size > 10_000 {
            let error = decode(&encoded, &limits).unwrap_err();
            assert!(
                matches!(error, ImageError::TooLarge { .. }),
                "{path:?}: {error}"
            );
        }
    }
    // A narrow image becomes very long, which must be checked, too.
    let whole = Preprocessing {
        crop: topk_preprocessing::Crop::None,
        ..Preprocessing::torchvision(2000, 224)
    };
    let mut preprocessor = Preprocessor::new(whole, SMALL).unwrap();
    let error = preprocessor.crops(&image("tall.jpg")).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
}

#[test]
fn other_files_are_errors_with_their_first_bytes() {
    assert_eq!(decode(&[], &SMALL), Err(ImageError::Empty));
    let error = decode(b"<html>not found</html>", &SMALL).unwrap_err();
    assert!(error.to_string().contains("3c 68 74 6d 6c"), "{error}");
}

#[test]
fn after_an_error_the_next_image_is_decoded() {
    let preprocessing = Preprocessing::torchvision(64, 56);
    let mut preprocessor = Preprocessor::new(preprocessing, SMALL).unwrap();
    let whole = image("420.jpg");
    let expected = preprocessor.crops(&whole).unwrap().pixels().to_vec();
    assert!(preprocessor.crops(&whole[..whole.len() / 2]).is_err());
    assert!(preprocessor.crops(b"").is_err());
    assert_eq!(preprocessor.crops(&whole).unwrap().pixels(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_give_an_image_or_an_error(
        which in 0usize..80,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (_, mut encoded) = images().swap_remove(which);
        for (at, value) in damage {
            let at = at.index(encoded.len());
            encoded[at] = value;
        }
        if let Ok(image) = decode(&encoded, &SMALL) {
            prop_assert_eq!(image.pixels.len(), 3 * image.width as usize * image.height as usize);
        }
    }

    #[test]
    fn random_bytes_behind_a_signature_do_no_harm(
        signature in prop::sample::select(vec![
            &b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP",
            b"II*\0", b"MM\0*",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = decode(&[signature, &rest].concat(), &SMALL);
    }
}
