//! Serialisation of lists of images and outcomes as parallel arrays.

use serde::{Deserialize, Serialize};

/// The labels of an image: a single label is written without brackets.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Labels {
    One(u32),
    List(Vec<u32>),
}

pub(crate) mod images {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::image::Image;
    use super::Labels;

    #[derive(Serialize)]
    struct Written<'a> {
        indices: Vec<usize>,
        names: Vec<&'a str>,
        labels: Vec<Labels>,
        #[serde(skip_serializing_if = "Option::is_none")]
        groups: Option<Vec<Option<&'a [u32]>>>,
    }

    #[derive(Deserialize)]
    struct Read {
        indices: Vec<usize>,
        names: Vec<String>,
        labels: Vec<Labels>,
        #[serde(default)]
        groups: Option<Vec<Option<Vec<u32>>>>,
    }

    pub(crate) fn serialize<S: Serializer>(images: &[Image], to: S) -> Result<S::Ok, S::Error> {
        let labels = |image: &Image| match image.labels[..] {
            [label] => Labels::One(label),
            _ => Labels::List(image.labels.clone()),
        };
        let columns = Written {
            indices: images.iter().map(|image| image.index).collect(),
            names: images.iter().map(|image| &*image.name).collect(),
            labels: images.iter().map(labels).collect(),
            groups: (images.iter().any(|image| image.groups.is_some())).then(|| {
                let groups = images.iter().map(|image| image.groups.as_deref());
                groups.collect()
            }),
        };
        columns.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Image>, D::Error> {
        let Read {
            indices,
            names,
            labels,
            groups,
        } = Read::deserialize(from)?;
        let groups = groups.unwrap_or_else(|| vec![None; indices.len()]);
        let lengths = [indices.len(), names.len(), labels.len(), groups.len()];
        if lengths != [indices.len(); 4] {
            return Err(D::Error::custom(format!(
                "indices, names, labels and groups of images are {lengths:?} entries long, but their lengths must \
                 be equal"
            )));
        }
        let rows = indices.into_iter().zip(names).zip(labels).zip(groups);
        Ok(rows
            .map(|(((index, name), labels), groups)| Image {
                index,
                name,
                labels: match labels {
                    Labels::One(label) => vec![label],
                    Labels::List(labels) => labels,
                },
                groups,
            })
            .collect())
    }
}

pub(crate) mod outcomes {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::outcome::{Outcome, Prediction};

    /// Arrays of the fields of outcomes; null stands for images without an outcome.
    #[derive(Deserialize, Serialize)]
    struct Columns {
        rank: Vec<Option<u32>>,
        predicted: Vec<Option<u32>>,
        confidence: Vec<Option<f32>>,
        cross_entropy: Vec<Option<f64>>,
        #[serde(default)]
        brier: Option<Vec<Option<f32>>>,
        topk_loss: Option<Vec<Option<f64>>>,
        /// Null where `rank` is the only rank.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label_ranks: Option<Vec<Option<Vec<u32>>>>,
        /// Indices of outcomes with ties.
        tied: Vec<usize>,
        best: Option<Best>,
    }

    /// `count` classes for each outcome that is not null, concatenated.
    #[derive(Deserialize, Serialize)]
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
        let present = || outcomes.iter().flatten();
        let first = present().next();
        let predictions = || present().flat_map(|outcome| &outcome.best);
        let columns = Columns {
            rank: column(outcomes, |outcome| outcome.rank),
            predicted: column(outcomes, |outcome| outcome.predicted),
            confidence: column(outcomes, |outcome| outcome.confidence),
            cross_entropy: column(outcomes, |outcome| outcome.cross_entropy),
            brier: present().any(|outcome| outcome.brier.is_some()).then(|| {
                let scores = outcomes.iter().map(|outcome| outcome.as_ref()?.brier);
                scores.collect()
            }),
            topk_loss: first.and_then(|first| first.topk_loss).map(|_| {
                let losses = outcomes.iter().map(|outcome| outcome.as_ref()?.topk_loss);
                losses.collect()
            }),
            label_ranks: present()
                .any(|outcome| !outcome.label_ranks.is_empty())
                .then(|| {
                    let ranks = |outcome: &Outcome| outcome.label_ranks.clone();
                    let of_outcome = |outcome: &Option<Outcome>| outcome.as_ref().map(ranks);
                    let ranks = outcomes.iter().map(of_outcome);
                    ranks
                        .map(|ranks| ranks.filter(|ranks| !ranks.is_empty()))
                        .collect()
                }),
            tied: (0..outcomes.len())
                .filter(|&i| outcomes[i].as_ref().is_some_and(|outcome| outcome.tied))
                .collect(),
            best: first
                .filter(|first| !first.best.is_empty())
                .map(|first| Best {
                    count: first.best.len(),
                    classes: predictions().map(|prediction| prediction.class).collect(),
                    probabilities: predictions()
                        .map(|prediction| prediction.probability)
                        .collect(),
                }),
        };
        columns.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Option<Outcome>>, D::Error> {
        let mut columns = Columns::deserialize(from)?;
        let len = columns.rank.len();
        let losses = columns.topk_loss.as_ref().map_or(len, Vec::len);
        let lengths = [
            len,
            columns.predicted.len(),
            columns.confidence.len(),
            columns.cross_entropy.len(),
            columns.brier.as_ref().map_or(len, Vec::len),
            losses,
            columns.label_ranks.as_ref().map_or(len, Vec::len),
        ];
        if lengths != [len; 7] {
            return Err(D::Error::custom(format!(
                "rank, predicted, confidence, cross_entropy, brier, topk_loss and label_ranks of outcomes are \
                 {lengths:?} entries long, but their lengths must be equal"
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
            let brier = columns.brier.as_ref().and_then(|scores| scores[i]);
            let label_ranks = (columns.label_ranks.as_mut()).and_then(|ranks| ranks[i].take());
            outcomes.push(match values {
                (Some(rank), Some(predicted), Some(confidence), Some(cross_entropy)) => {
                    Some(Outcome {
                        rank,
                        label_ranks: label_ranks.unwrap_or_default(),
                        tied: false,
                        predicted,
                        confidence,
                        cross_entropy,
                        brier,
                        topk_loss,
                        best: Vec::new(),
                    })
                }
                (None, None, None, None)
                    if topk_loss.is_none() && brier.is_none() && label_ranks.is_none() =>
                {
                    None
                }
                _ => {
                    return Err(D::Error::custom(format!(
                        "outcome {i} is null in some arrays but not in others"
                    )));
                }
            });
        }
        for i in columns.tied {
            match outcomes.get_mut(i) {
                Some(Some(outcome)) if !outcome.tied => outcome.tied = true,
                _ => {
                    return Err(D::Error::custom(format!(
                        "tied has index {i}, which is out of range, null or a duplicate"
                    )));
                }
            }
        }
        if let Some(best) = columns.best {
            let present = outcomes.iter().flatten().count();
            let expected = present.checked_mul(best.count);
            let lengths = [best.classes.len(), best.probabilities.len()];
            if best.count == 0 || lengths.map(Some) != [expected; 2] {
                return Err(D::Error::custom(format!(
                    "classes and probabilities of best are {lengths:?} entries long, expected \
                     {present} outcomes × {}",
                    best.count
                )));
            }
            let mut predictions = best.classes.into_iter().zip(best.probabilities);
            for outcome in outcomes.iter_mut().flatten() {
                let predictions = predictions.by_ref().take(best.count);
                outcome.best = predictions
                    .map(|(class, probability)| Prediction { class, probability })
                    .collect();
            }
        }
        Ok(outcomes)
    }
}
