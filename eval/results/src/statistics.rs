//! Intervals and tests for proportions.

pub(crate) use topk_calibration::wilson;

/// The two-sided p-value of McNemar's exact test: twice the probability of at most `min(only_a, only_b)`
/// heads in `only_a + only_b` tosses of a fair coin, at most 1.
///
/// It is cheap for any number of images, so no approximation is needed.
pub(crate) fn mcnemar(only_a: usize, only_b: usize) -> f64 {
    let (few, n) = (only_a.min(only_b), only_a + only_b);
    if only_a == only_b {
        return 1.0;
    }
    // ln of the largest term, C(n, few) / 2ⁿ, as a sum of small terms.
    let largest: f64 = (1..=few)
        .map(|i| ((n - few + i) as f64 / i as f64).ln())
        .sum::<f64>()
        - n as f64 * std::f64::consts::LN_2;
    // The other terms relative to it, in descending order.
    let (mut term, mut sum) = (1.0, 1.0);
    for i in (1..=few).rev() {
        term *= i as f64 / (n - i + 1) as f64;
        sum += term;
        if term < 1e-18 {
            break;
        }
    }
    (2.0 * largest.exp() * sum).min(1.0)
}

/// P-values with Holm's correction for their number ("A simple sequentially rejective multiple test procedure", 1979):
/// a test is significant at a level if its adjusted value is at most the level.
pub(crate) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (smaller, &at) in order.iter().enumerate() {
        let factor = (p_values.len() - smaller) as f64;
        largest = largest.max((factor * p_values[at]).min(1.0));
        adjusted[at] = largest;
    }
    adjusted
}

/// Numbers of images by which of two models classifies them correctly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) both: usize,
    pub(crate) only_first: usize,
    pub(crate) only_second: usize,
    pub(crate) neither: usize,
}

impl Pairs {
    /// Adds an image that the first and the second classify correctly or not.
    pub(crate) fn add(&mut self, first: bool, second: bool) {
        *match (first, second) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.only_first,
            (false, true) => &mut self.only_second,
            (false, false) => &mut self.neither,
        } += 1;
    }

    pub(crate) fn images(&self) -> usize {
        self.both + self.only_first + self.only_second + self.neither
    }

    /// The 95 % interval for the accuracy of the second minus that of the first: method 10 of Newcombe,
    /// "Improved confidence intervals for the difference between binomial proportions based on paired
    /// data", 1998, which combines the two Wilson intervals. −1 to 1 if there are no images.
    pub(crate) fn difference_interval(&self) -> (f64, f64) {
        let n = self.images();
        if n == 0 {
            return (-1.0, 1.0);
        }
        let (first, second) = (self.both + self.only_first, self.both + self.only_second);
        let (p1, p2) = (first as f64 / n as f64, second as f64 / n as f64);
        let ((l1, u1), (l2, u2)) = (wilson(first, n), wilson(second, n));
        let phi = self.correlation();
        let reach = |a: f64, b: f64| (a * a - 2.0 * phi * a * b + b * b).max(0.0).sqrt();
        let difference = p2 - p1;
        (
            difference - reach(p2 - l2, u1 - p1),
            difference + reach(u2 - p2, p1 - l1),
        )
    }

    /// Correlation of the models' correctness (phi), with Newcombe's continuity correction.
    fn correlation(&self) -> f64 {
        let [a, b, c, d] =
            [self.both, self.only_first, self.only_second, self.neither].map(|count| count as f64);
        let margins = (a + b) * (c + d) * (a + c) * (b + d);
        if margins == 0.0 {
            return 0.0;
        }
        let product = a * d - b * c;
        let corrected = if product > 0.0 {
            (product - self.images() as f64 / 2.0).max(0.0)
        } else {
            product
        };
        corrected / margins.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from statsmodels and SciPy.
    fn fixture(name: &str) -> Vec<Vec<f64>> {
        let fixture = include_str!("../tests/data/metrics.json");
        let mut fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
        serde_json::from_value(fixture[name].take()).unwrap()
    }

    fn assert_close(found: f64, expected: f64) {
        let error = (found - expected).abs();
        assert!(error <= 1e-10 * expected, "{found}, expected {expected}");
    }

    #[test]
    fn intervals_match_statsmodels() {
        for row in fixture("wilson") {
            let (low, high) = wilson(row[0] as usize, row[1] as usize);
            assert_close(low, row[2]);
            assert_close(high, row[3]);
        }
    }

    #[test]
    fn p_values_match_statsmodels() {
        for row in fixture("mcnemar") {
            assert_close(mcnemar(row[0] as usize, row[1] as usize), row[2]);
            assert_close(mcnemar(row[1] as usize, row[0] as usize), row[2]);
        }
    }

    #[test]
    fn interval_matches_newcombes_example() {
        // Table II of the paper: 36, 12, 2, 0.
        let pairs = Pairs {
            both: 36,
            only_first: 2,
            only_second: 12,
            neither: 0,
        };
        let (low, high) = pairs.difference_interval();
        assert!((low - 0.0569).abs() < 5e-5, "{low}");
        assert!((high - 0.3404).abs() < 5e-5, "{high}");
    }

    #[test]
    fn no_images_give_the_widest_intervals() {
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(Pairs::default().difference_interval(), (-1.0, 1.0));
    }

    #[test]
    fn bounds_are_exact_at_0_and_1() {
        for n in [1, 7, 50_000] {
            assert_eq!(wilson(0, n).0, 0.0);
            assert_eq!(wilson(n, n).1, 1.0);
        }
    }

    #[test]
    fn many_discordant_pairs_do_not_underflow() {
        // The normal approximation gives 2·Φ(−4.47) = 7.7e-6 for 20,000 coins and a lead of 632.
        let p = mcnemar(10_316, 9_684);
        assert!((7e-6..9e-6).contains(&p), "{p}");
        assert_eq!(mcnemar(0, 5_000), 0.0);
    }
}
