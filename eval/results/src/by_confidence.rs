//! Metrics that depend on the order of the images by the confidence of their predictions.
//!
//! Images of equal confidence have no order: many have a confidence of exactly 1. The metrics are means over all
//! orders of theirs, so each of these images counts as correct with the same fraction, and the order of the images
//! in the data set does not matter.

use crate::schema::{COVERAGES, CoverageAccuracy};

/// Number of bins of the adaptive calibration error.
const BINS: usize = 15;

/// Images of equal confidence.
#[derive(Clone, Copy, Debug)]
struct Group {
    confidence: f32,
    images: usize,
    correct: usize,
    /// Sums over the images of higher confidence.
    before: Sums,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    images: usize,
    correct: usize,
    confidence: f64,
}

/// Images in the descending order of the confidence of their predictions.
pub(crate) struct ByConfidence {
    groups: Vec<Group>,
    images: usize,
}

impl ByConfidence {
    /// Sorts images, given by their confidence and whether the prediction is correct.
    pub(crate) fn of(images: impl Iterator<Item = (f32, bool)>) -> Self {
        let mut images: Vec<(f32, bool)> = images.collect();
        images.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut before = Sums::default();
        let groups = images.chunk_by(|a, b| a.0 == b.0).map(|same| {
            let group = Group {
                confidence: same[0].0,
                images: same.len(),
                correct: same.iter().filter(|image| image.1).count(),
                before,
            };
            before.images += group.images;
            before.correct += group.correct;
            before.confidence += group.images as f64 * f64::from(group.confidence);
            group
        });
        Self {
            groups: groups.collect(),
            images: images.len(),
        }
    }

    /// The group of the image at a position.
    fn group(&self, position: usize) -> Option<&Group> {
        let next = (self.groups).partition_point(|group| group.before.images <= position);
        self.groups[..next].last()
    }

    /// The number of correct predictions among the `most` most confident images, and the sum of their confidences.
    fn sums(&self, most: usize) -> (f64, f64) {
        let Some(group) = most.checked_sub(1).and_then(|last| self.group(last)) else {
            return (0.0, 0.0);
        };
        let images = (most.min(self.images) - group.before.images) as f64;
        let correct = images * group.correct as f64 / group.images as f64;
        (
            group.before.correct as f64 + correct,
            group.before.confidence + images * f64::from(group.confidence),
        )
    }

    /// The `adaptive_calibration_error` of metrics.
    pub(crate) fn adaptive_calibration_error(&self) -> Option<f64> {
        if self.images == 0 {
            return None;
        }
        let (size, larger) = (self.images / BINS, self.images % BINS);
        let mut upper = self.sums(self.images);
        let mut error = 0.0;
        let mut end = self.images;
        for bin in 0..BINS {
            end -= size + usize::from(bin < larger);
            let lower = self.sums(end);
            error += ((upper.0 - lower.0) - (upper.1 - lower.1)).abs();
            upper = lower;
        }
        Some(error / self.images as f64)
    }

    /// The risk of the `most` most confident of all images: the fraction of wrong predictions. Images behind the
    /// last were not evaluated, and count as wrong.
    fn risk(&self, most: usize) -> f64 {
        (most as f64 - self.sums(most).0) / most as f64
    }

    /// The `aurc` of `images`, of which the last may not have been evaluated.
    pub(crate) fn aurc(&self, images: usize) -> Option<f64> {
        let mut risks = 0.0;
        for group in &self.groups {
            let share = group.correct as f64 / group.images as f64;
            for image in 1..=group.images {
                let correct = group.before.correct as f64 + image as f64 * share;
                let most = (group.before.images + image) as f64;
                risks += (most - correct) / most;
            }
        }
        risks += (self.images + 1..=images)
            .map(|most| self.risk(most))
            .sum::<f64>();
        (images > 0).then(|| risks / images as f64)
    }

    /// The `risk_coverage` of `images`.
    pub(crate) fn risk_coverage(&self, images: usize) -> Vec<f64> {
        match images {
            0 => Vec::new(),
            _ => (1..=100)
                .map(|percent| self.risk(covered(images, percent)))
                .collect(),
        }
    }

    /// The `coverage` of `images`.
    pub(crate) fn coverage(&self, images: usize) -> Vec<CoverageAccuracy> {
        let at = |&percent: &usize| {
            let covered = covered(images, percent);
            CoverageAccuracy {
                coverage: percent as f64 / 100.0,
                images: covered,
                accuracy: (covered > 0).then(|| self.sums(covered).0 / covered as f64),
                confidence: covered
                    .checked_sub(1)
                    .filter(|&last| last < self.images)
                    .and_then(|last| Some(self.group(last)?.confidence)),
            }
        };
        COVERAGES.iter().map(at).collect()
    }
}

/// The smallest number that is at least `percent` % of the images.
fn covered(images: usize, percent: usize) -> usize {
    (images * percent).div_ceil(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
    }

    #[test]
    fn equal_confidences_give_the_mean_over_all_orders() {
        let fixture = include_str!("../tests/data/further_metrics.json");
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        let numbers = |name: &str| -> Vec<f64> {
            serde_json::from_value(fixture["ties"][name].clone()).unwrap()
        };
        let images = numbers("confidences").into_iter().zip(numbers("wrong"));
        let images: Vec<(f32, bool)> = images
            .map(|(confidence, wrong)| (confidence as f32, wrong == 0.0))
            .collect();
        let sorted = ByConfidence::of(images.iter().copied());
        for (most, expected) in (1..).zip(numbers("risks")) {
            close(sorted.risk(most), expected);
        }
        let aurc = sorted.aurc(7).unwrap();
        close(aurc, fixture["ties"]["aurc"].as_f64().unwrap());
        let reversed = ByConfidence::of(images.iter().rev().copied());
        assert_eq!(reversed.aurc(7), Some(aurc));
    }

    #[test]
    fn bins_of_equal_confidence_have_their_mean_accuracy() {
        // 30 images, 2 in each bin; the first 20 in the data set have a confidence of 1.
        let images = (0..30).map(|image| match image {
            0..20 => (1.0, image < 15),
            _ => (0.5, true),
        });
        let error = ByConfidence::of(images).adaptive_calibration_error();
        close(error.unwrap(), (20.0 * 0.25 + 10.0 * 0.5) / 30.0);
    }

    #[test]
    fn fewer_images_than_bins_have_bins_of_their_own() {
        let images = [(0.75, true), (0.5, false), (0.25, true)];
        let error = ByConfidence::of(images.into_iter()).adaptive_calibration_error();
        close(error.unwrap(), (0.25 + 0.5 + 0.75) / 3.0);
    }

    #[test]
    fn images_that_could_not_be_evaluated_are_last() {
        let sorted = ByConfidence::of([(0.9, true), (0.4, false)].into_iter());
        close(
            sorted.aurc(4).unwrap(),
            (0.0 + 0.5 + 2.0 / 3.0 + 0.75) / 4.0,
        );
        let coverage = sorted.coverage(4);
        assert_eq!(coverage[0].accuracy, Some(0.25));
        assert_eq!(coverage[0].confidence, None);
        let half = coverage.last().unwrap();
        assert_eq!((half.images, half.confidence), (2, Some(0.4)));
        assert_eq!(sorted.risk_coverage(4)[99], 0.75);
    }

    #[test]
    fn no_images_have_no_values() {
        let none = ByConfidence::of(std::iter::empty());
        assert_eq!(
            (none.aurc(0), none.adaptive_calibration_error()),
            (None, None)
        );
        assert!(none.risk_coverage(0).is_empty());
        assert_eq!(none.coverage(0)[0].accuracy, None);
        // All failed.
        assert_eq!(none.aurc(3), Some(1.0));
    }
}
