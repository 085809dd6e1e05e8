use thiserror::Error;
use topk_ops::accuracy::label_rank;
use topk_ops::{Loss, LossError, SampleLoss, SmoothTopkSvm};

use crate::schema::{CropAveraging, Outcome, OutputKind, Prediction, Settings};
use crate::scores::{Exponentials, ScorePrecision, average, best, top};

/// Scores that cannot be evaluated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The number of classes is out of range.
    #[error("a classifier must have between 1 and 2^31 classes, got {0}")]
    Classes(usize),
    /// A valid class is not a class of the model.
    #[error("valid class {class} is not in 0..{classes}")]
    ValidClass {
        /// The class.
        class: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A valid class is listed more than once.
    #[error("valid class {0} is listed more than once")]
    RepeatedClass(u32),
    /// The number of scores is wrong.
    #[error("{image}: expected {crops} × {classes} scores (crops × classes), got {found}")]
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
    /// A label is not a class.
    #[error(
        "{image}: label {label} is not in 0..{classes}: the model and the data set do not match"
    )]
    Label {
        /// Name of the image.
        image: String,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A score is NaN or infinite, or that of the true class is −∞.
    #[error(
        "the score of class {class} is {score}{}",
        if *score == f32::NEG_INFINITY { ", and it is the true class" } else { "" }
    )]
    NotFinite {
        /// The class.
        class: u32,
        /// The score.
        score: f32,
    },
    /// All valid classes have the score −∞.
    #[error("the scores of all valid classes are -inf")]
    AllMasked,
    /// A score is not a probability, as it should be.
    #[error(
        "{image}: the model's score of class {class} is {score}, which is not a probability: pass \
         --output-kind logits if its scores are logits"
    )]
    NotProbability {
        /// Name of the image.
        image: String,
        /// The class.
        class: u32,
        /// The score.
        score: f32,
    },
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
}

/// The scores of an image.
struct Row {
    /// Of the valid classes.
    logits: Vec<f64>,
    /// Positions of the true classes among them: at least one, and the one with the highest score has a finite one.
    labels: Vec<usize>,
}

/// The logits that an outcome follows from.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledLogits {
    /// The true class; of several, the one with the highest logit.
    pub label: u32,
    /// The logit of each class, −∞ for classes that may not be predicted.
    pub logits: Vec<f32>,
}

/// Computes outcomes from scores.
///
/// ```
/// use topk_results::{CropAveraging, Scorer};
///
/// let scorer = Scorer::new(4)?.with_best(2);
/// let scores = [0.5, 2.0, -1.0, 1.0];
/// let outcome = scorer.score("dog.jpg", &scores, CropAveraging::None, &[3])?.unwrap();
/// assert_eq!((outcome.rank, outcome.predicted), (1, 1));
/// assert_eq!(outcome.best[1].class, 3);
/// # Ok::<(), topk_results::ScoreError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scorer {
    classes: usize,
    /// Ascending.
    valid: Option<Vec<u32>>,
    loss: Option<SmoothTopkSvm>,
    best: usize,
    crops: usize,
    kind: OutputKind,
    precision: ScorePrecision,
}

impl Scorer {
    /// A scorer for models with `classes` classes.
    ///
    /// # Errors
    /// If `classes` is 0 or more than 2^31.
    pub fn new(classes: usize) -> Result<Self, ScoreError> {
        if !(1..=1 << 31).contains(&classes) {
            return Err(ScoreError::Classes(classes));
        }
        Ok(Self {
            classes,
            valid: None,
            loss: None,
            best: 0,
            crops: 1,
            kind: OutputKind::Logits,
            precision: ScorePrecision::Single,
        })
    }

    /// Restricts predictions to these classes. Labels and predictions keep their class indices.
    ///
    /// # Errors
    /// If the list is empty, has duplicates, or has an index that is not a class.
    pub fn with_valid_classes(mut self, mut valid: Vec<u32>) -> Result<Self, ScoreError> {
        valid.sort_unstable();
        let classes = self.classes;
        match valid.last() {
            None => return Err(ScoreError::Classes(0)),
            Some(&class) if class as usize >= classes => {
                return Err(ScoreError::ValidClass { class, classes });
            }
            Some(_) => {}
        }
        if let Some(pair) = valid.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ScoreError::RepeatedClass(pair[0]));
        }
        if let Some(loss) = &self.loss {
            loss.check_classes(valid.len())?;
        }
        self.valid = Some(valid);
        Ok(self)
    }

    /// Also computes this loss.
    ///
    /// # Errors
    /// If it needs more classes.
    pub fn with_loss(mut self, loss: SmoothTopkSvm) -> Result<Self, ScoreError> {
        loss.check_classes(self.num_valid_classes())?;
        self.loss = Some(loss);
        Ok(self)
    }

    /// Keeps the `best` most probable classes of each image, or all if there are fewer.
    #[must_use]
    pub fn with_best(mut self, best: usize) -> Self {
        self.best = best;
        self
    }

    /// Expects the scores of this number of crops for each image, of which there must be at least one.
    #[must_use]
    pub fn with_crops(mut self, crops: usize) -> Self {
        self.crops = crops.max(1);
        self
    }

    /// Takes scores for logits, or for probabilities that were rounded to this precision.
    #[must_use]
    pub fn with_kind(mut self, kind: OutputKind, precision: ScorePrecision) -> Self {
        self.kind = kind;
        self.precision = precision;
        self
    }

    /// Number of valid classes.
    fn num_valid_classes(&self) -> usize {
        self.valid.as_ref().map_or(self.classes, Vec::len)
    }

    /// The outcome of an image from its scores `[crops, classes]` and true classes. `None` if no label is a
    /// valid class: such an image does not count.
    ///
    /// With several labels, losses are those of the label with the highest score. All values are computed in
    /// `f64`. A wrong class may have the score −∞, with which some models mask classes.
    ///
    /// # Errors
    /// If the number of scores is not that of the crops times that of the classes, there are several crops but
    /// no averaging, a label is not a class, the score of a valid class is NaN or ∞ or not a probability as it
    /// should be, or that of the true class is −∞, because its cross-entropy is infinite.
    pub fn score(
        &self,
        image: &str,
        scores: &[f32],
        averaging: CropAveraging,
        labels: &[u32],
    ) -> Result<Option<Outcome>, ScoreError> {
        let Some(row) = self.row(image, scores, averaging, labels)? else {
            return Ok(None);
        };
        Ok(Some(self.outcome(&row)?.0))
    }

    /// As [`score`](Self::score), with the logits that the outcome follows from.
    ///
    /// # Errors
    /// Those of [`score`](Self::score).
    pub fn score_with_logits(
        &self,
        image: &str,
        scores: &[f32],
        averaging: CropAveraging,
        labels: &[u32],
    ) -> Result<Option<(Outcome, LabelledLogits)>, ScoreError> {
        let Some(row) = self.row(image, scores, averaging, labels)? else {
            return Ok(None);
        };
        let (outcome, label) = self.outcome(&row)?;
        let mut logits = vec![f32::NEG_INFINITY; self.classes];
        for (position, &logit) in row.logits.iter().enumerate() {
            logits[self.class(position) as usize] = logit as f32;
        }
        let label = self.class(label);
        Ok(Some((outcome, LabelledLogits { label, logits })))
    }

    /// The scores of an image; `None` if no label is a valid class.
    fn row(
        &self,
        image: &str,
        scores: &[f32],
        averaging: CropAveraging,
        labels: &[u32],
    ) -> Result<Option<Row>, ScoreError> {
        let crops = match averaging {
            CropAveraging::None => 1,
            _ => self.crops,
        };
        if scores.len() != crops * self.classes {
            return Err(ScoreError::Shape {
                image: image.to_owned(),
                found: scores.len(),
                crops,
                classes: self.classes,
            });
        }
        if let Some(&label) = labels.iter().find(|&&label| label as usize >= self.classes) {
            return Err(ScoreError::Label {
                image: image.to_owned(),
                label,
                classes: self.classes,
            });
        }
        let rows = scores
            .chunks_exact(self.classes)
            .map(|row| self.valid_scores(image, row))
            .collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<usize> = labels
            .iter()
            .filter_map(|&label| self.position(label))
            .collect();
        if labels.is_empty() {
            return Ok(None);
        }
        let logits = average(rows, averaging);
        if labels
            .iter()
            .all(|&label| logits[label] == f64::NEG_INFINITY)
        {
            return Err(ScoreError::NotFinite {
                class: self.class(labels[0]),
                score: f32::NEG_INFINITY,
            });
        }
        Ok(Some(Row { logits, labels }))
    }

    /// Position of a class among the valid classes.
    fn position(&self, class: u32) -> Option<usize> {
        match &self.valid {
            Some(valid) => valid.binary_search(&class).ok(),
            None => Some(class as usize),
        }
    }

    /// The valid class at a position.
    fn class(&self, position: usize) -> u32 {
        match &self.valid {
            Some(valid) => valid[position],
            None => position as u32,
        }
    }

    /// Logits of the valid classes.
    fn valid_scores(&self, image: &str, row: &[f32]) -> Result<Vec<f64>, ScoreError> {
        let scores: Vec<f64> = (0..self.num_valid_classes())
            .map(|position| {
                let class = self.class(position);
                let score = row[class as usize];
                if score.is_nan() || score == f32::INFINITY {
                    return Err(ScoreError::NotFinite { class, score });
                }
                let logit = self.kind.logit(score, self.precision);
                logit.ok_or_else(|| ScoreError::NotProbability {
                    image: image.to_owned(),
                    class,
                    score,
                })
            })
            .collect::<Result<_, _>>()?;
        if scores[top(&scores)] == f64::NEG_INFINITY {
            return Err(ScoreError::AllMasked);
        }
        Ok(scores)
    }

    /// The outcome, and the label with the highest score.
    fn outcome(&self, row: &Row) -> Result<(Outcome, usize), ScoreError> {
        let Row {
            logits: scores,
            labels,
        } = row;
        let mut ranks: Vec<(usize, usize)> = labels
            .iter()
            .filter_map(|&label| Some((label_rank(scores, label).ok()?, label)))
            .collect();
        ranks.sort_unstable();
        ranks.dedup();
        let &(rank, label) = ranks.first().expect("scores that are not NaN have ranks");
        let tied = scores
            .iter()
            .enumerate()
            .any(|(class, &score)| score == scores[label] && !labels.contains(&class));
        let predicted = top(scores);
        let exponentials = Exponentials::of(scores, predicted);
        let log_sum = exponentials.log_sum();
        let probability =
            |position: usize| (scores[position] - scores[predicted] - log_sum).exp() as f32;
        let topk_loss = match &self.loss {
            None => None,
            Some(loss) => {
                let mut value = [0.0];
                // A masked class has no influence, as with any very low score.
                let finite = |&score: &f64| score.max(f32::MIN.into());
                let scores: Vec<f64> = scores.iter().map(finite).collect();
                loss.forward(&scores, &[label as i64], &mut value)?;
                Some(value[0])
            }
        };
        let cross_entropy = log_sum + (scores[predicted] - scores[label]);
        let outcome = Outcome {
            rank: rank as u32,
            label_ranks: match ranks.len() {
                1 => Vec::new(),
                _ => ranks.iter().map(|&(rank, _)| rank as u32).collect(),
            },
            tied,
            predicted: self.class(predicted),
            confidence: probability(predicted),
            cross_entropy,
            brier: Some(brier(
                exponentials,
                scores[label] - scores[predicted],
                cross_entropy,
            ) as f32),
            topk_loss,
            best: best(scores, self.best)
                .into_iter()
                .map(|position| Prediction {
                    class: self.class(position),
                    probability: probability(position),
                })
                .collect(),
        };
        Ok((outcome, label))
    }
}

/// The Brier score of an image whose true class has the score `label` relative to the highest.
fn brier(exponentials: Exponentials, label: f64, cross_entropy: f64) -> f64 {
    let Exponentials { sum, squares } = exponentials;
    // Over wrong classes. Not as the sum over all minus that of the true class, which is the highest: the rest would
    // vanish.
    let wrong = match label {
        0.0 => squares,
        label => 1.0 + squares - (2.0 * label).exp(),
    };
    // 1 − p of the true class, accurate where p is nearly 1.
    let missing = -(-cross_entropy).exp_m1();
    (wrong / ((1.0 + sum) * (1.0 + sum)) + missing * missing).min(2.0)
}

impl Settings {
    /// The scorer of these settings for models with `classes` classes.
    ///
    /// # Errors
    /// If the settings do not fit the number of classes.
    pub fn scorer(&self, classes: usize) -> Result<Scorer, ScoreError> {
        let mut scorer = Scorer::new(classes)?;
        if let Some(valid) = &self.valid_classes {
            scorer = scorer.with_valid_classes(valid.clone())?;
        }
        match self.loss {
            Some(loss) => scorer.with_loss(loss.loss()?),
            None => Ok(scorer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(scores: &[f32], labels: &[u32]) -> Outcome {
        let scorer = Scorer::new(scores.len()).unwrap();
        let outcome = scorer.score("a", scores, CropAveraging::None, labels);
        outcome.unwrap().unwrap()
    }

    #[test]
    fn equal_scores_are_ranked_by_class_and_flagged() {
        let scores = [1.0, 2.0, 2.0, -0.0, 0.0];
        let first = score(&scores, &[1]);
        assert_eq!((first.rank, first.tied, first.predicted), (0, true, 1));
        let second = score(&scores, &[2]);
        assert_eq!((second.rank, second.tied), (1, true));
        assert_eq!(
            (score(&scores, &[4]).rank, score(&scores, &[4]).tied),
            (4, true)
        );
        assert!(!score(&scores, &[0]).tied);
        // A tie between two true classes does not matter.
        assert!(!score(&scores, &[2, 1]).tied);
    }

    #[test]
    fn the_best_of_several_labels_counts() {
        let outcome = score(&[0.0, 3.0, 2.0, 1.0], &[0, 2]);
        assert_eq!(outcome.rank, 1);
        let expected = score(&[0.0, 3.0, 2.0, 1.0], &[2]).cross_entropy;
        assert_eq!(outcome.cross_entropy, expected);
    }

    #[test]
    fn losses_are_accurate_near_zero() {
        // −ln p of a very confident correct prediction: 2 exp(−40), less than the spacing of f64 at 1.
        let sure = score(&[40.0, 0.0, 0.0], &[0]);
        let expected = 2.0 * (-40f64).exp();
        assert!((sure.cross_entropy / expected - 1.0).abs() < 1e-12);
        let wrong = score(&[1e30, 0.0], &[1]);
        assert_eq!(wrong.cross_entropy, f64::from(1e30f32));
        assert_eq!(wrong.confidence, 1.0);
    }

    #[test]
    fn brier_scores_are_sums_of_squared_errors() {
        let scores = [0.5f32, 2.0, -1.0, 2.0, 1.5];
        let exponentials = scores.map(|score| f64::from(score).exp());
        let sum: f64 = exponentials.iter().sum();
        for label in 0..5 {
            let squares = exponentials.iter().enumerate().map(|(class, exponential)| {
                let truth = f64::from(u8::from(class == label));
                (exponential / sum - truth).powi(2)
            });
            let expected = squares.sum::<f64>();
            let found = f64::from(score(&scores, &[label as u32]).brier.unwrap());
            assert!((found - expected).abs() < 1e-7, "{found}, {expected}");
        }
        // Of several labels, that with the highest score is the true one.
        let several = score(&scores, &[0, 4, 2]).brier;
        assert_eq!(several, score(&scores, &[4]).brier);
        // The true class is missing 2 exp(−40), the other two have exp(−40) each.
        let sure = f64::from(score(&[40.0, 0.0, 0.0], &[0]).brier.unwrap());
        assert!((sure / (6.0 * (-80f64).exp()) - 1.0).abs() < 1e-6, "{sure}");
        assert_eq!(score(&[1e30, 0.0], &[1]).brier, Some(2.0));
    }

    #[test]
    fn the_loss_matches_the_operators() {
        let loss = SmoothTopkSvm::new(2, 0.5, 1.0).unwrap();
        let scorer = Scorer::new(4).unwrap().with_loss(loss).unwrap();
        let scores = [0.5f32, 2.0, -1.0, 1.0];
        let outcome = scorer.score("a", &scores, CropAveraging::None, &[3]);
        let mut expected = [0.0];
        loss.forward(&scores.map(f64::from), &[3], &mut expected)
            .unwrap();
        assert_eq!(outcome.unwrap().unwrap().topk_loss, Some(expected[0]));
        let error = Scorer::new(2).unwrap().with_loss(loss).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this loss needs at least 3 classes, got 2"
        );
    }

    #[test]
    fn predictions_are_restricted_to_valid_classes() {
        let scorer = Scorer::new(5).unwrap().with_best(9);
        let scorer = scorer.with_valid_classes(vec![4, 0, 2]).unwrap();
        let scores = [1.0, f32::NAN, 3.0, 9.0, 2.0];
        let outcome = scorer.score("a", &scores, CropAveraging::None, &[3, 4]);
        let outcome = outcome.unwrap().unwrap();
        assert_eq!((outcome.rank, outcome.predicted), (1, 2));
        let best: Vec<u32> = outcome
            .best
            .iter()
            .map(|prediction| prediction.class)
            .collect();
        assert_eq!(best, [2, 4, 0]);
        let sum: f32 = outcome
            .best
            .iter()
            .map(|prediction| prediction.probability)
            .sum();
        assert!((sum - 1.0).abs() < 1e-6);
        let excluded = scorer.score("a", &scores, CropAveraging::None, &[3]);
        assert_eq!(excluded.unwrap(), None);

        let refused = |valid| {
            let scorer = Scorer::new(5).unwrap();
            scorer.with_valid_classes(valid).unwrap_err().to_string()
        };
        assert!(refused(vec![1, 5]).starts_with("valid class 5 is not in 0..5"));
        assert!(refused(vec![3, 1, 3]).starts_with("valid class 3 is listed more than once"));
        assert!(refused(vec![]).ends_with("classes, got 0"));
    }

    #[test]
    fn crops_are_averaged_as_probabilities_or_logits() {
        // The first crop strongly predicts class 0, the others weakly class 1.
        let scores = [9.0f32, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
        let scorer = Scorer::new(3).unwrap().with_best(3).with_crops(3);
        let of = |averaging| {
            let outcome = scorer.score("a", &scores, averaging, &[1]);
            outcome.unwrap().unwrap()
        };
        let softmax = |row: &[f32]| {
            let sum: f64 = row.iter().map(|&s| f64::from(s).exp()).sum();
            [0, 1, 2].map(|class| f64::from(row[class]).exp() / sum)
        };
        let rows: Vec<[f64; 3]> = scores.chunks(3).map(softmax).collect();
        let mean = [0, 1, 2].map(|class| rows.iter().map(|row| row[class]).sum::<f64>() / 3.0);
        let probabilities = of(CropAveraging::Probs);
        assert!((probabilities.cross_entropy + mean[1].ln()).abs() < 1e-12);
        for prediction in &probabilities.best {
            assert!(
                (f64::from(prediction.probability) - mean[prediction.class as usize]).abs() < 1e-7
            );
        }
        assert_eq!(probabilities.predicted, 0);
        let averaged = softmax(&[3.0, 2.0 / 3.0, 0.0]);
        assert!((of(CropAveraging::Logits).cross_entropy + averaged[1].ln()).abs() < 1e-6);
    }

    #[test]
    fn masked_classes_have_probability_0() {
        let loss = SmoothTopkSvm::new(1, 1.0, 1.0).unwrap();
        let scorer = Scorer::new(4).unwrap().with_best(4).with_loss(loss);
        let scorer = scorer.unwrap();
        let masked = [1.0, f32::NEG_INFINITY, 2.0, 0.0];
        let low = [1.0, -1e30, 2.0, 0.0];
        for averaging in [
            CropAveraging::None,
            CropAveraging::Probs,
            CropAveraging::Logits,
        ] {
            let crops = if averaging == CropAveraging::None {
                1
            } else {
                2
            };
            let [masked, low] = [masked, low].map(|scores| {
                let scorer = scorer.clone().with_crops(crops);
                let outcome = scorer.score("a", &scores.repeat(crops), averaging, &[0]);
                outcome.unwrap().unwrap()
            });
            assert_eq!(masked, low);
            assert_eq!(masked.best[3].probability, 0.0);
        }
    }

    #[test]
    fn probabilities_have_the_outcomes_of_their_logits() {
        let logits = [2.0f32, -1.0, 0.5, 2.5, 0.0, -3.0];
        let row = |activation: &dyn Fn(f64, f64) -> f64| -> Vec<f32> {
            let rows = logits.chunks(3).flat_map(|row| {
                let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
                row.iter()
                    .map(move |&logit| (f64::from(logit), sum))
                    .collect::<Vec<_>>()
            });
            rows.map(|(logit, sum)| activation(logit, sum) as f32)
                .collect()
        };
        let softmax = row(&|logit, sum| logit.exp() / sum);
        let sigmoid = row(&|logit, _| 1.0 / (1.0 + (-logit).exp()));
        let of = |scores: &[f32], kind, averaging| {
            let scorer = Scorer::new(3).unwrap().with_best(3).with_crops(2);
            let scorer = scorer.with_kind(kind, ScorePrecision::Single);
            let outcome = scorer.score("a", scores, averaging, &[2]);
            outcome.unwrap().unwrap()
        };
        for averaging in [CropAveraging::Probs, CropAveraging::Logits] {
            let expected = of(&logits, OutputKind::Logits, averaging);
            for (scores, kind) in [
                (&softmax, OutputKind::Probs),
                (&sigmoid, OutputKind::Sigmoid),
            ] {
                let found = of(scores, kind, averaging);
                assert_eq!(
                    (found.rank, found.predicted),
                    (expected.rank, expected.predicted)
                );
                let difference = found.cross_entropy - expected.cross_entropy;
                assert!(difference.abs() < 1e-6, "{kind:?}: {difference}");
                assert!((found.confidence - expected.confidence).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn probabilities_of_zero_and_one_have_finite_losses() {
        let loss = |scores: &[f32; 2], kind, precision, label| {
            let scorer = Scorer::new(2).unwrap().with_kind(kind, precision);
            let outcome = scorer.score("a", scores, CropAveraging::None, &[label]);
            outcome.unwrap().unwrap().cross_entropy
        };
        let half = loss(&[1.0, 0.0], OutputKind::Probs, ScorePrecision::Half, 1);
        assert!((half - 24.0 * 2f64.ln()).abs() < 1e-6, "{half}");
        let single = loss(&[1.0, 0.0], OutputKind::Probs, ScorePrecision::Single, 1);
        assert!((single - 149.0 * 2f64.ln()).abs() < 1e-6, "{single}");
        let sigmoid = loss(&[1.0, 0.5], OutputKind::Sigmoid, ScorePrecision::Single, 1);
        assert!((sigmoid - 25.0 * 2f64.ln()).abs() < 1e-6, "{sigmoid}");
        let scorer = Scorer::new(2).unwrap();
        let scorer = scorer.with_kind(OutputKind::Probs, ScorePrecision::Single);
        for (scores, class) in [([-0.5, 0.5], 0), ([0.5, 1.5], 1)] {
            let error = scorer
                .score("a", &scores, CropAveraging::None, &[0])
                .unwrap_err();
            let expected = format!("a: the model's score of class {class} is ");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn crops_are_counted() {
        // 4 scores are 2 classes of 2 crops, or 4 classes of a crop.
        let scorer = Scorer::new(2).unwrap().with_crops(4);
        let error = scorer.score("a", &[0.0; 4], CropAveraging::Probs, &[0]);
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "a: expected 4 × 2 scores (crops × classes), got 4");
    }

    #[test]
    fn errors_name_the_image() {
        let scorer = Scorer::new(2).unwrap();
        let message = |scores: &[f32], averaging, labels: &[u32]| {
            let outcome = scorer.score("cat.png", scores, averaging, labels);
            outcome.unwrap_err().to_string()
        };
        for (scores, expected) in [
            ([0.0, f32::NAN], "the score of class 1 is NaN"),
            ([f32::INFINITY, 0.0], "the score of class 0 is inf"),
            (
                [f32::NEG_INFINITY, 0.0],
                "the score of class 0 is -inf, and it is the true class",
            ),
            (
                [f32::NEG_INFINITY; 2],
                "the scores of all valid classes are -inf",
            ),
        ] {
            assert_eq!(message(&scores, CropAveraging::None, &[0]), expected);
        }
        assert!(
            message(&[0.0, 1.0], CropAveraging::None, &[2])
                .starts_with("cat.png: label 2 is not in 0..2")
        );
        for (scores, averaging) in [
            (&[0.0; 4][..], CropAveraging::None),
            (&[0.0; 3], CropAveraging::Logits),
            (&[], CropAveraging::Probs),
        ] {
            assert!(message(scores, averaging, &[0]).contains("scores (crops × classes), got"));
        }
    }
}
