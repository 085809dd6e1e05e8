//! Inconsistent or truncated files are errors, before much memory is allocated.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use topk_image::{ImageError, Limits, Preprocessor, decode};
use topk_preprocessing::Preprocessing;

fn files(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    files.into_iter().map(read).collect()
}

fn images() -> Vec<(PathBuf, Vec<u8>)> {
    files("images")
}

/// All kinds of TIFF, BMP and PNM.
fn formats() -> Vec<(PathBuf, Vec<u8>)> {
    files("formats")
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
fn truncated_files_of_other_formats_are_errors() {
    for (path, whole) in formats() {
        let name = path.file_name().unwrap().to_str().unwrap();
        // The second page is not read, and runs that start at an odd position are complete too early.
        let with_more = ["pages.tif", "rle8_gap.bmp", "rle4_gap.bmp"].contains(&name);
        if decode(&whole, &SMALL).is_err() || with_more {
            continue;
        }
        for cut in (0..64).chain((64..whole.len()).step_by(37)) {
            if cut < whole.len() * 9 / 10 {
                let error = decode(&whole[..cut], &SMALL);
                assert!(error.is_err(), "{name} of {cut} bytes");
            }
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

/// Where the width is in the TIFF file below: its directory is behind 19 x 11 pixels of 3 bytes, and has 2
/// bytes before the first entry.
const TIFF_SIZE: usize = 8 + (19 * 11 * 3 + 1) + 2 + 8;

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
            file: "../formats/rgb_raw_strips.tif",
            // The value of the first entry, the width, and of the second.
            at: TIFF_SIZE,
            size: &[0xff, 0xff, 0, 0, 1, 1, 3, 0, 1, 0, 0, 0, 0xff, 0xff],
        },
        Header {
            file: "../formats/p6.ppm",
            at: 3,
            size: b"9999 999\n",
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
    let error = decode(b"no image", &SMALL).unwrap_err();
    assert!(error.to_string().contains("6e 6f 20 69 6d"), "{error}");
    for (start, expected) in [
        (&b""[..], "the file is empty"),
        (b"<html>not found</html>", "an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer",
        ),
        (&[0; 100], "filled with zeros"),
        (b"\0\0\0\x20ftypavif", "AVIF files are not supported"),
        (b"\0\0\0\x20ftypheic", "HEIC files are not supported"),
        (b"%PDF-1.7", "PDF files are not supported"),
    ] {
        let error = decode(start, &SMALL).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
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
    fn damaged_files_of_other_formats_give_an_image_or_an_error(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_header in any::<bool>(),
    ) {
        static FORMATS: LazyLock<Vec<(PathBuf, Vec<u8>)>> = LazyLock::new(formats);
        let (path, mut encoded) = which.get(&FORMATS).clone();
        // The directory of a TIFF file is at its end.
        let tiff = path.extension().is_some_and(|extension| extension == "tif");
        for (at, value) in damage {
            let len = if in_header { encoded.len().min(240) } else { encoded.len() };
            let at = at.index(len);
            let at = if tiff && in_header { encoded.len() - 1 - at } else { at };
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
            b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"P1\n", b"P2 3 2 9 ", b"P3 3 2 300 ", b"P4 9 2 ",
            b"P5 3 2 9 ", b"P6 3 2 900 ", b"Pf 3 2 -1 ",
            b"BM\0\0\0\0\0\0\0\0\0\0\0\0\x28\0\0\0\x09\0\0\0\x07\0\0\0\x01\0\x08\0\x01\0\0\0",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = decode(&[signature, &rest].concat(), &SMALL);
    }
}
