use thiserror::Error;
use topk_ops::accuracy::label_rank;
use topk_ops::{Loss, LossError, SampleLoss, SmoothTopkSvm};

use crate::outcome::{CropAveraging, Guess, Outcome};
use crate::scores::{average, best, log_sum_exp, top};

/// Why scores cannot be judged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// There are no classes to choose from.
    #[error("{0} classes: a classifier is judged by at least 1 and at most 2^31")]
    Classes(usize),
    /// A valid class is not one of the model's.
    #[error("valid class {class} is not in 0..{classes}: valid labels are class indices")]
    ValidClass {
        /// The class named.
        class: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A valid class is named twice, or they are not in order.
    #[error("valid class {0} stands twice in the list: name each class once")]
    RepeatedClass(u32),
    /// The number of scores is not that of the classes.
    #[error("{image}: {found} scores, expected {crops} × {classes} (crops × classes)")]
    Shape {
        /// Name of the image.
        image: String,
        /// Number of scores.
        found: usize,
        /// Number of crops.
        crops: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A label is no class.
    #[error(
        "{image}: label {label} is not in 0..{classes}: do data set and model belong together?"
    )]
    Label {
        /// Name of the image.
        image: String,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A score is NaN or infinite.
    #[error(
        "{image}: the model gives {score} for class {class}: such scores have neither rank nor \
         probability"
    )]
    NotFinite {
        /// Name of the image.
        image: String,
        /// The class.
        class: u32,
        /// Its score.
        score: f32,
    },
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
}

/// Makes outcomes of scores.
///
/// ```
/// use topk_results::{CropAveraging, Judge};
///
/// let judge = Judge::new(4)?.with_best(2);
/// let scores = [0.5, 2.0, -1.0, 1.0];
/// let outcome = judge.judge("dog.jpg", &scores, CropAveraging::None, &[3])?.unwrap();
/// assert_eq!((outcome.rank, outcome.predicted), (1, 1));
/// assert_eq!(outcome.best[1].class, 3);
/// # Ok::<(), topk_results::JudgeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Judge {
    classes: usize,
    /// Ascending.
    valid: Option<Vec<u32>>,
    loss: Option<SmoothTopkSvm>,
    best: usize,
}

impl Judge {
    /// For models that give `classes` scores.
    ///
    /// # Errors
    /// If there are none, or more than a class index can name.
    pub fn new(classes: usize) -> Result<Self, JudgeError> {
        if !(1..=1 << 31).contains(&classes) {
            return Err(JudgeError::Classes(classes));
        }
        Ok(Self {
            classes,
            valid: None,
            loss: None,
            best: 0,
        })
    }

    /// Looks at the scores of these classes only, as if the model knew no other. Labels and predictions
    /// keep their numbers.
    ///
    /// # Errors
    /// If there are none, one is not a class, or one stands twice.
    pub fn with_valid_classes(mut self, mut valid: Vec<u32>) -> Result<Self, JudgeError> {
        valid.sort_unstable();
        let classes = self.classes;
        match valid.last() {
            None => return Err(JudgeError::Classes(0)),
            Some(&class) if class as usize >= classes => {
                return Err(JudgeError::ValidClass { class, classes });
            }
            Some(_) => {}
        }
        if let Some(pair) = valid.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(JudgeError::RepeatedClass(pair[0]));
        }
        if let Some(loss) = &self.loss {
            loss.check_classes(valid.len())?;
        }
        self.valid = Some(valid);
        Ok(self)
    }

    /// Computes this loss too.
    ///
    /// # Errors
    /// If there are too few classes for it.
    pub fn with_loss(mut self, loss: SmoothTopkSvm) -> Result<Self, JudgeError> {
        loss.check_classes(self.choices())?;
        self.loss = Some(loss);
        Ok(self)
    }

    /// Keeps the `best` classes of each image, or all where there are fewer.
    #[must_use]
    pub fn with_best(mut self, best: usize) -> Self {
        self.best = best;
        self
    }

    /// Number of classes that are chosen from.
    fn choices(&self) -> usize {
        self.valid.as_ref().map_or(self.classes, Vec::len)
    }

    /// Judges the scores of an image, `[crops, classes]`, for which each of `labels` is right. `None` if
    /// no valid class is right: such an image does not count.
    ///
    /// The losses are those of the right class with the highest score. All is computed in `f64`.
    ///
    /// # Errors
    /// If the scores are not whole rows, or not one row without averaging; if a label is no class, or a
    /// score of a valid class is not finite.
    pub fn judge(
        &self,
        image: &str,
        scores: &[f32],
        averaging: CropAveraging,
        labels: &[u32],
    ) -> Result<Option<Outcome>, JudgeError> {
        let crops = match averaging {
            CropAveraging::None => 1,
            _ => (scores.len() / self.classes).max(1),
        };
        if scores.len() != crops * self.classes {
            return Err(JudgeError::Shape {
                image: image.to_owned(),
                found: scores.len(),
                crops,
                classes: self.classes,
            });
        }
        if let Some(&label) = labels.iter().find(|&&label| label as usize >= self.classes) {
            return Err(JudgeError::Label {
                image: image.to_owned(),
                label,
                classes: self.classes,
            });
        }
        let rows = scores
            .chunks_exact(self.classes)
            .map(|row| self.valid_scores(image, row))
            .collect::<Result<Vec<_>, _>>()?;
        let right: Vec<usize> = labels
            .iter()
            .filter_map(|&label| self.choice(label))
            .collect();
        if right.is_empty() {
            return Ok(None);
        }
        let row = average(rows, averaging);
        self.outcome(&row, &right).map(Some)
    }

    /// The place of a class among those that are chosen from.
    fn choice(&self, class: u32) -> Option<usize> {
        match &self.valid {
            Some(valid) => valid.binary_search(&class).ok(),
            None => Some(class as usize),
        }
    }

    /// The class at such a place.
    fn class(&self, choice: usize) -> u32 {
        match &self.valid {
            Some(valid) => valid[choice],
            None => choice as u32,
        }
    }

    fn valid_scores(&self, image: &str, row: &[f32]) -> Result<Vec<f64>, JudgeError> {
        (0..self.choices())
            .map(|choice| {
                let class = self.class(choice);
                let score = row[class as usize];
                if score.is_finite() {
                    Ok(score.into())
                } else {
                    Err(JudgeError::NotFinite {
                        image: image.to_owned(),
                        class,
                        score,
                    })
                }
            })
            .collect()
    }

    /// `right` is not empty, and scores are finite.
    fn outcome(&self, scores: &[f64], right: &[usize]) -> Result<Outcome, JudgeError> {
        let (rank, label) = right
            .iter()
            .filter_map(|&label| Some((label_rank(scores, label)?, label)))
            .min()
            .expect("finite scores have ranks");
        let tied = scores
            .iter()
            .enumerate()
            .any(|(class, &score)| score == scores[label] && !right.contains(&class));
        let predicted = top(scores);
        let log_sum = log_sum_exp(scores, predicted);
        let probability =
            |choice: usize| (scores[choice] - scores[predicted] - log_sum).exp() as f32;
        let topk_loss = match &self.loss {
            None => None,
            Some(loss) => {
                let mut value = [0.0];
                loss.forward(scores, &[label as i64], &mut value)?;
                Some(value[0])
            }
        };
        Ok(Outcome {
            rank: rank as u32,
            tied,
            predicted: self.class(predicted),
            confidence: probability(predicted),
            cross_entropy: log_sum + (scores[predicted] - scores[label]),
            topk_loss,
            best: best(scores, self.best)
                .into_iter()
                .map(|choice| Guess {
                    class: self.class(choice),
                    probability: probability(choice),
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(scores: &[f32], labels: &[u32]) -> Outcome {
        let judge = Judge::new(scores.len()).unwrap();
        let outcome = judge.judge("a", scores, CropAveraging::None, labels);
        outcome.unwrap().unwrap()
    }

    #[test]
    fn equal_scores_are_ranked_by_class_and_said() {
        let scores = [1.0, 2.0, 2.0, -0.0, 0.0];
        let first = judge(&scores, &[1]);
        assert_eq!((first.rank, first.tied, first.predicted), (0, true, 1));
        let second = judge(&scores, &[2]);
        assert_eq!((second.rank, second.tied), (1, true));
        assert_eq!(
            (judge(&scores, &[4]).rank, judge(&scores, &[4]).tied),
            (4, true)
        );
        assert!(!judge(&scores, &[0]).tied);
        // Which of two right classes comes first does not matter.
        assert!(!judge(&scores, &[2, 1]).tied);
    }

    #[test]
    fn the_best_of_several_right_classes_counts() {
        let outcome = judge(&[0.0, 3.0, 2.0, 1.0], &[0, 2]);
        assert_eq!(outcome.rank, 1);
        let expected = judge(&[0.0, 3.0, 2.0, 1.0], &[2]).cross_entropy;
        assert_eq!(outcome.cross_entropy, expected);
    }

    #[test]
    fn losses_keep_their_digits() {
        // −ln p of a very confident right answer: 2 exp(−40), less than the spacing of f64 at 1.
        let sure = judge(&[40.0, 0.0, 0.0], &[0]);
        let expected = 2.0 * (-40f64).exp();
        assert!((sure.cross_entropy / expected - 1.0).abs() < 1e-12);
        let wrong = judge(&[1e30, 0.0], &[1]);
        assert_eq!(wrong.cross_entropy, f64::from(1e30f32));
        assert_eq!(wrong.confidence, 1.0);
    }

    #[test]
    fn the_loss_is_that_of_the_operators() {
        let loss = SmoothTopkSvm::new(2, 0.5, 1.0).unwrap();
        let judge = Judge::new(4).unwrap().with_loss(loss).unwrap();
        let scores = [0.5f32, 2.0, -1.0, 1.0];
        let outcome = judge.judge("a", &scores, CropAveraging::None, &[3]);
        let mut expected = [0.0];
        loss.forward(&scores.map(f64::from), &[3], &mut expected)
            .unwrap();
        assert_eq!(outcome.unwrap().unwrap().topk_loss, Some(expected[0]));
        let error = Judge::new(2).unwrap().with_loss(loss).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this loss needs at least 3 classes, got 2"
        );
    }

    #[test]
    fn other_classes_than_the_valid_ones_do_not_exist() {
        let judge = Judge::new(5).unwrap().with_best(9);
        let judge = judge.with_valid_classes(vec![4, 0, 2]).unwrap();
        let scores = [1.0, f32::NAN, 3.0, 9.0, 2.0];
        let outcome = judge.judge("a", &scores, CropAveraging::None, &[3, 4]);
        let outcome = outcome.unwrap().unwrap();
        assert_eq!((outcome.rank, outcome.predicted), (1, 2));
        let best: Vec<u32> = outcome.best.iter().map(|guess| guess.class).collect();
        assert_eq!(best, [2, 4, 0]);
        let sum: f32 = outcome.best.iter().map(|guess| guess.probability).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        let excluded = judge.judge("a", &scores, CropAveraging::None, &[3]);
        assert_eq!(excluded.unwrap(), None);

        let refused = |valid| {
            let judge = Judge::new(5).unwrap();
            judge.with_valid_classes(valid).unwrap_err().to_string()
        };
        assert!(refused(vec![1, 5]).starts_with("valid class 5 is not in 0..5"));
        assert!(refused(vec![3, 1, 3]).starts_with("valid class 3 stands twice"));
        assert!(refused(vec![]).starts_with("0 classes"));
    }

    #[test]
    fn crops_are_averaged_as_probabilities_or_as_scores() {
        // The first crop is sure of class 0, the others lean to class 1.
        let scores = [9.0f32, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
        let judge = Judge::new(3).unwrap().with_best(3);
        let of = |averaging| {
            let outcome = judge.judge("a", &scores, averaging, &[1]);
            outcome.unwrap().unwrap()
        };
        let softmax = |row: &[f32]| {
            let sum: f64 = row.iter().map(|&s| f64::from(s).exp()).sum();
            [0, 1, 2].map(|class| f64::from(row[class]).exp() / sum)
        };
        let rows: Vec<[f64; 3]> = scores.chunks(3).map(softmax).collect();
        let mean = [0, 1, 2].map(|class| rows.iter().map(|row| row[class]).sum::<f64>() / 3.0);
        let probabilities = of(CropAveraging::Softmax);
        assert!((probabilities.cross_entropy + mean[1].ln()).abs() < 1e-12);
        for guess in &probabilities.best {
            assert!((f64::from(guess.probability) - mean[guess.class as usize]).abs() < 1e-7);
        }
        assert_eq!(probabilities.predicted, 0);
        let averaged = softmax(&[3.0, 2.0 / 3.0, 0.0]);
        assert!((of(CropAveraging::Scores).cross_entropy + averaged[1].ln()).abs() < 1e-6);
    }

    #[test]
    fn refused_with_the_image() {
        let judge = Judge::new(2).unwrap();
        let message = |scores: &[f32], averaging, labels: &[u32]| {
            let outcome = judge.judge("cat.png", scores, averaging, labels);
            outcome.unwrap_err().to_string()
        };
        assert_eq!(
            message(&[0.0, f32::NAN], CropAveraging::None, &[0]),
            "cat.png: the model gives NaN for class 1: such scores have neither rank nor probability"
        );
        assert!(
            message(&[0.0, 1.0], CropAveraging::None, &[2])
                .starts_with("cat.png: label 2 is not in 0..2")
        );
        for (scores, averaging) in [
            (&[0.0; 4][..], CropAveraging::None),
            (&[0.0; 3], CropAveraging::Scores),
            (&[], CropAveraging::Softmax),
        ] {
            assert!(message(scores, averaging, &[0]).contains("scores, expected"));
        }
    }
}
