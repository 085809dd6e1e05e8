use serde::Serialize;

/// Step schedule: the learning rate is divided by ten at each milestone.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Schedule {
    milestones: Vec<usize>,
}

impl Schedule {
    /// Divides by ten at the start of each of these epochs, counted from 1.
    pub fn new(milestones: impl Into<Vec<usize>>) -> Self {
        Self {
            milestones: milestones.into(),
        }
    }

    /// The seed code's schedule for CIFAR-100, epochs 151 and 226 of 300, scaled to `epochs`: after
    /// half and after three quarters of them.
    pub fn halves(epochs: usize) -> Self {
        Self::new([epochs / 2 + 1, epochs * 3 / 4 + 1])
    }

    /// Learning rate in an epoch, counted from 1, that started out as `initial`.
    pub fn learning_rate(&self, initial: f64, epoch: usize) -> f64 {
        let passed = self
            .milestones
            .iter()
            .filter(|&&milestone| epoch >= milestone)
            .count();
        initial * 0.1f64.powi(passed as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_schedule() {
        assert_eq!(Schedule::halves(300), Schedule::new([151, 226]));
        let rate = |epoch| Schedule::halves(300).learning_rate(0.1, epoch);
        assert_eq!(rate(1), 0.1);
        assert_eq!(rate(150), 0.1);
        assert!((rate(151) - 0.01).abs() < 1e-12);
        assert!((rate(225) - 0.01).abs() < 1e-12);
        assert!((rate(226) - 0.001).abs() < 1e-12);
    }
}
