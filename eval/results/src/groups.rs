//! Accuracy on groups of images.

use crate::schema::{GroupAccuracy, Results};
use crate::statistics::wilson;

/// Images and those that are classified correctly.
#[derive(Clone, Copy, Default)]
struct Count {
    images: usize,
    correct: usize,
}

impl Count {
    fn add(&mut self, is_correct: bool) {
        self.images += 1;
        self.correct += usize::from(is_correct);
    }

    fn error(self) -> Option<f64> {
        (self.images > 0).then(|| (self.images - self.correct) as f64 / self.images as f64)
    }
}

impl Results {
    /// The accuracy of a model on each group of the data.
    pub(crate) fn groups(&self, model: usize) -> Vec<GroupAccuracy> {
        let mut all = Count::default();
        let mut of_groups = vec![Count::default(); self.data.group_names.len()];
        for counted in self.counted(model) {
            let Some(groups) = &counted.image.groups else {
                continue;
            };
            let is_correct = counted.is_correct(1);
            all.add(is_correct);
            for &group in groups {
                of_groups[group as usize].add(is_correct);
            }
        }
        let average = all.error().filter(|&error| error > 0.0);
        let groups = self.data.group_names.iter().zip(of_groups);
        groups
            .map(|(name, count)| {
                let (low, high) = wilson(count.correct, count.images);
                let error = count.error();
                GroupAccuracy {
                    name: name.clone(),
                    images: count.images,
                    correct: count.correct,
                    accuracy: error.map(|_| count.correct as f64 / count.images as f64),
                    low,
                    high,
                    error_ratio: error.zip(average).map(|(error, average)| error / average),
                }
            })
            .collect()
    }
}
