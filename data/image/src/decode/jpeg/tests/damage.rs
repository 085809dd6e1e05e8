//! Damaged files.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Small files of all kinds that are taken.
fn usual() -> Vec<Vec<u8>> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut usual = Vec::new();
    let size = [45, 50];
    // Most of its blocks have only two symbols, of one bit each.
    let smooth = (0..3 * size[0] * size[1]).map(|at| (at / 512) as u8);
    let smooth = smooth.collect::<Vec<_>>();
    for sampling in SAMPLINGS {
        for (is_smooth, restarts) in [(false, 0), (false, 4), (true, 0), (true, 4)] {
            let noisy = pixels(size, &mut random);
            let pixels = if is_smooth { &smooth } else { &noisy };
            usual.push(encode(pixels, size, |encoder| {
                encoder
                    .quality(85)
                    .subsampling(sampling)
                    .optimize_huffman(is_smooth || restarts > 0)
                    .restart_blocks(restarts)
            }));
        }
    }
    usual
}

/// Compares a damaged file; whether it is decoded, and whether by the fast decoder.
fn compare_damaged(fast: &mut Fast, encoded: &[u8]) -> [bool; 2] {
    let limits = Limits {
        max_pixels: 1 << 16,
        ..Limits::default()
    };
    let expected = by_library(encoded, &limits);
    let Fast { baseline, image } = fast;
    let found = decode(encoded, &limits, Request::WHOLE, baseline, image).map(|_reserved| &*image);
    assert_eq!(
        found,
        expected.as_ref().map_err(Clone::clone),
        "{encoded:?}"
    );
    let Ok(expected) = expected else {
        return [false; 2];
    };
    // The same in a part of it.
    let [columns, rows] = [expected.width, expected.height].map(|side| side / 4..side.div_ceil(2));
    let part = Region { columns, rows };
    let request = Request {
        at_least: None,
        part: &|_| part.clone(),
    };
    let decoded = decode(
        encoded,
        &limits,
        request,
        &mut fast.baseline,
        &mut fast.image,
    );
    assert!(decoded.is_ok(), "{encoded:?}");
    assert_eq!(part_of(&fast.image, &part), part_of(&expected, &part));
    [true, fast.decode(encoded).is_some()]
}

#[test]
fn damaged_files_have_the_pixels_or_the_error_of_the_library() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let mut fast = Fast::default();
    let [mut decoded, mut taken, mut all] = [0, 0, 0];
    for usual in usual() {
        let scan = usual
            .windows(2)
            .position(|two| two == [0xff, 0xda])
            .unwrap();
        for round in 0..1000 {
            let mut damaged = usual.clone();
            let from = if round % 3 == 0 { 0 } else { scan };
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(from..damaged.len());
                match random.random_range(0..8) {
                    0..4 => damaged[at] ^= 1 << random.random_range(0..8),
                    4 => damaged[at] = random.random(),
                    5 => damaged[at] = 0xff,
                    6 => drop(damaged.remove(at)),
                    _ => damaged.insert(at, random.random()),
                }
            }
            let [is_decoded, is_taken] = compare_damaged(&mut fast, &damaged);
            decoded += u32::from(is_decoded);
            taken += u32::from(is_taken);
            all += 1;
        }
    }
    // Some damage is not noticed, and some cannot be repaired.
    assert!(taken * 20 > all, "{taken} of {all} are taken");
    assert!(taken * 2 < decoded, "{taken} of {decoded} are taken");
    assert!(decoded < all, "all {all} are decoded");
}

#[test]
fn truncated_files_have_the_pixels_or_the_error_of_the_library() {
    let mut fast = Fast::default();
    for usual in usual() {
        for len in 0..usual.len() {
            let mut encoded = usual[..len].to_vec();
            compare_damaged(&mut fast, &encoded);
            encoded.extend([0xff, 0xd9]);
            compare_damaged(&mut fast, &encoded);
        }
    }
}
