//! Lists of images and outcomes as parallel arrays, which is how they stand in a file.

use serde::{Deserialize, Serialize};

/// The labels of an image: one stands there without brackets.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Labels {
    One(u32),
    List(Vec<u32>),
}

pub(crate) mod images {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Labels;
    use crate::results::Image;

    #[derive(Serialize)]
    struct Written<'a> {
        places: Vec<usize>,
        names: Vec<&'a str>,
        labels: Vec<Labels>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Read {
        places: Vec<usize>,
        names: Vec<String>,
        labels: Vec<Labels>,
    }

    pub(crate) fn serialize<S: Serializer>(images: &[Image], to: S) -> Result<S::Ok, S::Error> {
        let labels = |image: &Image| match image.labels[..] {
            [label] => Labels::One(label),
            _ => Labels::List(image.labels.clone()),
        };
        let columns = Written {
            places: images.iter().map(|image| image.place).collect(),
            names: images.iter().map(|image| &*image.name).collect(),
            labels: images.iter().map(labels).collect(),
        };
        columns.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Image>, D::Error> {
        let Read {
            places,
            names,
            labels,
        } = Read::deserialize(from)?;
        let lengths = [places.len(), names.len(), labels.len()];
        if lengths != [places.len(); 3] {
            return Err(D::Error::custom(format!(
                "places, names and labels of images are {lengths:?} entries long: they must be \
                 equally many"
            )));
        }
        let rows = places.into_iter().zip(names).zip(labels);
        Ok(rows
            .map(|((place, name), labels)| Image {
                place,
                name,
                labels: match labels {
                    Labels::One(label) => vec![label],
                    Labels::List(labels) => labels,
                },
            })
            .collect())
    }
}

pub(crate) mod outcomes {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::outcome::{Guess, Outcome};

    /// Null stands for images without an outcome.
    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Columns {
        rank: Vec<Option<u32>>,
        predicted: Vec<Option<u32>>,
        confidence: Vec<Option<f32>>,
        cross_entropy: Vec<Option<f64>>,
        topk_loss: Option<Vec<Option<f64>>>,
        /// Which outcomes have ties.
        tied: Vec<usize>,
        best: Option<Best>,
    }

    /// `count` classes for each outcome that is not null, one after the other.
    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Best {
        count: usize,
        classes: Vec<u32>,
        probabilities: Vec<f32>,
    }

    fn column<T>(outcomes: &[Option<Outcome>], value: impl Fn(&Outcome) -> T) -> Vec<Option<T>> {
        let values = outcomes.iter().map(|outcome| outcome.as_ref().map(&value));
        values.collect()
    }

    pub(crate) fn serialize<S: Serializer>(
        outcomes: &[Option<Outcome>],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let judged = || outcomes.iter().flatten();
        let first = judged().next();
        let guesses = || judged().flat_map(|outcome| &outcome.best);
        let columns = Columns {
            rank: column(outcomes, |outcome| outcome.rank),
            predicted: column(outcomes, |outcome| outcome.predicted),
            confidence: column(outcomes, |outcome| outcome.confidence),
            cross_entropy: column(outcomes, |outcome| outcome.cross_entropy),
            topk_loss: first.and_then(|first| first.topk_loss).map(|_| {
                let losses = outcomes.iter().map(|outcome| outcome.as_ref()?.topk_loss);
                losses.collect()
            }),
            tied: (0..outcomes.len())
                .filter(|&i| outcomes[i].as_ref().is_some_and(|outcome| outcome.tied))
                .collect(),
            best: first
                .filter(|first| !first.best.is_empty())
                .map(|first| Best {
                    count: first.best.len(),
                    classes: guesses().map(|guess| guess.class).collect(),
                    probabilities: guesses().map(|guess| guess.probability).collect(),
                }),
        };
        columns.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Option<Outcome>>, D::Error> {
        let columns = Columns::deserialize(from)?;
        let len = columns.rank.len();
        let losses = columns.topk_loss.as_ref().map_or(len, Vec::len);
        let lengths = [
            len,
            columns.predicted.len(),
            columns.confidence.len(),
            columns.cross_entropy.len(),
            losses,
        ];
        if lengths != [len; 5] {
            return Err(D::Error::custom(format!(
                "rank, predicted, confidence, cross_entropy and topk_loss of outcomes are \
                 {lengths:?} entries long: they must be equally many"
            )));
        }
        let mut outcomes = Vec::with_capacity(len);
        for i in 0..len {
            let values = (
                columns.rank[i],
                columns.predicted[i],
                columns.confidence[i],
                columns.cross_entropy[i],
            );
            let topk_loss = columns.topk_loss.as_ref().and_then(|losses| losses[i]);
            outcomes.push(match values {
                (Some(rank), Some(predicted), Some(confidence), Some(cross_entropy)) => {
                    Some(Outcome {
                        rank,
                        tied: false,
                        predicted,
                        confidence,
                        cross_entropy,
                        topk_loss,
                        best: Vec::new(),
                    })
                }
                (None, None, None, None) if topk_loss.is_none() => None,
                _ => {
                    return Err(D::Error::custom(format!(
                        "outcome {i} is null in some arrays and not in others"
                    )));
                }
            });
        }
        for i in columns.tied {
            match outcomes.get_mut(i) {
                Some(Some(outcome)) if !outcome.tied => outcome.tied = true,
                _ => {
                    return Err(D::Error::custom(format!(
                        "tied names outcome {i}, which there is not, or twice"
                    )));
                }
            }
        }
        if let Some(best) = columns.best {
            let judged = outcomes.iter().flatten().count();
            let expected = judged.checked_mul(best.count);
            let lengths = [best.classes.len(), best.probabilities.len()];
            if best.count == 0 || lengths.map(Some) != [expected; 2] {
                return Err(D::Error::custom(format!(
                    "classes and probabilities of best are {lengths:?} entries long, expected \
                     {judged} outcomes × {}",
                    best.count
                )));
            }
            let mut guesses = best.classes.into_iter().zip(best.probabilities);
            for outcome in outcomes.iter_mut().flatten() {
                let guesses = guesses.by_ref().take(best.count);
                outcome.best = guesses
                    .map(|(class, probability)| Guess { class, probability })
                    .collect();
            }
        }
        Ok(outcomes)
    }
}
