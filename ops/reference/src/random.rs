use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use topk_ops::Score;

/// Draws scores from a normal distribution with mean 0 and standard deviation `scale`, and labels from
/// all classes with equal probability. The same `seed` gives the same numbers everywhere, except for the
/// last digits of the platform's logarithm and cosine.
pub fn random_batch<T: Score>(
    seed: u64,
    samples: usize,
    classes: usize,
    scale: f64,
) -> (Vec<T>, Vec<i64>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // In (0, 1], for the logarithm.
    let mut uniform = || ((random.next_u64() >> 11) + 1) as f64 * f64::exp2(-53.0);
    let scores = (0..samples * classes)
        .map(|_| {
            // Box and Muller.
            let radius = (-2.0 * uniform().ln()).sqrt();
            let angle = std::f64::consts::TAU * uniform();
            T::from_f64(scale * radius * angle.cos())
        })
        .collect();
    let labels = (0..samples)
        .map(|_| (classes as u64).min((uniform() * classes as f64).ceil() as u64) as i64 - 1)
        .collect();
    (scores, labels)
}
