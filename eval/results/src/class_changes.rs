//! The classes that two models classify with different accuracy.

use serde::Serialize;

use crate::schema::Results;

/// A class whose top-1 accuracy changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClassChange {
    /// The class.
    pub class: u32,
    /// Its name.
    pub class_name: String,
    /// Its images that count for both models.
    pub images: usize,
    /// Images that the first classifies correctly.
    pub before: usize,
    /// Images that the second classifies correctly.
    pub after: usize,
}

impl ClassChange {
    /// Top-1 accuracy of the second minus that of the first, −1 to 1.
    pub fn difference(&self) -> f64 {
        (self.after as f64 - self.before as f64) / self.images.max(1) as f64
    }
}

/// Counts images by class.
pub(crate) struct ClassCounts(Vec<ClassChange>);

impl ClassCounts {
    pub(crate) fn new(results: &Results) -> Self {
        let classes = 0..results.data.classes as u32;
        let counts = classes.map(|class| ClassChange {
            class,
            ..ClassChange::default()
        });
        Self(counts.collect())
    }

    /// Adds an image of a class that the first and the second classify correctly or not.
    pub(crate) fn add(&mut self, class: u32, before: bool, after: bool) {
        let counts = &mut self.0[class as usize];
        counts.images += 1;
        counts.before += usize::from(before);
        counts.after += usize::from(after);
    }

    /// The classes whose accuracy changed, from the largest loss to the largest gain; of equal ones, the one with more
    /// images lost first.
    pub(crate) fn changed(self, results: &Results) -> Vec<ClassChange> {
        let changed = self
            .0
            .into_iter()
            .filter(|counts| counts.before != counts.after);
        let mut changed: Vec<ClassChange> = changed
            .map(|counts| ClassChange {
                class_name: results.class_name(counts.class).to_owned(),
                ..counts
            })
            .collect();
        changed.sort_by(|a, b| {
            let gained = |counts: &ClassChange| counts.after as i64 - counts.before as i64;
            (a.difference().total_cmp(&b.difference())).then(gained(a).cmp(&gained(b)))
        });
        changed
    }
}
