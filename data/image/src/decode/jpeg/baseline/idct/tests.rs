use rand::{RngExt, SeedableRng};
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
fn compare(coefficients: &[i16; 64], stored_factors: &[u8; 64]) -> bool {
    let quantization = Quantization::new(stored_factors);
    let mut scaled = [0; 64];
    for (&factor, &index) in stored_factors.iter().zip(&ZIGZAG) {
        let index = usize::from(index);
        scaled[index] = i64::from(coefficients[index]) * i64::from(factor);
    }
    let (between, expected) = reference(&scaled);
    let sum: u64 = scaled.iter().map(|value| value.unsigned_abs()).sum();
    let mut all = scaled.iter().chain(&between);
    let is_small = all.all(|value| 2 * value.abs() < 1 << 15);
    assert!(is_small || sum > u64::from(SAFE), "{scaled:?}");

    let mut stored = [0; 256];
    stored[..64].copy_from_slice(coefficients);
    let is_uniform = coefficients[1..].iter().all(|&value| value == 0);
    let last = if is_uniform { 0 } else { 63 };
    // Rows that are longer than the block, whose rest must not change.
    let mut found = [1; 8 * 11];
    let is_transformed = transform(last, &stored, &quantization, &mut found, 11).is_some();
    if is_uniform {
        assert_eq!(is_transformed, sum <= u64::from(SAFE), "{scaled:?}");
    } else {
        assert_eq!(is_transformed, is_small, "{scaled:?}");
    }
    let portable = portable(&stored, &quantization);
    assert_eq!(portable.is_some(), is_small, "{scaled:?}");
    if is_transformed {
        for (row, expected) in found.chunks(11).zip(expected.as_chunks::<8>().0) {
            assert_eq!(row, [&expected[..], &[1; 3]].concat(), "{scaled:?}");
        }
        let portable = portable.unwrap().map(u64::to_le_bytes);
        assert_eq!(portable.as_flattened(), expected, "{scaled:?}");
    }
    is_transformed
}

#[test]
fn random_blocks_have_the_samples_of_libjpeg() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut small = 0;
    const ALL: u32 = 20_000;
    for _ in 0..ALL {
        let mut coefficients = [0; 64];
        let most = 1 << random.random_range(0..10);
        for _ in 0..random.random_range(1..=64) {
            let at = random.random_range(0..64);
            coefficients[at] = random.random_range(-most..=most);
        }
        let most_factor = 1 << random.random_range(0..8);
        let factors = [(); 64].map(|()| random.random_range(0..=most_factor));
        small += u32::from(compare(&coefficients, &factors));
    }
    assert!(small > ALL / 2 && small < ALL, "{small}");
}

#[test]
fn extreme_blocks_have_the_samples_of_libjpeg() {
    for at in 0..64 {
        for (value, factor) in [
            (1, 1),
            (1, 255),
            (290, 10),
            (1023, 4),
            (4095, 4),
            (4095, 255),
        ] {
            for value in [value, -value] {
                let mut coefficients = [0; 64];
                coefficients[at] = value;
                let is_small = compare(&coefficients, &[factor; 64]);
                let scaled = i32::from(value) * i32::from(factor);
                assert!(!is_small || scaled.abs() < 1 << 14, "{scaled}");
            }
        }
    }
    // Large coefficients that add up in one sample.
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..1000 {
        let signs: u64 = random.random();
        for (value, factor) in [(45, 1), (1, 45), (1, 100), (2, 100), (4, 100), (1023, 255)] {
            let coefficients = std::array::from_fn(|at| {
                let is_negative = (signs >> at) & 1 == 1;
                if is_negative { -value } else { value }
            });
            compare(&coefficients, &[factor; 64]);
        }
    }
}

#[test]
fn uniform_blocks_are_exact() {
    for dc in -1100..=1100 {
        for factor in [1, 2] {
            let mut coefficients = [0; 64];
            coefficients[0] = dc;
            assert!(compare(&coefficients, &[factor; 64]));
        }
    }
}
