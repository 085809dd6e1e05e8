//! numpy's legacy random numbers (`numpy.random.RandomState`), as far as the authors' code uses them. They are
//! the same in every version of numpy.

use rand_mt::Mt;

/// `numpy.random.RandomState(seed)`: MT19937 (Matsumoto and Nishimura, 1998), and numpy's distributions on
/// top of it.
#[derive(Debug)]
pub(crate) struct RandomState(Mt);

/// `binomial(1, p)` by inversion, of 1 − p where p is above a half, as in numpy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bernoulli {
    /// The inverted probability, at most a half.
    p: f64,
    q: f64,
    /// Probability of 0, with the rounding of numpy's formula.
    zero: f64,
    /// Whether the results 0 and 1 are swapped.
    mirrored: bool,
}

impl RandomState {
    pub fn new(seed: u32) -> Self {
        Self(Mt::new(seed))
    }

    /// An integer from 0 to `max`: draws numbers with the bit length of `max` until one is at most `max`.
    pub fn up_to(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0;
        }
        let mask = u32::MAX >> max.leading_zeros();
        loop {
            let value = self.0.next_u32() & mask;
            if value <= max {
                return value;
            }
        }
    }

    /// A number in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        let (high, low) = (self.0.next_u32() >> 5, self.0.next_u32() >> 6);
        (f64::from(high) * f64::from(1 << 26) + f64::from(low)) / (1_u64 << 53) as f64
    }

    /// Shuffles items.
    ///
    /// # Panics
    /// If there are more than 2³².
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let max = u32::try_from(last).expect("there are at most 2³² items");
            items.swap(last, self.up_to(max) as usize);
        }
    }

    /// The numbers below `count` in random order.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        self.shuffle(&mut order);
        order
    }

    /// Whether a draw of `binomial(1, p)` is 1.
    pub fn is_one(&mut self, distribution: &Bernoulli) -> bool {
        let &Bernoulli {
            p,
            q,
            zero,
            mirrored,
        } = distribution;
        loop {
            let rest = self.uniform();
            if rest <= zero {
                return mirrored;
            }
            // Only due to rounding the number is beyond both; numpy then draws again.
            if rest - zero <= p * zero / q {
                return !mirrored;
            }
        }
    }
}

impl Bernoulli {
    /// The distribution for a probability in (0, 1]. For 0 numpy draws nothing.
    pub fn new(probability: f64) -> Self {
        let mirrored = probability > 0.5;
        let p = if mirrored {
            1.0 - probability
        } else {
            probability
        };
        let q = 1.0 - p;
        Self {
            p,
            q,
            zero: q.ln().exp(),
            mirrored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numpy_cases::{Kept, cases, sha256};
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Raw {
        seed: u32,
        words: Kept,
        uniform: String,
    }

    #[test]
    fn words_and_fractions_agree_with_numpy() {
        let raw: Vec<Raw> = serde_json::from_value(cases("raw")).unwrap();
        for Raw {
            seed,
            words,
            uniform,
        } in raw
        {
            let mut random = RandomState::new(seed);
            assert_eq!(Kept::new((0..2000).map(|_| random.up_to(u32::MAX))), words);
            let mut random = RandomState::new(seed);
            let drawn = (0..1000).flat_map(|_| random.uniform().to_le_bytes());
            assert_eq!(sha256(drawn), uniform, "seed {seed}");
        }
    }

    #[test]
    fn a_single_possible_integer_draws_nothing() {
        let (mut one, mut other) = (RandomState::new(1), RandomState::new(1));
        assert_eq!(one.up_to(0), 0);
        assert_eq!(one.uniform(), other.uniform());
    }
}
