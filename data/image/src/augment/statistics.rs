//! Shared by the tests of random draws.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;

/// A generator with a fixed seed.
pub(super) fn generator() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(2018)
}

/// Fails if the counts of equally likely cases differ too much: by more than six standard deviations of their
/// χ².
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

/// The values of torchvision under a key, written by `make_augmentations.py`.
pub(super) fn torchvision(key: &str) -> Vec<Value> {
    let numbers = include_str!("../../tests/data/augmentation.json");
    let mut numbers: Value = serde_json::from_str(numbers).unwrap();
    serde_json::from_value(numbers[key].take()).unwrap()
}
