//! What tests of random draws share.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;

/// A generator for tests, which see the same numbers each time.
pub(super) fn generator() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(2018)
}

/// Fails if counts differ more than those of equally likely cases do: by six standard deviations of
/// their χ².
pub(super) fn assert_equally_likely(counts: &[u32]) {
    let mean = counts.iter().map(|&count| f64::from(count)).sum::<f64>() / counts.len() as f64;
    assert!(mean >= 50.0, "too few to tell: {counts:?}");
    let squares = counts
        .iter()
        .map(|&count| (f64::from(count) - mean).powi(2));
    let chi_square = squares.sum::<f64>() / mean;
    let freedom = (counts.len() - 1) as f64;
    let largest = freedom + 6.0 * (2.0 * freedom).sqrt();
    assert!(
        chi_square < largest,
        "{chi_square} of {freedom}: {counts:?}"
    );
}

/// Numbers of torchvision under a key, which `make_augmentations.py` wrote.
pub(super) fn torchvision(key: &str) -> Vec<Value> {
    let numbers = include_str!("../../tests/data/augmentation.json");
    let mut numbers: Value = serde_json::from_str(numbers).unwrap();
    serde_json::from_value(numbers[key].take()).unwrap()
}
