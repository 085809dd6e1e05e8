use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// `jpeg_idct_islow` as libjpeg has it, without its 16-bit and 32-bit limits; also its values between the passes.
fn reference(coefficients: &[i64; 64]) -> ([i64; 64], [u8; 64]) {
    fn descale(value: i64, shift: i64) -> i64 {
        (value + (1 << (shift - 1))) >> shift
    }
    fn one_dimensional(input: [i64; 8]) -> [i64; 8] {
        let z1 = (input[2] + input[6]) * 4433;
        let tmp2 = z1 + input[6] * -15137;
        let tmp3 = z1 + input[2] * 6270;
        let tmp0 = (input[0] + input[4]) << 13;
        let tmp1 = (input[0] - input[4]) << 13;
        let [tmp10, tmp13] = [tmp0 + tmp3, tmp0 - tmp3];
        let [tmp11, tmp12] = [tmp1 + tmp2, tmp1 - tmp2];

        let [tmp0, tmp1, tmp2, tmp3] = [input[7], input[5], input[3], input[1]];
        let z5 = (tmp0 + tmp2 + tmp1 + tmp3) * 9633;
        let z1 = (tmp0 + tmp3) * -7373;
        let z2 = (tmp1 + tmp2) * -20995;
        let z3 = (tmp0 + tmp2) * -16069 + z5;
        let z4 = (tmp1 + tmp3) * -3196 + z5;
        let tmp0 = tmp0 * 2446 + z1 + z3;
        let tmp1 = tmp1 * 16819 + z2 + z4;
        let tmp2 = tmp2 * 25172 + z2 + z3;
        let tmp3 = tmp3 * 12299 + z1 + z4;
        [
            tmp10 + tmp3,
            tmp11 + tmp2,
            tmp12 + tmp1,
            tmp13 + tmp0,
            tmp13 - tmp0,
            tmp12 - tmp1,
            tmp11 - tmp2,
            tmp10 - tmp3,
        ]
    }
    let mut between = [0; 64];
    for x in 0..8 {
        let column = one_dimensional(std::array::from_fn(|y| coefficients[8 * y + x]));
        for (y, value) in column.into_iter().enumerate() {
            between[8 * y + x] = descale(value, 13 - 2);
        }
    }
    let mut samples = [0; 64];
    for y in 0..8 {
        let row = one_dimensional(std::array::from_fn(|x| between[8 * y + x]));
        for (x, value) in row.into_iter().enumerate() {
            samples[8 * y + x] = (descale(value, 13 + 2 + 3) + 128).clamp(0, 255) as u8;
        }
    }
    (between, samples)
}

/// Compares all versions; whether the coefficients are small enough.
fn compare(coefficients: &[i64; 64]) -> bool {
    let (between, expected) = reference(coefficients);
    let sum = coefficients.iter().map(|value| value.unsigned_abs() as u32);
    let block = Block {
        last: if coefficients[1..].iter().all(|&value| value == 0) {
            0
        } else {
            63
        },
        sum: sum.sum(),
    };
    let mut stored = [0; 128];
    for (stored, &value) in stored.iter_mut().zip(coefficients) {
        *stored = value as i16;
    }
    let mut all = coefficients.iter().chain(&between);
    let is_safe = all.all(|value| 2 * value.abs() < 1 << 15) && block.sum < 1 << 15;
    assert!(is_safe || block.sum > SAFE, "{coefficients:?}");
    // Rows that are longer than the block, whose rest must not change.
    let mut found = [1; 8 * 11];
    let is_transformed = transform(block, &stored, &mut found, 11).is_some();
    assert_eq!(is_transformed, is_safe, "{coefficients:?}");
    if is_safe {
        for (row, expected) in found.chunks(11).zip(expected.as_chunks::<8>().0) {
            assert_eq!(row, [&expected[..], &[1; 3]].concat(), "{coefficients:?}");
        }
        let portable = portable(&stored).map(u64::to_le_bytes);
        assert_eq!(portable.as_flattened(), expected, "{coefficients:?}");
    }
    is_safe
}

fn random_coefficients(random: &mut impl Rng) -> [i64; 64] {
    let mut coefficients = [0; 64];
    let count = random.random_range(1..=64);
    let most = 1 << random.random_range(0..13);
    for _ in 0..count {
        let at = random.random_range(0..64);
        coefficients[at] = random.random_range(-most..=most);
    }
    coefficients
}

#[test]
fn random_blocks_have_the_samples_of_libjpeg() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut small = 0;
    const ALL: u32 = 20_000;
    for _ in 0..ALL {
        small += u32::from(compare(&random_coefficients(&mut random)));
    }
    assert!(small > ALL / 2 && small < ALL, "{small}");
}

#[test]
fn extreme_blocks_have_the_samples_of_libjpeg() {
    for at in 0..64 {
        for value in [1, 7, 8, 1023, SAFE, 4095, 16_383] {
            for value in [i64::from(value), -i64::from(value)] {
                let mut coefficients = [0; 64];
                coefficients[at] = value;
                assert!(!compare(&coefficients) || value.abs() < 16_383, "{value}");
            }
        }
    }
    // Large coefficients that add up in one sample: black and white patterns, and more than that.
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..1000 {
        let signs: u64 = random.random();
        for total in [SAFE, 6400, 12_800, 32_767, 70_000] {
            let value = i64::from(total) / 64;
            let coefficients = std::array::from_fn(|at| {
                let is_negative = signs >> at & 1 == 1;
                if is_negative { -value } else { value }
            });
            compare(&coefficients);
        }
    }
}

#[test]
fn uniform_blocks_are_exact() {
    for dc in -2048..=2048 {
        let mut coefficients = [0; 64];
        coefficients[0] = dc;
        assert!(compare(&coefficients));
    }
}
